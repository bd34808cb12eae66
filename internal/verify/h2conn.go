package verify

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// errAboveGoaway ends a stream that a GOAWAY has named as not processed.
var errAboveGoaway = errors.New("the stream is above the last one of a GOAWAY")

// errNotOpened is why a stream was never opened: the connection was on its way
// out already, and nothing of the stream was sent.
var errNotOpened = errors.New("the connection takes no new streams")

// errOver stops sending a body: the stream or the connection has ended, and
// recv tells how.
var errOver = errors.New("the stream has ended")

// What holds until the server's SETTINGS have come (RFC 9113, section 6.5.2),
// except for the number of streams, which has no limit then.
const (
	initialWindow  = 65535
	initialStreams = 100
	maxFrame       = 16384
)

// h2conn is the client end of one HTTP/2 connection, frame by frame. One
// goroutine reads; whoever has something to write writes, under wmu.
// Lock order: wmu, then mu.
type h2conn struct {
	c    net.Conn
	done chan struct{} // closed when the reader has ended

	wmu   sync.Mutex // one frame at a time, and the order of new stream ids
	out   *bufio.Writer
	fr    *http2.Framer // reading needs no lock: the reader is alone
	block bytes.Buffer
	enc   *hpack.Encoder

	mu       sync.Mutex
	changed  sync.Cond // anything below
	streams  map[uint32]*h2stream
	next     uint32
	reserved int   // slots of streams about to be opened
	most     int   // streams the server allows at a time
	window   int64 // of the connection, for sending
	initial  int64 // of a new stream, for sending
	leaving  bool  // a GOAWAY has come
	err      error // why nothing can be sent any more, GOAWAY aside
}

// h2stream is one request and its answer; guarded by the connection's mu.
type h2stream struct {
	id       uint32
	window   int64
	answered bool // HEADERS have come
	status   string
	header   http.Header
	body     bytes.Buffer // received and not consumed
	ended    bool         // END_STREAM has come
	err      error
}

func newH2conn(c net.Conn) (*h2conn, error) {
	h := &h2conn{c: c, done: make(chan struct{}), out: bufio.NewWriter(c),
		streams: make(map[uint32]*h2stream), next: 1, most: initialStreams,
		window: initialWindow, initial: initialWindow}
	h.changed.L = &h.mu
	h.fr = http2.NewFramer(h.out, bufio.NewReader(c))
	h.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.enc = hpack.NewEncoder(&h.block)
	err := h.send(func() error {
		io.WriteString(h.out, http2.ClientPreface) // an error sticks to the bufio.Writer
		return h.fr.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	go h.read()
	return h, nil
}

// usable reports whether new streams may be opened, and if not, whether the
// server has asked for a new connection.
func (h *h2conn) usable() (ok, asked bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.leaving && h.err == nil, h.leaving
}

// ended reports whether the reader is gone, after which nothing is left to join.
func (h *h2conn) ended() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// close ends the connection and joins its reader.
func (h *h2conn) close() {
	h.c.Close()
	<-h.done
}

// send writes frames and flushes them. After a failure nothing more is sent,
// but reading goes on: a GOAWAY may be waiting to be read.
func (h *h2conn) send(frames func() error) error {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	h.c.SetWriteDeadline(time.Now().Add(DefaultTimeout))
	err := frames()
	if err == nil {
		err = h.out.Flush()
	}
	if err != nil && err != errNotOpened {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.err == nil {
			h.err = err
		}
		h.changed.Broadcast()
	}
	return err
}

// open begins a stream with its headers. The stream's end, also one by a write
// that fails, is for recv to tell.
func (h *h2conn) open(ctx context.Context, fields []hpack.HeaderField, last bool) (*h2stream, error) {
	h.mu.Lock()
	for len(h.streams)+h.reserved >= h.most && !h.leaving && h.err == nil && ctx.Err() == nil {
		h.changed.Wait()
	}
	err := ctx.Err()
	if err == nil && (h.leaving || h.err != nil) {
		err = errNotOpened
	}
	if err != nil {
		h.mu.Unlock()
		return nil, err
	}
	h.reserved++
	h.mu.Unlock()

	var st *h2stream
	err = h.send(func() error {
		if st = h.register(); st == nil {
			return errNotOpened
		}
		h.block.Reset()
		for _, f := range fields {
			h.enc.WriteField(f) // a bytes.Buffer does not fail
		}
		return h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: st.id, BlockFragment: h.block.Bytes(),
			EndHeaders: true, EndStream: last})
	})
	if st == nil {
		return nil, err
	}
	return st, nil
}

// register turns a reserved slot into a stream, unless it is too late for one.
func (h *h2conn) register() *h2stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reserved--
	h.changed.Broadcast()
	if h.leaving || h.err != nil {
		return nil
	}
	st := &h2stream{id: h.next, window: h.initial}
	h.next += 2
	h.streams[st.id] = st
	return st
}

// sendBody sends data as the windows allow.
func (h *h2conn) sendBody(ctx context.Context, st *h2stream, data []byte, last bool) error {
	for {
		h.mu.Lock()
		for min(st.window, h.window) <= 0 && !st.ended && st.err == nil && h.err == nil && ctx.Err() == nil {
			h.changed.Wait()
		}
		if ctx.Err() != nil || st.ended || st.err != nil || h.err != nil {
			defer h.mu.Unlock()
			return cmp.Or(ctx.Err(), errOver)
		}
		n := min(int64(len(data)), st.window, h.window, maxFrame)
		st.window -= n
		h.window -= n
		h.mu.Unlock()
		piece := data[:n]
		data = data[n:]
		h.send(func() error { return h.fr.WriteData(st.id, last && len(data) == 0, piece) })
		if len(data) == 0 {
			return nil
		}
	}
}

// recv returns the next bytes of the answer's body, at most n; io.EOF after the
// last; or what ended the stream.
func (h *h2conn) recv(ctx context.Context, st *h2stream, p []byte) (int, error) {
	h.mu.Lock()
	for st.body.Len() == 0 && !st.ended && st.err == nil && ctx.Err() == nil {
		h.changed.Wait()
	}
	switch {
	case st.body.Len() > 0:
	case st.ended:
		defer h.mu.Unlock()
		return 0, io.EOF
	case st.err != nil:
		defer h.mu.Unlock()
		return 0, st.err
	default:
		defer h.mu.Unlock()
		return 0, ctx.Err()
	}
	n, _ := st.body.Read(p)
	ended := st.ended
	h.mu.Unlock()
	if !ended {
		h.send(func() error { return h.fr.WriteWindowUpdate(st.id, uint32(n)) })
	}
	return n, nil
}

// release forgets a stream, cancelling it if it has not ended. A connection
// that the server has asked to leave is closed with its last stream.
func (h *h2conn) release(st *h2stream) {
	h.mu.Lock()
	cancel := !st.ended && st.err == nil && h.err == nil
	delete(h.streams, st.id)
	last := h.leaving && len(h.streams) == 0
	h.changed.Broadcast()
	h.mu.Unlock()
	if cancel {
		h.send(func() error { return h.fr.WriteRSTStream(st.id, http2.ErrCodeCancel) })
	}
	if last {
		h.c.Close()
	}
}

func (h *h2conn) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed.Broadcast()
}
