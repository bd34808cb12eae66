//go:build unix

package conns

import (
	"crypto/tls"
	"testing"
)

// TestChurnTLS is TestChurn over TLS 1.3: every write of a client is a record of
// its own, so records are cut as the frames are.
func TestChurnTLS(t *testing.T) {
	churnOver(t, &tls.Config{Certificates: []tls.Certificate{certificate()}}, 6, 20)
}
