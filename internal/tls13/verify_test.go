package tls13

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"testing"
	"time"
)

// A client has to satisfy the configuration of the process that it moves to.
func TestClientCertificates(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	server := a.issue(t, "ECDSA", x509.ExtKeyUsageServerAuth)
	known := &tls.Config{Certificates: []tls.Certificate{a.issue(t, "ECDSA", x509.ExtKeyUsageClientAuth)}}
	refuse := errors.New("refused")
	var called string
	for name, try := range map[string]struct {
		client *tls.Config // nil has no certificate
		verify *tls.Config
		ok     bool
		called string
		chains int
	}{
		"none asked for, none there":  {nil, nil, true, "", 0},
		"none asked for, one there":   {known, nil, false, "", 0},
		"required and verified":       {known, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool}, true, "", 1},
		"required, none there":        {nil, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool}, false, "", 0},
		"any required, none there":    {nil, &tls.Config{ClientAuth: tls.RequireAnyClientCert}, false, "", 0},
		"any required, one there":     {known, &tls.Config{ClientAuth: tls.RequireAnyClientCert, ClientCAs: other.pool}, true, "", 0},
		"verified if given, none":     {nil, &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: other.pool}, true, "", 0},
		"verified if given, another":  {known, &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: other.pool}, false, "", 0},
		"another authority":           {known, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: other.pool}, false, "", 0},
		"expired by now":              {known, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool, Time: func() time.Time { return time.Now().Add(48 * time.Hour) }}, false, "", 0},
		"depends on the hello":        {nil, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }}, false, "", 0},
		"callbacks":                   {known, callbacks(&called, tls.RequireAndVerifyClientCert, a.pool, nil, nil), true, "peer 2 1, connection 2 1", 1},
		"callbacks without asking":    {nil, callbacks(&called, tls.NoClientCert, nil, nil, nil), true, "connection 0 0", 0},
		"callbacks, none there":       {nil, callbacks(&called, tls.RequestClientCert, nil, nil, nil), true, "peer 0 0, connection 0 0", 0},
		"the certificate is refused":  {known, callbacks(&called, tls.RequireAnyClientCert, nil, refuse, nil), false, "peer 2 0, ", 0},
		"the connection is refused":   {known, callbacks(&called, tls.RequireAnyClientCert, nil, nil, refuse), false, "peer 2 0, connection 2 0", 0},
		"the authority goes first":    {known, callbacks(&called, tls.RequireAndVerifyClientCert, other.pool, nil, nil), false, "", 0},
		"a resumed session as others": {known, callbacks(&called, tls.RequireAndVerifyClientCert, a.pool, nil, nil), true, "peer 2 1, connection 2 1", 1},
	} {
		t.Run(name, func(t *testing.T) {
			serve := &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert}
			var dial *tls.Config
			if try.client != nil {
				dial = try.client.Clone()
			}
			s, client := a.connect(t, serve, dial)
			state := again(t, stateOf(t, s))
			state.DidResume = name == "a resumed session as others"
			called = ""
			c, err := Resume(s.NetConn(), state, try.verify)
			if (err == nil) != try.ok || called != try.called {
				t.Fatalf("%v, called %q", err, called)
			}
			if err != nil {
				// Nothing was said: the one that exported it goes on.
				if err := errors.Join(pass(s, client, "still here"), pass(client, s, "me too")); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got := c.ConnectionState(); len(got.VerifiedChains) != try.chains || len(got.PeerCertificates) != len(s.ConnectionState().PeerCertificates) {
				t.Errorf("%d chains, %d certificates", len(got.VerifiedChains), len(got.PeerCertificates))
			}
			exchange(t, transfer(t, c, try.verify), client)
		})
	}
}

func callbacks(called *string, auth tls.ClientAuthType, pool *x509.CertPool, peer, connection error) *tls.Config {
	return &tls.Config{
		ClientAuth: auth, ClientCAs: pool,
		VerifyPeerCertificate: func(raw [][]byte, chains [][]*x509.Certificate) error {
			*called = "peer " + digits(len(raw), len(chains)) + ", "
			return peer
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			*called += "connection " + digits(len(s.PeerCertificates), len(s.VerifiedChains))
			return connection
		},
	}
}

func digits(a, b int) string { return string([]byte{'0' + byte(a), ' ', '0' + byte(b)}) }

// A session that was resumed by a ticket moves like any other.
func TestResumedSession(t *testing.T) {
	a := newAuthority(t)
	serve := &tls.Config{Certificates: []tls.Certificate{a.issue(t, "ECDSA", x509.ExtKeyUsageServerAuth)}}
	dial := &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i := range 2 {
		server, client := a.connect(t, serve, dial)
		c := transfer(t, server, nil)
		if got := c.ConnectionState().DidResume; got != (i == 1) {
			t.Errorf("connection %d: resumed is %v", i, got)
		}
		exchange(t, c, client)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(client); err != nil {
			t.Fatal(err)
		}
	}
}
