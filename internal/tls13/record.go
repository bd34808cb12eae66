package tls13

import (
	"bytes"
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"math"
)

// Sizes of RFC 8446, sections 5.1 and 5.2.
const (
	headerLen     = 5
	maxPlaintext  = 1 << 14
	maxCiphertext = maxPlaintext + 256
	maxRecord     = headerLen + maxCiphertext
)

// Content types (RFC 8446, section 5.1).
const (
	typeChangeCipherSpec byte = 20
	typeAlert            byte = 21
	typeHandshake        byte = 22
	typeApplicationData  byte = 23
)

// Alerts that this package sends or treats in its own way (RFC 8446, section 6).
const (
	alertCloseNotify       tls.AlertError = 0
	alertUnexpectedMessage tls.AlertError = 10
	alertBadRecordMAC      tls.AlertError = 20
	alertRecordOverflow    tls.AlertError = 22
	alertDecodeError       tls.AlertError = 50
	alertProtocolVersion   tls.AlertError = 70
	alertInternalError     tls.AlertError = 80
	alertUserCanceled      tls.AlertError = 90
)

// errSpent cannot happen in the lifetime of a machine: a writer changes its key
// long before, and a client would have to send 2^64 records.
var errSpent = errors.New("tls13: sequence numbers are used up")

// half is one direction of a connection: its keys and where it is.
type half struct {
	suite *suite
	keys  *keys // behind a pointer, so that fmt does not find them by itself
	seq   uint64
}

// keys belong to one traffic secret and are not changed.
type keys struct {
	secret []byte
	aead   cipher.AEAD
	iv     [12]byte
	nonce  [12]byte // scratch: what goes through an interface escapes
}

// init takes a traffic secret and the number of records that it has protected.
func (h *half) init(s *suite, secret []byte, seq uint64) error {
	key, err := s.expandLabel(secret, "key", s.key)
	if err != nil {
		return err
	}
	k := &keys{secret: bytes.Clone(secret)}
	iv, err := s.expandLabel(secret, "iv", len(k.iv))
	if err != nil {
		return err
	}
	copy(k.iv[:], iv)
	if k.aead, err = s.aead(key); err != nil {
		return err
	}
	h.suite, h.keys, h.seq = s, k, seq
	return nil
}

// update goes on to the next key (RFC 8446, section 7.2).
func (h *half) update() error {
	next, err := h.suite.expandLabel(h.keys.secret, "traffic upd", h.suite.secret)
	if err != nil {
		return err
	}
	return h.init(h.suite, next, 0)
}

// number is the nonce of a record (RFC 8446, section 5.3).
func (k *keys) number(seq uint64) []byte {
	k.nonce = k.iv
	last := k.nonce[len(k.nonce)-8:]
	binary.BigEndian.PutUint64(last, binary.BigEndian.Uint64(last)^seq)
	return k.nonce[:]
}

// seal appends a record without padding to dst. The payload is at most
// maxPlaintext bytes.
func (h *half) seal(dst []byte, typ byte, payload []byte) ([]byte, error) {
	if h.seq == math.MaxUint64 {
		return dst, errSpent
	}
	n := len(payload) + 1 + h.keys.aead.Overhead()
	start := len(dst)
	dst = append(dst, typeApplicationData, 3, 3, byte(n>>8), byte(n))
	text := len(dst)
	dst = append(dst, payload...)
	dst = append(dst, typ)
	dst = h.keys.aead.Seal(dst[:text], h.keys.number(h.seq), dst[text:], dst[start:text])
	h.seq++
	return dst, nil
}

// open decrypts a whole record in place. Its errors are alerts, or errSpent. The
// order of the checks is that of crypto/tls, and so is this: a record whose
// plaintext is not even a content type counts as one of application data
// without any.
func (h *half) open(record []byte) (data []byte, typ byte, err error) {
	if h.seq == math.MaxUint64 {
		return nil, 0, errSpent
	}
	payload := record[headerLen:]
	data, err = h.keys.aead.Open(payload[:0], h.keys.number(h.seq), payload, record[:headerLen])
	if err != nil {
		return nil, 0, alertBadRecordMAC
	}
	if record[0] != typeApplicationData {
		return nil, 0, alertUnexpectedMessage
	}
	if len(data) > maxPlaintext+1 {
		return nil, 0, alertRecordOverflow
	}
	typ = typeApplicationData
	if len(data) > 0 {
		data = bytes.TrimRight(data, "\x00") // padding (section 5.4)
		if len(data) == 0 {
			return nil, 0, alertUnexpectedMessage
		}
		typ, data = data[len(data)-1], data[:len(data)-1]
	}
	h.seq++
	return data, typ, nil
}
