package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

// poster sends JSON to webhooks.
type poster struct {
	timeout time.Duration // of an attempt
	tries   int
	pause   time.Duration // before the second attempt, doubled before the next, each 20% more or less
	random  func() float64
}

func newPoster() poster {
	return poster{timeout: 10 * time.Second, tries: 3, pause: time.Second, random: rand.Float64}
}

// send returns nil when the server has said that it has it (2xx). Redirects are not
// followed: what is told is for whom the user has named.
func (p poster) send(ctx context.Context, to string, data []byte) error {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	pause := p.pause
	for try := 1; ; try++ {
		again, err := p.attempt(ctx, c, to, data)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case !again:
			return err
		case try >= p.tries:
			return fmt.Errorf("%w, the last of %d attempts", err, try)
		}
		t := time.NewTimer(time.Duration(float64(pause) * (1 - jitter + 2*jitter*p.random())))
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		pause *= 2
	}
}

// attempt says also whether another one may do better.
func (p poster) attempt(ctx context.Context, c *http.Client, to string, data []byte) (again bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("no answer within %v", p.timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(data))
	if err != nil {
		return false, errors.New("it is no address")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "segue")
	resp, err := c.Do(req)
	if err != nil {
		var with *url.Error // which has the whole address in its text
		if errors.As(err, &with) {
			err = with.Err
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return true, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<10))
	switch s := resp.StatusCode; {
	case s >= 200 && s < 300:
		return false, nil
	case s >= 300 && s < 400:
		return false, fmt.Errorf("answered %s: redirects are not followed; write the address that it leads to", resp.Status)
	case s == http.StatusRequestTimeout || s == http.StatusTooManyRequests || s >= 500:
		return true, fmt.Errorf("answered %s", resp.Status)
	}
	return false, fmt.Errorf("answered %s", resp.Status)
}

// shown is what may be seen of an address: neither user nor query, and of the path
// that there is one, since for many receivers the path is the secret.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "webhook"
	}
	if u.Path != "" && u.Path != "/" {
		return u.Scheme + "://" + u.Host + "/..."
	}
	return u.Scheme + "://" + u.Host
}
