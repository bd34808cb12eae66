// Command idle is a service that does nothing: it says that it is ready, in systemd's
// language, and waits for SIGTERM. It is small, so that a hundred of it are.
package main

import (
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGTERM)
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
		if err == nil {
			_, err = c.Write([]byte("READY=1"))
		}
		if err != nil {
			println(err.Error())
			os.Exit(1)
		}
		c.Close()
	}
	<-leave
}
