//go:build linux

package handover_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/segue-go/segue/handover"
)

// A program that is not a segue service, and takes what it is given.
func ExampleInherit() {
	in, err := handover.Inherit()
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range in.Sockets {
		ln, err := s.Listener()
		if err != nil {
			log.Fatal(err)
		}
		s.File.Close()
		go http.Serve(ln, nil)
	}
	notifier := handover.NewNotifier(in.NotifySocket)
	defer notifier.Close()
	if err := notifier.Send("READY=1"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(in.Sockets), "sockets")
	// Output: 0 sockets
}

// A supervisor's part of a start: a socket, a child that inherits it by name,
// the child's readiness, its end.
func ExampleStart() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ln, err := handover.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	web, err := handover.Dup(ln.(syscall.Conn), "web")
	if err != nil {
		log.Fatal(err)
	}
	defer web.Close()
	ln.Close() // the duplicate keeps the socket open
	r, w, err := os.Pipe()
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	process, err := handover.Start(handover.Command{
		Path: "/bin/sh", Args: []string{"sh", "-c", `echo "$LISTEN_FDS socket: $LISTEN_FDNAMES"; exit 3`},
		Sockets: []handover.Socket{{Name: "web", File: web}},
		Group:   true, Generation: 1, Stdout: w,
	})
	w.Close()
	if err != nil {
		log.Fatal(err)
	}
	output, _ := io.ReadAll(r)
	<-process.Done()
	fmt.Printf("%s%v\n", output, process.Err())
	// Output:
	// 1 socket: web
	// exited with status 3
}

func ExampleNotifyListener() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := handover.ListenNotify(filepath.Join(dir, "notify"))
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	// In the service:
	n := handover.NewNotifier(l.Path())
	defer n.Close()
	if err := n.Send("READY=1", "STATUS=ready"); err != nil {
		log.Fatal(err)
	}

	// In the supervisor:
	for {
		got, err := l.Receive()
		if errors.Is(err, handover.ErrMalformed) {
			got.Processed()
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(got.Values["STATUS"], got.PID == os.Getpid())
		got.Processed()
		break
	}
	// Output: ready true
}

// Both ends of a control link.
func ExampleLink() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	control, err := handover.ListenControl(filepath.Join(dir, "control"))
	if err != nil {
		log.Fatal(err)
	}
	defer control.Close()
	ctx := context.Background()

	// In the generation:
	peer, err := handover.DialControl(ctx, control.Path())
	if err != nil {
		log.Fatal(err)
	}
	generation := handover.NewLink(peer, func(_ context.Context, r handover.Request) (handover.Fields, error) {
		defer r.Close()
		switch r.Verb {
		case handover.Open:
			fmt.Println("the gates are open")
			return nil, nil
		}
		return nil, fmt.Errorf("cannot do %s", r.Verb)
	})
	defer generation.Close()

	// In the supervisor:
	peer, err = control.Accept()
	if err != nil {
		log.Fatal(err)
	}
	if peer.UID != os.Geteuid() {
		peer.Close()
		return
	}
	supervisor := handover.NewLink(peer, func(context.Context, handover.Request) (handover.Fields, error) { return nil, nil })
	defer supervisor.Close()
	if _, err := supervisor.Call(ctx, handover.Open, nil); err != nil {
		log.Fatal(err)
	}
	_, err = supervisor.Call(ctx, "DANCE", nil)
	fmt.Println(err)
	// Output:
	// the gates are open
	// cannot do DANCE
}

// One generation at a time runs what must not run twice.
func ExampleAcquireSolo() {
	f, err := handover.NewSoloLock() // made once, passed on as Command.Solo
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	lock, err := handover.AcquireSolo(context.Background(), f)
	if err != nil {
		log.Fatal(err)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = handover.AcquireSolo(over, f)
	fmt.Println(err)
	lock.Release()
	lock, err = handover.AcquireSolo(over, f)
	fmt.Println(err)
	lock.Release()
	// Output:
	// context canceled
	// <nil>
}

func ExampleListen() {
	ln, err := handover.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	_, err = handover.Listen("8080")
	fmt.Println(ln.Addr().(*net.TCPAddr).IP, err)
	// Output: 127.0.0.1 cannot listen on "8080": write host:port, :port or unix:/path (address 8080: missing port in address)
}
