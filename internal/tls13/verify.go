package tls13

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// verify does what crypto/tls does with the certificates of a client in a full
// handshake, and sets peers and chains. That the client owns the key of its
// certificate was proved in the handshake.
func (c *Conn) verify(config *tls.Config) error {
	if config.GetConfigForClient != nil {
		return errors.New("tls13: the configuration depends on the ClientHello, which is gone")
	}
	for _, der := range c.about.PeerCertificates {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("tls13: certificate of the client: %w", err)
		}
		c.peers = append(c.peers, cert)
	}
	switch auth := config.ClientAuth; {
	case auth == tls.NoClientCert:
		if len(c.peers) > 0 {
			return errors.New("tls13: the client has a certificate, and none is asked for")
		}
	case len(c.peers) == 0 && (auth == tls.RequireAnyClientCert || auth == tls.RequireAndVerifyClientCert):
		return errors.New("tls13: the client has no certificate")
	case len(c.peers) > 0 && auth >= tls.VerifyClientCertIfGiven:
		if err := c.chain(config); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: c.peers, Err: err}
		}
	}
	if config.ClientAuth != tls.NoClientCert && config.VerifyPeerCertificate != nil {
		if err := config.VerifyPeerCertificate(c.about.PeerCertificates, c.chains); err != nil {
			return fmt.Errorf("tls13: %w", err)
		}
	}
	if config.VerifyConnection != nil {
		if err := config.VerifyConnection(c.ConnectionState()); err != nil {
			return fmt.Errorf("tls13: %w", err)
		}
	}
	return nil
}

func (c *Conn) chain(config *tls.Config) (err error) {
	now := config.Time
	if now == nil {
		now = time.Now
	}
	options := x509.VerifyOptions{
		Roots:         config.ClientCAs,
		CurrentTime:   now(),
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, cert := range c.peers[1:] {
		options.Intermediates.AddCert(cert)
	}
	c.chains, err = c.peers[0].Verify(options)
	return err
}
