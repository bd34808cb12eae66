package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Request is a verb that the other side asks for. Whoever handles it owns
// Files.
type Request struct {
	Verb   Verb
	Fields Fields
	Files  []*os.File
	answer *[]*os.File // descriptors that go with the answer
}

// Answer has files go with the answer, if it is no error, and be closed then: they are
// the link's from now on. At most 16 can. It is for the handler, before it returns.
func (r Request) Answer(files ...*os.File) {
	if r.answer == nil { // nobody waits
		Request{Files: files}.Close()
		return
	}
	*r.answer = append(*r.answer, files...)
}

// Close releases the descriptors that came with the request.
func (r Request) Close() {
	for _, f := range r.Files {
		f.Close()
	}
}

// Handler does what a request asks and returns when it has happened. ctx ends
// with the link. Requests are handled concurrently: a STOP overtakes a PAUSE
// that is under way. Only OPEN, PAUSE and RESUME are handled in the order in
// which they were sent.
type Handler func(ctx context.Context, r Request) (Fields, error)

// Link is one connection between a generation and its supervisor. Both sides
// may call; every call is answered. Safe for concurrent use. It owns one
// goroutine that reads and one for each request under way; Close, which is due
// also when the link has ended by itself, joins them.
type Link struct {
	peer   *Peer
	handle Handler
	ctx    context.Context
	cancel context.CancelCauseFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan answer

	gate chan struct{} // only the reader's: closed when the newest gate verb was handled
}

// writeTimeout bounds a send to a peer that has stopped reading: about a
// hundred messages fit in its buffer before this matters.
const writeTimeout = 5 * time.Second

// errFilesLost is about a message whose text arrived without its descriptors.
var errFilesLost = errors.New("the descriptors of a control message were lost; raise the limit of open files (ulimit -n)")

// ErrLinkClosed is the cause when the other side is gone: its process ended, or
// it closed the link.
var ErrLinkClosed = errors.New("the other side of the control link is gone")

// NewLink starts talking to p, which the link now owns.
func NewLink(p *Peer, handle Handler) *Link {
	l := &Link{peer: p, handle: handle, waiting: map[uint64]chan answer{}}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.work.Add(1)
	go l.read()
	return l
}

// Done is closed when the link has ended: the other side is gone, or speaks
// what this one does not understand.
func (l *Link) Done() <-chan struct{} { return l.ctx.Done() }

// Close ends the link and waits for requests under way, whose context ends, and
// which are answered still: who has asked for the end of a generation is to hear
// that it has begun. It must not be called from a Handler.
func (l *Link) Close() error {
	l.cancel(ErrLinkClosed)
	l.peer.conn.SetReadDeadline(time.Unix(1, 0)) // ends the reader
	l.work.Wait()
	err := l.peer.conn.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil // the reader has closed it
	}
	return err
}

// Call asks the other side for v and returns its answer, which comes when v has
// happened. Files are duplicated into the message; the caller keeps its own,
// and must not close them before Call has returned. The error is what the other
// side could not do, why v could not be sent, [ErrLinkClosed], or the cause of
// ctx; in the last two cases it is not known whether v happened.
func (l *Link) Call(ctx context.Context, v Verb, f Fields, files ...*os.File) (Fields, error) {
	a, err := l.ask(ctx, v, f, files)
	a.close()
	return a.Fields, err
}

// Fetch is Call for a verb whose answer brings descriptors, which are the caller's.
func (l *Link) Fetch(ctx context.Context, v Verb, f Fields, files ...*os.File) (Fields, []*os.File, error) {
	a, err := l.ask(ctx, v, f, files)
	if err != nil {
		a.close()
		return a.Fields, nil, err
	}
	return a.Fields, a.files, nil
}

// answer is what comes back.
type answer struct {
	message
	files []*os.File
}

func (a answer) close() { Request{Files: a.files}.Close() }

