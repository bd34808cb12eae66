package tls13

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// suite is one cipher suite of TLS 1.3 (RFC 8446, appendix B.4).
type suite struct {
	id     uint16
	hash   func() hash.Hash
	secret int // bytes of a traffic secret: the size of the hash
	key    int // bytes of a key
	aead   func(key []byte) (cipher.AEAD, error)
}

// suites are those that crypto/tls knows; the two CCM suites are not among them.
var suites = [...]suite{
	{tls.TLS_AES_128_GCM_SHA256, sha256.New, sha256.Size, 16, gcm},
	{tls.TLS_AES_256_GCM_SHA384, sha512.New384, sha512.Size384, 32, gcm},
	{tls.TLS_CHACHA20_POLY1305_SHA256, sha256.New, sha256.Size, chacha20poly1305.KeySize, chacha20poly1305.New},
}

func suiteOf(id uint16) *suite {
	for i := range suites {
		if suites[i].id == id {
			return &suites[i]
		}
	}
	return nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446, section 7.1).
func (s *suite) expandLabel(secret []byte, label string, length int) ([]byte, error) {
	label = "tls13 " + label
	info := make([]byte, 0, 2+1+len(label)+1)
	info = append(info, byte(length>>8), byte(length), byte(len(label)))
	info = append(info, label...)
	info = append(info, 0)
	return hkdf.Expand(s.hash, secret, string(info), length)
}
