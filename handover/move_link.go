package handover

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// ErrBusy says that the system could not take a batch for now: too many
// descriptors of this user are on their way between processes (ETOOMANYREFS in
// unix(7)), or memory is lacking, and that did not pass within 5 s. Nothing of
// the batch was sent. It may be sent again, best when a verdict has come.
var ErrBusy = errors.New("too much is on its way between processes")

// busyPause is the longest pause before a send is tried again: nobody says when
// the system has room.
const busyPause = 20 * time.Millisecond

// moveLink is one end of the socket pair. One goroutine receives, any may send.
type moveLink struct {
	conn *net.UnixConn
	peer int           // pid of the other side, 0 for any
	wait time.Duration // for the other side to take a message

	datagram, control []byte // the receiver's
	assembly          moveAssembly
	reset             bool

	mu     sync.Mutex // held while a message is sent: its datagrams follow one another
	out    []byte
	broken error // why nothing more can be sent
}

// newMoveLink takes f over.
func newMoveLink(f *os.File, peer int) (*moveLink, error) {
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot move connections over this descriptor: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok || u.LocalAddr().Network() != "unixpacket" {
		c.Close()
		return nil, errors.New("cannot move connections over this descriptor: it is no SOCK_SEQPACKET socket")
	}
	if err := prepareMove(u); err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot move connections: %w", err)
	}
	return &moveLink{conn: u, peer: peer, wait: writeTimeout, control: make([]byte, moveControlSize),
		datagram: make([]byte, frameSize+pieceSize+1), out: make([]byte, 0, frameSize+pieceSize)}, nil
}

// receive returns the next message, whose descriptors are the caller's. io.EOF
// is the end of the other side, also in the middle of a message, which then
// counts as not sent. After any other error receive is not called again. In any
// case the descriptors of a message that is not returned are closed.
func (l *moveLink) receive() (moveMessage, error) {
	for {
		n, files, err := readMove(l.conn, l.datagram, l.control, l.peer)
		if errors.Is(err, syscall.ECONNRESET) && !l.reset {
			// The other side has closed and left something unread. The kernel says so
			// once, before it hands out what that side had sent.
			l.reset = true
			continue
		}
		whole := false
		if err == nil {
			whole, err = l.assembly.add(l.datagram[:n], files)
		}
		clear(l.datagram[:n])
		var m moveMessage
		switch {
		case err == nil && !whole:
			continue
		case err == nil:
			m, err = l.assembly.take()
		}
		if err == nil {
			return m, nil
		}
		l.assembly.drop()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return moveMessage{}, io.EOF
		}
		return moveMessage{}, fmt.Errorf("cannot read a message of the move: %w", err)
	}
}

// send sends m. After an error nothing more can be sent, and the other side
// learns that by EOF when it has read what was sent before: a gap would garble
// what a client is sent. [ErrBusy], and what is wrong with m itself, are exceptions.
func (l *moveLink) send(m moveMessage) error {
	head, size, err := m.encode()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	began, err := l.write(m, head, size)
	switch {
	case err == nil:
		return nil
	case !began && m.kind == moveBatch && isBusy(err):
		return fmt.Errorf("cannot send a batch of %d connections: %w (%v)", len(m.files), ErrBusy, err)
	}
	l.broken = fmt.Errorf("cannot send %v over the move: %w", m.kind, err)
	l.conn.CloseWrite()
	return l.broken
}

// write sends the datagrams of a message and says whether the first one went.
func (l *moveLink) write(m moveMessage, head []byte, size int) (began bool, err error) {
	deadline := time.Now().Add(l.wait)
	l.conn.SetWriteDeadline(deadline)
	parts, part, files := m.items, head, m.files
	for size > 0 || len(files) > 0 {
		now := files[:min(len(files), pieceFiles)]
		files = files[len(now):]
		piece := min(size, pieceSize)
		size -= piece
		b := m.kind.frame(l.out[:0], len(now), len(files), size)
		for piece > 0 {
			n := min(piece, len(part))
			b, part, piece = append(b, part[:n]...), part[n:], piece-n
			if len(part) == 0 && piece+size > 0 {
				part, parts = parts[0], parts[1:]
			}
		}
		err = writeMove(l.conn, b, now)
		for pause := time.Millisecond; isBusy(err) && time.Until(deadline) > 2*pause; pause = min(2*pause, busyPause) {
			time.Sleep(pause)
			err = writeMove(l.conn, b, now)
		}
		clear(b) // parcels hold the secrets of TLS connections
		if err != nil {
			return began, err
		}
		began = true
	}
	return began, nil
}

// isBusy says whether the system may take a datagram later that it does not
// take now.
func isBusy(err error) bool {
	return errors.Is(err, syscall.ETOOMANYREFS) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// ended says whether nothing more can be sent.
func (l *moveLink) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken != nil
}

// end lets nothing more be sent.
func (l *moveLink) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = why
		l.conn.CloseWrite()
	}
}