// ask is Call and Fetch. The descriptors of the answer are the caller's, also with an
// error.
func (l *Link) ask(ctx context.Context, v Verb, f Fields, files []*os.File) (a answer, err error) {
	if ctx.Err() != nil {
		return answer{}, fmt.Errorf("cannot have %s done: %w", v, context.Cause(ctx))
	}
	answered := make(chan answer, 1)
	l.mu.Lock()
	l.next++
	id := l.next
	l.waiting[id] = answered
	l.mu.Unlock()
	if err := l.send(message{ID: id, Do: v, Fields: f}, files); err != nil {
		l.forget(id)
		return answer{}, err
	}
	select {
	case a := <-answered:
		return a, a.failure()
	case <-l.ctx.Done():
		err = fmt.Errorf("cannot have %s done: %w", v, context.Cause(l.ctx))
	case <-ctx.Done():
		err = fmt.Errorf("no answer to %s: %w", v, context.Cause(ctx))
	}
	l.forget(id)
	select {
	case a := <-answered: // it came first: a peer may answer and exit at once
		return a, a.failure()
	default:
		return answer{}, err
	}
}

// forget has an answer that comes from now on thrown away.
func (l *Link) forget(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, id)
}

func (m message) failure() error {
	if m.Err != "" {
		return errors.New(m.Err)
	}
	return nil
}

func (l *Link) send(m message, files []*os.File) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	err = writePacket(l.peer.conn, data, files)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("cannot send %s: %w (%v)", m.name(), ErrLinkClosed, err)
	}
	return fmt.Errorf("cannot send %s: %w", m.name(), err)
}

// read is the link's one reader. It ends the link on EOF and on anything it
// cannot understand: a peer that speaks nonsense is not one to obey. The other
// side is told why, and gets EOF, so that it does not wait for an answer that
// nobody would write.
func (l *Link) read() {
	defer l.work.Done()
	leave := false // the connection to Close, which has answers to wait for
	defer func() {
		if !leave {
			l.peer.conn.Close()
		}
	}()
	buf := make([]byte, maxMessage+1)
	for {
		n, files, err := readPacket(l.peer.conn, buf)
		lost := errors.Is(err, errFilesLost)
		if err != nil && !lost {
			leave = errors.Is(err, os.ErrDeadlineExceeded)
			l.cancel(fmt.Errorf("%w (%v)", ErrLinkClosed, err))
			return
		}
		m, err := decode(buf[:n])
		switch {
		case err != nil:
			Request{Files: files}.Close()
			l.send(message{Err: errorText(err.Error())}, nil)
			l.cancel(err)
			return
		case m.Do != "" && lost:
			l.send(message{ID: m.ID, Err: errFilesLost.Error()}, nil)
		case m.Do != "":
			l.work.Add(1)
			before, done := l.turn(m.Do)
			go l.answer(m, files, before, done)
		case m.ID == 0:
			Request{Files: files}.Close()
			l.cancel(fmt.Errorf("%w; it said: %s", ErrLinkClosed, m.Err))
			return
		default:
			if lost && m.Err == "" {
				m.Err = errFilesLost.Error()
			}
			l.deliver(answer{m, files})
		}
	}
}

// deliver gives an answer to who waits for it.
func (l *Link) deliver(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := l.waiting[a.ID]
	if ch == nil {
		a.close()
		return
	}
	delete(l.waiting, a.ID)
	ch <- a // buffered, and only once
}

// turn has the verbs that open and shut gates handled one after the other. A
// process that was stopped (SIGSTOP) finds a PAUSE that nobody waits for any more
// and the RESUME after it at once, and the last word must count.
func (l *Link) turn(v Verb) (before, done chan struct{}) {
	switch v {
	case Open, Pause, Resume:
		before, done = l.gate, make(chan struct{})
		l.gate = done
	}
	return before, done
}

// answer handles a request, when before is closed if there is one, and closes
// done.
func (l *Link) answer(m message, files []*os.File, before, done chan struct{}) {
	defer l.work.Done()
	if done != nil {
		defer close(done)
	}
	if before != nil {
		<-before
	}
	var given []*os.File
	defer func() { Request{Files: given}.Close() }()
	f, err := l.handle(l.ctx, Request{Verb: m.Do, Fields: m.Fields, Files: files, answer: &given})
	a := message{ID: m.ID, Fields: f}
	with := given
	if err != nil {
		a.Err, with = errorText(err.Error()), nil
	}
	if err := l.send(a, with); err != nil && !errors.Is(err, ErrLinkClosed) {
		// It cannot be written down, or has too many descriptors: the caller must not
		// wait for ever. A failure of this too is the end of the link, which the reader
		// notices.
		l.send(message{ID: m.ID, Err: errorText(fmt.Sprintf("%s was done, but its answer is lost: %v", m.Do, err))}, nil)
	}
}
