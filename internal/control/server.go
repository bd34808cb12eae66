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

// Server serves the API. It owns one goroutine for each connection; Shutdown
// joins them.
type Server struct {
	backend Backend
	path    string
	ln      *net.UnixListener
	file    os.FileInfo // of the socket
	http    *http.Server
	peer    func(net.Conn) (peer, error)
	leaving chan struct{} // closed when streams are to end

	heartbeat time.Duration
}

// Listen opens the API's socket at path, which the members of the group readers
// may open too; -1 is nobody. One that is there is replaced: the caller holds the
// lock that says that nobody lives there. Answers come once [Server.Serve] is
// called.
func Listen(path string, readers int, b Backend) (*Server, error) {
	ln, err := openSocket(path, readers)
	if err != nil {
		return nil, err
	}
	return newServer(ln, path, b)
}

// ListenFrom is Listen with the socket of a supervisor that has executed this
// command in its place: f is what its [Server.File] was, path is what it
// was. Whoever has connected meanwhile is served. It owns f from now on.
func ListenFrom(f *os.File, path string, b Backend) (*Server, error) {
	ln, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot go on with the API socket %s: %w", path, err)
	}
	unixListener, ok := ln.(*net.UnixListener)
	if !ok {
		ln.Close()
		return nil, fmt.Errorf("cannot go on with the API socket %s: what was passed on listens at %s", path, ln.Addr())
	}
	return newServer(unixListener, path, b)
}

func newServer(ln *net.UnixListener, path string, b Backend) (*Server, error) {
	file, err := os.Lstat(path)
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("cannot open the API socket %s: %w", path, err)
	}
	s := &Server{backend: b, path: path, ln: ln, file: file, peer: peerOf, leaving: make(chan struct{}), heartbeat: heartbeat}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       headerTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       s.greet,
	}
	s.http.RegisterOnShutdown(func() { close(s.leaving) })
	return s, nil
}

// Serve answers until Shutdown or Close. Any other end is an error.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve the API: %w", err)
	}
	return nil
}

// File is a descriptor of the socket for [ListenFrom] in the command that is
// executed next: while there is one, whoever connects waits for that. It is the
// caller's to close, is closed by exec(2) until the caller changes that, and has
// its flags in common with the socket, so its Fd method must not be called, which
// would have Serve block: use its SyscallConn. Serving goes on.
func (s *Server) File() (*os.File, error) { return duplicate(s.ln) }

// Shutdown removes the socket, ends streams of events and logs, and waits for
// restarts and stops whose outcome somebody is waiting for. When ctx ends it
// closes what is left. It is called once, and Close is not.
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

// Close closes every connection at once and leaves the socket where it is:
// whoever has its [Server.File] serves it.
func (s *Server) Close() error { return s.http.Close() }
