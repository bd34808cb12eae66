// Command segue supervises a service and restarts it without loss: segue --help.
package main

import (
	"context"
	"os"

	"github.com/segue-go/segue/internal/cli"
	"github.com/segue-go/segue/internal/launch"
)

func main() {
	launch.Main()
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
