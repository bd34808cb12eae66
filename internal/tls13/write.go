package tls13

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// rekeyAfter is how many records one key protects. RFC 8446, section 5.5, allows
// AES-GCM 2^24.5 full ones. crypto/tls counts none.
const rekeyAfter = 1 << 24

// goodbyeTime is how long an alert may wait for room in the send buffer; as in
// crypto/tls.
const goodbyeTime = 5 * time.Second

var errShutdown = errors.New("tls13: the connection is closed for writing")

// outbox is the writing half of a Conn. Its lock is held for the whole of a Write.
type outbox struct {
	mu sync.Mutex
	half
	err    error // the first one; all stay
	byeErr error // of the goodbye, if one was said
}

// Write writes p in records of up to 16 KiB, each with one Write of the underlying
// connection. After an error, also a time-out, every Write fails: part of a record
// may have been sent. n counts whole records.
func (c *Conn) Write(p []byte) (n int, err error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	c.out.mu.Lock()
	defer c.unlockOut()
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for n < len(p) {
		if c.settle(); c.out.err != nil {
			break
		}
		data := p[n:min(len(p), n+maxPlaintext)]
		record, err := c.protect(buf[:0], data)
		if err == nil {
			_, err = c.nc.Write(record)
		}
		if err != nil {
			c.out.err = lasting(err)
			break
		}
		n += len(data)
	}
	return n, c.out.err
}

// protect appends data to b as a record, with a KeyUpdate before it if one is due.
// A buffer has room for both.
func (c *Conn) protect(b, data []byte) ([]byte, error) {
	o := &c.out
	if c.owed.Swap(false) || o.seq >= rekeyAfter {
		var err error
		if b, err = o.seal(b, typeHandshake, append(keyUpdate[:], 0)); err != nil {
			return b, err
		}
		if err = o.update(); err != nil {
			return b, err
		}
	}
	return o.seal(b, typeApplicationData, data)
}

// refuse ends the connection with an alert, which it sends or leaves to the Write
// that is under way.
func (c *Conn) refuse(a tls.AlertError) error {
	c.fatal.Store(1 + uint32(a))
	c.sayFatal()
	return &net.OpError{Op: "local error", Err: a}
}

// unlockOut is how a writer gives up its lock: whoever finds it taken leaves an
// alert to it.
func (c *Conn) unlockOut() {
	c.out.mu.Unlock()
	c.sayFatal()
}

func (c *Conn) sayFatal() {
	for c.fatal.Load() != 0 && c.out.mu.TryLock() {
		c.settle()
		c.out.mu.Unlock()
	}
}

// settle sends the alert that the reader left to the writer, whose lock is held.
func (c *Conn) settle() {
	if a := c.fatal.Swap(0); a != 0 && c.out.err == nil {
		alert := tls.AlertError(a - 1)
		_ = c.say(2, alert) // what counts is that the connection has failed
		c.out.err = &net.OpError{Op: "local error", Err: alert}
	}
}

// goodbye sends close_notify, once. The writer's lock is held.
func (c *Conn) goodbye() error {
	if c.out.err == nil {
		c.out.byeErr = c.say(1, alertCloseNotify)
		c.out.err = errShutdown
	}
	return c.out.byeErr
}

// say sends an alert (section 6). Nothing is written after it, so the deadline may
// be ours. The writer's lock is held.
func (c *Conn) say(level byte, a tls.AlertError) error {
	record, err := c.out.seal(nil, typeAlert, []byte{level, byte(a)})
	if err != nil {
		return err
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(goodbyeTime)); err != nil {
		return err
	}
	_, err = c.nc.Write(record)
	return err
}

// broken is an error that stays: a time-out if it was one, but none that passes.
type broken struct{ err net.Error }

func (b broken) Error() string   { return b.err.Error() }
func (b broken) Unwrap() error   { return b.err }
func (b broken) Timeout() bool   { return b.err.Timeout() }
func (b broken) Temporary() bool { return false }

func lasting(err error) error {
	if e, ok := err.(net.Error); ok {
		return broken{e}
	}
	return err
}
