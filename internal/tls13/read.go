package tls13

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
)

// inbox is the reading half of a Conn and what it has buffered. Its lock is held
// for the whole of a Read.
type inbox struct {
	mu sync.Mutex
	half
	err error // the first one that stays

	// buf[r:w] is read and not decrypted. buf is small as long as the record under
	// way fits there; big, from a pool, serves for a longer one until it has been
	// read. (After a move it may be of another length.)
	buf   []byte
	r, w  int
	small [512]byte
	big   *buffer

	plain   []byte // decrypted and unread; lies in buf before r
	hand    [5]byte
	handLen int // less than 5: a KeyUpdate that is not complete
	useless int // records since the last one with data
}

// buffer has room for a record as long as can be.
type buffer [maxRecord]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// load takes over what is buffered in a State; the halves are set already.
func (b *inbox) load(t *traffic) {
	b.buf = b.small[:]
	if n := len(t.RawIn) + len(t.Plain); n > len(b.buf) {
		b.buf = make([]byte, n)
	}
	b.r = copy(b.buf, t.Plain)
	b.plain = b.buf[:b.r]
	b.w = b.r + copy(b.buf[b.r:], t.RawIn)
	b.handLen = copy(b.hand[:], t.Hand)
	b.useless = int(t.Useless)
}

// save copies what is buffered to a State.
func (b *inbox) save(t *traffic) {
	t.Plain = append([]byte(nil), b.plain...)
	t.RawIn = append([]byte(nil), b.buf[b.r:b.w]...)
	t.Hand = append([]byte(nil), b.hand[:b.handLen]...)
	t.Useless = uint8(b.useless)
}

// Read reads application data, of one record at most. The error is io.EOF after
// the client has said goodbye, and also where it closed the connection between two
// records without: crypto/tls takes that for an end, too. After a time-out
// (net.Error) Read can be called again; every other error stays.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b := c.in
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.plain) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		if err := c.readRecord(); err != nil {
			if e := net.Error(nil); !errors.As(err, &e) || !e.Timeout() {
				b.err = err
			}
			return 0, err
		}
	}
	n := copy(p, b.plain)
	b.plain = b.plain[n:]
	b.tidy()
	return n, nil
}

// readRecord reads one record and does what it says. There is no unread data.
func (c *Conn) readRecord() error {
	b := c.in
	if err := b.fill(c.nc, headerLen); err != nil {
		return err
	}
	head := b.buf[b.r : b.r+headerLen]
	n := int(head[3])<<8 | int(head[4])
	switch {
	case head[1] != 3 || head[2] != 3: // section 5.1: legacy_record_version
		return c.refuse(alertProtocolVersion)
	case n > maxCiphertext:
		return c.refuse(alertRecordOverflow)
	}
	if err := b.fill(c.nc, headerLen+n); err != nil {
		return err
	}
	record := b.buf[b.r : b.r+headerLen+n]
	b.r += len(record)

	data, typ, err := record[headerLen:], record[0], error(nil)
	if typ != typeChangeCipherSpec { // not encrypted (appendix D.4)
		data, typ, err = b.open(record)
	}
	if err != nil {
		var alert tls.AlertError
		if !errors.As(err, &alert) {
			alert = alertInternalError
		}
		return c.refuse(alert)
	}
	if len(data) > maxPlaintext {
		return c.refuse(alertRecordOverflow)
	}
	if typ != typeHandshake && b.handLen > 0 { // section 5.1: no interleaving
		return c.refuse(alertUnexpectedMessage)
	}
	err = c.obey(typ, data)
	b.tidy()
	return err
}

// obey does what a record says.
func (c *Conn) obey(typ byte, data []byte) error {
	switch {
	case typ == typeApplicationData && len(data) > 0:
		c.in.plain, c.in.useless = data, 0
		return nil
	case typ == typeApplicationData:
		return c.tolerate()
	case typ == typeHandshake && len(data) > 0:
		return c.handshake(data)
	case typ == typeAlert && len(data) == 2:
		return c.alerted(tls.AlertError(data[1]))
	case typ == typeChangeCipherSpec && (len(data) != 1 || data[0] != 1):
		return c.refuse(alertDecodeError)
	case typ == typeChangeCipherSpec:
		// After the handshake RFC 8446, section 5, wants it refused. crypto/tls lets
		// it pass, and a client must not learn of a move by that.
		return c.tolerate()
	}
	return c.refuse(alertUnexpectedMessage)
}

// alerted is told that the client sent an alert. All but two are fatal, whatever
// their level (section 6).
func (c *Conn) alerted(a tls.AlertError) error {
	switch a {
	case alertCloseNotify:
		return io.EOF
	case alertUserCanceled: // sent by some in place of close_notify's warning; ignored by most
		return c.tolerate()
	}
	return &net.OpError{Op: "remote error", Err: a}
}

// handshake takes handshake data; it need not be a whole message. A KeyUpdate is
// all that a client may send after the handshake.
func (c *Conn) handshake(data []byte) error {
	b := c.in
	n := copy(b.hand[b.handLen:], data)
	b.handLen += n
	switch {
	case b.hand[0] != keyUpdate[0]:
		return c.refuse(alertUnexpectedMessage)
	case b.handLen < len(keyUpdate):
		return nil
	case [len(keyUpdate)]byte(b.hand[:]) != keyUpdate:
		return c.refuse(alertDecodeError)
	case b.handLen < len(b.hand):
		return nil
	}
	b.handLen = 0
	switch {
	case b.hand[4] > 1:
		return c.refuse(alertDecodeError)
	case n < len(data): // section 5.1: the next message needs the next key
		return c.refuse(alertUnexpectedMessage)
	}
	if err := c.tolerate(); err != nil {
		return err
	}
	if b.hand[4] == 1 {
		// While this side is silent one answer is enough for any number of these
		// (section 4.6.3), so a client cannot make it write.
		c.owed.Store(true)
	}
	if err := b.update(); err != nil {
		return c.refuse(alertInternalError)
	}
	return nil
}

// tolerate counts a record that brought no data. crypto/tls bears with as many.
func (c *Conn) tolerate() error {
	if c.in.useless++; c.in.useless > maxUseless {
		return c.refuse(alertUnexpectedMessage)
	}
	return nil
}

// fill reads until there are n bytes from r on; there is no unread data. It is
// io.EOF only where a record would begin.
func (b *inbox) fill(from io.Reader, n int) error {
	if b.w-b.r >= n {
		return nil
	}
	b.room(n)
	m, err := io.ReadAtLeast(from, b.buf[b.w:], n-b.w)
	b.w += m
	if err == io.EOF && b.w > 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// room moves what is not decrypted to the beginning of the smallest buffer that
// has room for n bytes. n is more than there are.
func (b *inbox) room(n int) {
	old, big := b.buf[b.r:b.w], b.big
	switch {
	case n <= len(b.small):
		b.buf, b.big = b.small[:], nil
	case big == nil:
		b.big = buffers.Get().(*buffer)
		b.buf = b.big[:]
	}
	b.r, b.w = 0, copy(b.buf, old)
	if big != nil && b.big == nil {
		buffers.Put(big)
	}
}

// tidy lets go of a buffer in which there is nothing.
func (b *inbox) tidy() {
	if len(b.plain) == 0 && b.r == b.w {
		b.plain = nil
		b.room(1)
	}
}
