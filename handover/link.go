package handover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Request is a verb that the other side asks for. Whoever handles it owns
// Files.
type Request struct {
	Verb   Verb
	Fields Fields
	Files  []*os.File
}

// Close releases the descriptors that came with the request.
func (r Request) Close() {
	for _, f := range r.Files {
		f.Close()
	}
}

// Handler does what a request asks and returns when it has happened. ctx ends
// with the link. Requests are handled concurrently: a STOP overtakes a PAUSE
// that is under way.
type Handler func(ctx context.Context, r Request) (Fields, error)

// Link is one connection between a generation and its supervisor. Both sides
// may call; every call is answered. Safe for concurrent use. It owns one
// goroutine that reads and one for each request under way; Close joins them.
type Link struct {
	peer   *Peer
	handle Handler
	ctx    context.Context
	cancel context.CancelCauseFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan message
}

// ErrLinkClosed is the cause when the other side is gone: its process ended, or
// it closed the link.
var ErrLinkClosed = errors.New("the other side of the control link is gone")

// NewLink starts talking to p, which the link now owns.
func NewLink(p *Peer, handle Handler) *Link {
	l := &Link{peer: p, handle: handle, waiting: map[uint64]chan message{}}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.work.Add(1)
	go l.read()
	return l
}

// Peer is who is at the other end.
func (l *Link) Peer() (pid, uid int) { return l.peer.PID, l.peer.UID }

// Done is closed when the link has ended.
func (l *Link) Done() <-chan struct{} { return l.ctx.Done() }

// Close ends the link and waits for requests under way, whose context ends. It
// must not be called from a Handler.
func (l *Link) Close() error {
	l.cancel(ErrLinkClosed)
	err := l.peer.conn.Close()
	l.work.Wait()
	return err
}

// Call asks the other side for v and returns its answer, which comes when v has
// happened. Files are duplicated into the message; the caller keeps its own.
// The error is what the other side could not do, [ErrLinkClosed], or the cause
// of ctx; in the last case it is not known whether v happened.
func (l *Link) Call(ctx context.Context, v Verb, f Fields, files ...*os.File) (Fields, error) {
	answer := make(chan message, 1)
	l.mu.Lock()
	l.next++
	id := l.next
	l.waiting[id] = answer
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, id)
		l.mu.Unlock()
	}()
	if err := l.send(message{ID: id, Do: v, Fields: f}, files); err != nil {
		return nil, err
	}
	select {
	case m := <-answer:
		if m.Err != "" {
			return m.Fields, errors.New(m.Err)
		}
		return m.Fields, nil
	case <-l.ctx.Done():
		return nil, fmt.Errorf("cannot have %s done: %w", v, context.Cause(l.ctx))
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer to %s: %w", v, context.Cause(ctx))
	}
}

func (l *Link) send(m message, files []*os.File) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	if err := writePacket(l.peer.conn, data, files); err != nil {
		return fmt.Errorf("cannot send %s: %w (%v)", m.Do, ErrLinkClosed, err)
	}
	return nil
}

// read is the link's one reader. It ends the link on EOF and on anything it
// cannot understand: a peer that speaks nonsense is not one to obey.
func (l *Link) read() {
	defer l.work.Done()
	buf := make([]byte, maxMessage+1)
	for {
		n, files, err := readPacket(l.peer.conn, buf)
		if err != nil {
			l.cancel(fmt.Errorf("%w (%v)", ErrLinkClosed, err))
			return
		}
		m, err := decode(buf[:n])
		if err != nil {
			Request{Files: files}.Close()
			l.cancel(err)
			l.peer.conn.Close()
			return
		}
		if m.Do != "" {
			l.work.Add(1)
			go l.answer(m, files)
			continue
		}
		Request{Files: files}.Close()
		l.mu.Lock()
		if ch := l.waiting[m.ID]; ch != nil {
			delete(l.waiting, m.ID)
			ch <- m // buffered, and only once
		}
		l.mu.Unlock()
	}
}

func (l *Link) answer(m message, files []*os.File) {
	defer l.work.Done()
	f, err := l.handle(l.ctx, Request{Verb: m.Do, Fields: m.Fields, Files: files})
	a := message{ID: m.ID, Fields: f}
	if err != nil {
		a.Err = err.Error()
	}
	if err := l.send(a, nil); err != nil && !errors.Is(err, ErrLinkClosed) {
		// The answer itself could not be written down: the caller must not wait for ever.
		l.send(message{ID: m.ID, Err: err.Error()}, nil)
	}
}
