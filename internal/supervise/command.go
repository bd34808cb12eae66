package supervise

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segue-go/segue/handover"
)

const (
	outputKept   = 4 << 10 // bytes of what a command has written last
	killPatience = 2 * time.Second
	drainAfter   = 100 * time.Millisecond // what a command wrote may be read after its end
)

// command is what a service has run beside it: a probe, or a hook. It is run as the
// service is: in its directory, as its user, with its environment and env. It leads
// a process group of its own, of which nothing is left afterwards.
type command struct {
	as         Config
	argv       []string
	env        []string
	input      []byte
	generation int
}

// run returns when the command has ended, or was killed at the end of ctx. The error
// says how it failed, and what it wrote last.
func (c command) run(ctx context.Context) error {
	path, err := c.as.program(c.argv[0])
	if err != nil {
		return err
	}
	in, feed, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", path, err)
	}
	read, out, err := os.Pipe()
	if err != nil {
		in.Close()
		feed.Close()
		return fmt.Errorf("cannot run %s: %w", path, err)
	}
	spec := c.as.spec()
	spec.ListenPID = false
	var process *handover.Process
	reaped, err := offspring.start(func() (pid int, err error) {
		process, err = spec.Start(handover.Command{
			Path: path, Args: c.argv, Dir: c.as.Dir, Env: slices.Concat(spec.Environ(os.Environ()), c.as.Env, c.env),
			Stdin: in, Stdout: out, Stderr: out, Group: true, Generation: c.generation,
		})
		if err != nil {
			return 0, err
		}
		return process.PID, nil
	})
	in.Close()
	out.Close()
	defer read.Close()
	if err != nil {
		feed.Close()
		return err
	}
	var talk sync.WaitGroup
	talk.Go(func() {
		feed.Write(c.input) // one that does not read it misses nothing that it wants
		feed.Close()
	})
	var written lastWords
	talk.Go(func() { written.readFrom(read) })
	timely := true
	select {
	case <-process.Done():
	case <-ctx.Done():
		timely = false
		process.Signal(os.Kill)
		select {
		case <-process.Done():
		case <-time.After(killPatience): // the kernel does not let go of it
		}
	}
	process.Signal(os.Kill) // its children
	if process.Err() != nil {
		reaped()
	}
	// One that has left the group may hold the pipes still.
	feed.SetWriteDeadline(time.Now())
	read.SetReadDeadline(time.Now().Add(drainAfter))
	talk.Wait()
	switch {
	case !timely:
		return fmt.Errorf("%s was killed: %w%s", c.argv[0], context.Cause(ctx), written.quoted())
	case process.ExitCode() != 0:
		return fmt.Errorf("%s %w%s", c.argv[0], process.Err(), written.quoted())
	}
	return nil
}

// lastWords keeps the end of what is read.
type lastWords struct{ kept []byte }

func (t *lastWords) readFrom(f *os.File) {
	buf := make([]byte, outputKept)
	for {
		n, err := f.Read(buf)
		t.kept = append(t.kept, buf[:n]...)
		t.kept = t.kept[max(0, len(t.kept)-outputKept):]
		if err != nil {
			return
		}
	}
}

// quoted is the last lines, to be appended to an error.
func (t *lastWords) quoted() string {
	text := string(bytes.ToValidUTF8(bytes.TrimSpace(t.kept), []byte("?")))
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return "; it wrote:\n" + strings.Join(lines[max(0, len(lines)-outputLines):], "\n")
}
