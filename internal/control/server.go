package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// Bounds of one request and one write. What is asked is short; answers may take
// as long as a restart, but a client that stops reading is given up.
const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 10 * time.Second
	maxHeader     = 16 << 10
)

// maxPath is what fits into sockaddr_un of every platform that has it (104 bytes
// on macOS, 108 on Linux, with a closing NUL).
const maxPath = 103

// Server serves the API. It owns one goroutine for each connection; Shutdown
// joins them.
type Server struct {
	backend Backend
	path    string
	ln      net.Listener
	file    os.FileInfo // of the socket
	http    *http.Server
	peer    func(net.Conn) (uid int, err error)
	leaving chan struct{} // closed when streams are to end
}

// Listen opens the API's socket at path. One that is there is replaced: the
// caller holds the lock that says that nobody lives there. Answers come once
// [Server.Serve] is called.
func Listen(path string, b Backend) (*Server, error) {
	if len(path) > maxPath-len(".new") {
		return nil, fmt.Errorf("cannot open the API socket: its path has %d bytes, at most %d are possible (%s); set SEGUE_RUNTIME_DIR to a shorter one",
			len(path), maxPath-len(".new"), path)
	}
	// A socket gets its mode after bind(2), and its name after that: nobody can
	// connect in between, and whoever finds it finds it ready.
	unfinished := path + ".new"
	os.Remove(unfinished)
	ln, err := net.Listen("unix", unfinished)
	if err != nil {
		return nil, fmt.Errorf("cannot open the API socket: %w", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(unfinished, 0o600), os.Rename(unfinished, path)); err != nil {
		ln.Close()
		os.Remove(unfinished)
		return nil, fmt.Errorf("cannot open the API socket %s: %w", path, err)
	}
	file, err := os.Lstat(path)
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("cannot open the API socket %s: %w", path, err)
	}
	s := &Server{backend: b, path: path, ln: ln, file: file, peer: peerUID, leaving: make(chan struct{})}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       headerTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       s.admit,
	}
	s.http.RegisterOnShutdown(func() { close(s.leaving) })
	return s, nil
}

// strangerKey is where the context of a connection says why it is not welcome.
type strangerKey struct{}

// admit looks at who has connected.
func (s *Server) admit(ctx context.Context, c net.Conn) context.Context {
	uid, err := s.peer(c)
	switch {
	case err != nil:
		return context.WithValue(ctx, strangerKey{}, fmt.Errorf("cannot tell who is asking: %w", err))
	case uid != 0 && uid != os.Geteuid():
		return context.WithValue(ctx, strangerKey{}, fmt.Errorf("user %d may not control this supervisor, which runs as user %d", uid, os.Geteuid()))
	}
	return ctx
}

// Serve answers until Shutdown. Any other end is an error.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve the API: %w", err)
	}
	return nil
}

// Shutdown removes the socket, ends streams of events and logs, and waits for
// restarts and stops whose outcome somebody is waiting for. When ctx ends it
// closes what is left. It is called once.
func (s *Server) Shutdown(ctx context.Context) error {
	// The next supervisor may have put its own there already.
	if file, err := os.Lstat(s.path); err == nil && os.SameFile(file, s.file) {
		os.Remove(s.path)
	}
	if err := s.http.Shutdown(ctx); err != nil {
		s.http.Close()
		return fmt.Errorf("cannot finish what was asked over the API: %w", context.Cause(ctx))
	}
	return nil
}
