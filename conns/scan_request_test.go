package conns

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// scanRequests gives the scanner b in pieces that end at the cuts, and returns
// where requests ended, and the scanner.
func scanRequests(t testing.TB, b []byte, cuts func() int) (ends []int, s requestScanner) {
	for pos := 0; pos < len(b); {
		piece := b[pos:min(len(b), pos+cuts())]
		n := s.next(piece)
		if n < 1 || n > len(piece) {
			t.Fatalf("next(%q) = %d", piece, n)
		}
		if n < len(piece) && s.state != scanStart {
			t.Fatalf("next(%q) = %d, state %d", piece, n, s.state)
		}
		pos += n
		if s.state == scanStart && !s.empty {
			ends = append(ends, pos)
		}
	}
	return ends, s
}

func whole() int   { return 1 << 30 }
func oneByte() int { return 1 }

// randomly cuts into pieces that are mostly short.
func randomly(seed uint64) func() int {
	r := rand.New(rand.NewPCG(seed, 0))
	return func() int { return 1 + r.IntN(1<<r.IntN(10)) }
}

// There is a "|" where a request ends; end is where the rest leads to.
func TestRequestScanner(t *testing.T) {
	const host = "Host: a\r\n"
	for _, c := range []struct {
		name, in string
		end      scanState
	}{
		{"get", "GET / HTTP/1.1\r\n" + host + "\r\n|GET /b HTTP/1.1\r\n\r\n|", scanStart},
		{"nothing but lf", "GET / HTTP/1.1\nHost: a\n\n|GET / HTTP/1.1\n\n|", scanStart},
		{"old", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n|GET / HTTP/1.0\r\n\r\n|", scanStart},
		{"another minor version", "GET / HTTP/1.7\r\n\r\n|", scanStart},
		{"no name has a tail", "GET / HTTP/1.1\r\nC\r\nContent-Lengt: 4\r\nContent-Lengthy: 4\r\nUp: x\r\nt:\r\n\r\n|", scanStart},
		{"head under way", "GET / HTTP/1.1\r\n\r\n|GET / HTTP/1.1\r\nHost: a\r\n", scanHead},
		{"one letter", "G", scanHead},
		{"lf missing", "GET / HTTP/1.1\r\n\r", scanHead},
		{"length", "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello|GET / HTTP/1.1\r\n\r\n|", scanStart},
		{"length, any case, any blanks", "POST / HTTP/1.1\r\ncOnTeNt-LeNgTh:\t  005 \t\r\n\r\nhello|", scanStart},
		{"no blank", "POST / HTTP/1.1\r\ncontent-length:5\n\r\nhello|", scanStart},
		{"zero", "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n|", scanStart},
		{"body under way", "POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nhello", scanBody},
		{"empty lines between", "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx|\r\n\r\nGET / HTTP/1.1\r\n\r\n|\r\n", scanStart},
		{"fold", "GET / HTTP/1.1\r\nA: b\r\n\tContent-Length: 5\r\n \r\n c\r\n\r\n|", scanStart},
		{"upgraded", "GET / HTTP/1.1\r\nUpgrade:\r\n websocket\r\n\r\n|", scanStart},
		{"chunks", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n|GET / HTTP/1.1\r\n\r\n|", scanStart},
		{"chunks, any case", "POST / HTTP/1.1\r\ntransfer-encoding:cHUNKED\t\n\n00A \t\r\n0123456789\r\n000\r\n\r\n|", scanStart},
		{"extensions", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b\"\r\nx\r\n0;c\r\n\r\n|", scanStart},
		{"trailers", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\nA: b\r\n\r\n|GET / HTTP/1.1\r\n\r\n|", scanStart},
		{"trailers under way", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n", scanBody},
		{"in a chunk", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", scanBody},

		{"h2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", scanPassing},
		{"connect", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", scanPassing},
		{"no version", "GET /\r\n\r\n", scanPassing},
		{"short", "\x16\x03\n\r\n", scanPassing},
		{"version goes on", "GET / HTTP/1.11\r\n\r\n", scanPassing},
		{"two cr", "GET / HTTP/1.1\r\r\n\r\n", scanPassing},
		{"both", "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", scanPassing},
		{"both, the other way", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", scanPassing},
		{"two lengths", "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", scanPassing},
		{"length list", "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nhello", scanPassing},
		{"signed length", "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello", scanPassing},
		{"no length", "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", scanPassing},
		{"folded length", "POST / HTTP/1.1\r\nContent-Length: 1\r\n 0\r\n\r\n0123456789", scanPassing},
		{"huge length", "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nx", scanPassing},
		{"blank before colon", "POST / HTTP/1.1\r\nContent-Length : 5\r\n\r\nhello", scanPassing},
		{"cr in a length", "POST / HTTP/1.1\r\nContent-Length: 5\r \r\n\r\nhello", scanPassing},
		{"another coding", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", scanPassing},
		{"more than chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", scanPassing},
		{"less than chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: chunk\r\n\r\n0\r\n\r\n", scanPassing},
		{"coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", scanPassing},
		{"two codings", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", scanPassing},
		{"first line folded", "GET / HTTP/1.1\r\n A: b\r\n\r\n", scanPassing},
		{"two cr at the end", "GET / HTTP/1.1\r\n\r\r\n\r\n", scanPassing},
		{"lone cr", "GET / HTTP/1.1\r\n\rA: b\r\n\r\n", scanPassing},
		{"bare lf after a size", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n", scanPassing},
		{"bare lf after data", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n", scanPassing},
		{"bare lf in an extension", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a\n\r\nx\r\n0\r\n\r\n", scanPassing},
		{"bare lf in a trailer", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n", scanPassing},
		{"bare lf at the end", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n", scanPassing},
		{"too long a chunk", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000001\r\nx\r\n0\r\n\r\n", scanPassing},
		{"blank before a size", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\nx\r\n0\r\n\r\n", scanPassing},
		{"no size", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", scanPassing},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []int
			for i, p := 0, strings.Split(c.in, "|"); i < len(p)-1; i++ {
				want = append(want, len(p[i]))
				if i > 0 {
					want[i] += want[i-1]
				}
			}
			in := []byte(strings.ReplaceAll(c.in, "|", ""))
			for _, cuts := range []func() int{whole, oneByte} {
				if got, s := scanRequests(t, in, cuts); !slices.Equal(got, want) || s.state != c.end {
					t.Errorf("ends %v, state %d; want %v, %d", got, s.state, want, c.end)
				}
			}
		})
	}
}

func TestRequestScannerUpgrade(t *testing.T) {
	in := []byte("GET / HTTP/1.1\r\nuPGRADE:websocket\r\n\r\nGET / HTTP/1.1\r\n\r\n")
	var s requestScanner
	n := s.next(in)
	if s.state != scanStart || !s.upgrade {
		t.Fatalf("state %d, upgrade %v", s.state, s.upgrade)
	}
	if s.next(in[n : n+4]); !s.upgrade {
		t.Error("the last complete head has forgotten its upgrade")
	}
	if s.next(in[n+4:]); s.state != scanStart || s.upgrade {
		t.Errorf("state %d, upgrade %v", s.state, s.upgrade)
	}
	if n := unsafe.Sizeof(s); n > 48 {
		t.Errorf("%d bytes for each connection", n)
	}
}

func TestRequestScannerHeadTooLong(t *testing.T) {
	for _, c := range []struct {
		size int
		want scanState
	}{{maxHead, scanStart}, {maxHead + 1, scanPassing}, {3 * maxHead, scanPassing}} {
		start, end := "GET / HTTP/1.1\r\nA: ", "\r\n\r\n"
		in := []byte(start + strings.Repeat("x", c.size-len(start)-len(end)) + end)
		for _, cuts := range []func() int{whole, func() int { return 4096 }} {
			if _, s := scanRequests(t, in, cuts); s.state != c.want {
				t.Errorf("%d bytes: state %d, want %d", c.size, s.state, c.want)
			}
		}
	}
}

// netHTTPEnds returns where net/http's server sees requests end, and what stopped
// it. It is what conn.readRequest and body.Close do, without a connection.
func netHTTPEnds(in []byte) (ends []int, err error) {
	src := bytes.NewReader(in)
	r := bufio.NewReaderSize(src, 4096)
	for method := ""; ; {
		if method == http.MethodPost {
			peek, _ := r.Peek(4)
			r.Discard(len(peek) - len(bytes.TrimLeft(peek, "\r\n")))
		}
		req, err := http.ReadRequest(r)
		if err == nil && req.ProtoMajor != 1 {
			err = errors.New("unsupported version")
		}
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
		}
		if err != nil {
			return ends, err
		}
		method = req.Method
		ends = append(ends, len(in)-src.Len()-r.Buffered())
	}
}

// checkRequests compares the scanner with net/http: as long as net/http accepts
// requests, the scanner sees the same ends, or none any more.
func checkRequests(t *testing.T, in []byte, seed uint64) {
	want, err := netHTTPEnds(in)
	got, s := scanRequests(t, in, whole)
	for i, end := range want {
		if i == len(got) && s.state == scanPassing {
			break
		}
		if i >= len(got) || got[i] != end {
			t.Fatalf("%q:\nends %v, state %d\nwant %v (then %v)", in, got, s.state, want, err)
		}
	}
	for _, cuts := range []func() int{oneByte, randomly(seed)} {
		if ends, split := scanRequests(t, in, cuts); !slices.Equal(ends, got) || split.state != s.state || split.upgrade != s.upgrade {
			t.Fatalf("%q, seed %d:\nin pieces: ends %v, state %d, upgrade %v\nwant %v, %d, %v",
				in, seed, ends, split.state, split.upgrade, got, s.state, s.upgrade)
		}
	}
}

// requestParts are what requests are made of, right and wrong.
var requestParts = strings.Split(strings.NewReplacer("~", "\r\n").Replace(
	"GET / HTTP/1.1~|POST / HTTP/1.1~|POST /a HTTP/1.0~|PRI * HTTP/2.0~|CONNECT a HTTP/1.1~|GET /  HTTP/1.1\n|"+
		"GET /|Host: a~|~|~|~|\n|\r| |\t|x|Upgrade: h|upgrade : h~|Content-Length: 5~|content-length:5\n|Content-Length:|5~|3|Content-Length : 3~|"+
		"Content-Length: 0~|Content-Length: 3~|Transfer-Encoding: chunked~|transfer-ENCODING: \tChunked \n|Transfer-Encoding: identity~|Transfer-Encoding :|"+
		"Connection: close~|Cookie: a=b; c=d~|T: a~|u~|A: b~ c~|:|hello|abc|5~hello~|3;x=y~abc~|0~|0~~|0~A: b~~|A: b~~|1\nx\n|000 ~~|;|+|ffffffffffffffff~|Expect: 100-continue~"), "|")

// soup puts such parts together.
func soup(r *rand.Rand) []byte {
	var in []byte
	for range 1 + r.IntN(24) {
		if r.IntN(3) == 0 {
			in = append(in, "POST / HTTP/1.1\r\nHost: a\r\n"...)
		}
		in = append(in, requestParts[r.IntN(len(requestParts))]...)
	}
	return in
}

func TestRequestScannerSplits(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for i := range uint64(5000) {
		checkRequests(t, soup(rand.New(rand.NewPCG(seed, i))), seed+i)
	}
}

func FuzzRequestScanner(f *testing.F) {
	for i := range uint64(64) {
		f.Add(soup(rand.New(rand.NewPCG(1, i))), i)
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) { checkRequests(t, in, seed) })
}

const typicalGET = "GET /api/v1/items?page=2 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef\r\n\r\n"

func BenchmarkRequestScanner(b *testing.B) {
	post := "POST /api HTTP/1.1\r\nHost: example.com\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"hello\":\"you!\"}"
	chunked := "POST /api HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"hello\":\"you!\"}\r\n0\r\n\r\n"
	for _, c := range []struct {
		name, in string
		piece    int
	}{{"get", typicalGET, 1 << 20}, {"post", post, 1 << 20}, {"chunked", chunked, 1 << 20}, {"bytes", typicalGET, 1}} {
		b.Run(c.name, func(b *testing.B) {
			in := []byte(c.in)
			var s requestScanner
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				for rest := in; len(rest) > 0; {
					rest = rest[s.next(rest[:min(c.piece, len(rest))]):]
				}
				if s.state != scanStart {
					b.Fatal("no end")
				}
			}
		})
	}
}
