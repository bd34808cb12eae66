package conns

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// cutPoint is a place where a stream may be cut, and the id it goes on from.
type cutPoint struct {
	pos int
	id  string
}

func scanStream(t testing.TB, b []byte, cuts func() int) (points []cutPoint, s streamScanner) {
	for pos := 0; pos < len(b); {
		piece := b[pos:min(len(b), pos+cuts())]
		n := s.next(piece)
		if n < 1 || n > len(piece) || n < len(piece) && !s.boundary() {
			t.Fatalf("next(%q) = %d, boundary %v", piece, n, s.boundary())
		}
		if s.hasID != (len(s.lastID) > 0) {
			t.Fatalf("hasID %v, lastID %q", s.hasID, s.lastID)
		}
		if pos += n; s.boundary() {
			points = append(points, cutPoint{pos, string(s.lastID)})
		}
	}
	return points, s
}

const streamHeadBytes = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"

// events is a response that writes each of the texts as a chunk.
func events(texts ...string) string {
	b := []byte(streamHeadBytes)
	for _, text := range texts {
		b = eventChunk(b, text)
	}
	return string(b)
}

func TestStreamScannerHead(t *testing.T) {
	const sse, chunked = "Content-Type: text/event-stream\r\n", "Transfer-Encoding: chunked\r\n"
	good := streamHead{status: 200, eventStream: true, chunked: true, typed: true}
	with := func(change func(*streamHead)) streamHead { h := good; change(&h); return h }
	for _, c := range []struct {
		in   string
		head streamHead
		good bool
	}{
		{"HTTP/1.1 200 OK\r\n" + sse + chunked + "\r\n", good, true},
		{"HTTP/1.1 200\ncontent-type:\tText/Event-Stream ;charset=utf-8\nTRANSFER-ENCODING:Chunked\nContent-Encoding: identity\n\n", good, true},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n" + sse + chunked + "\r\n", good, true},
		{"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello", streamHead{status: 404, typed: true, odd: true}, false},
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\n\r\n", streamHead{status: 101}, false},
		{"HTTP/1.0 200 OK\r\n" + sse + "\r\n", streamHead{status: 200, eventStream: true, typed: true}, false},
		{"HTTP/1.1 200 OK\r\n" + sse + chunked + "Content-Encoding: gzip\r\n\r\n", with(func(h *streamHead) { h.encoded = true }), false},
		{"HTTP/1.1 200 OK\r\n" + sse + chunked + "Content-Length: 5\r\n\r\n", with(func(h *streamHead) { h.odd = true }), false},
		{"HTTP/1.1 200 OK\r\n" + sse + chunked + chunked + "\r\n", with(func(h *streamHead) { h.odd = true }), false},
		{"HTTP/1.1 200 OK\r\n" + sse + chunked + "A: b\r\n c\r\n\r\n", with(func(h *streamHead) { h.odd = true }), false},
		{"HTTP/2.0 200 OK\r\n", streamHead{}, false},
		{"\r\n", streamHead{}, false},
		{"HTTP/1.1 20 OK\r\n", streamHead{}, false},
		{strings.Repeat("x", maxStreamHead+1), streamHead{}, false},
		{"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", maxStreamHead), streamHead{}, false},
	} {
		for _, cuts := range []func() int{whole, oneByte} {
			_, s := scanStream(t, []byte(c.in), cuts)
			if !s.headDone || s.head != c.head || s.bad == c.good || s.boundary() != c.good {
				t.Errorf("%.200q: done %v, %+v, bad %v, boundary %v", c.in, s.headDone, s.head, s.bad, s.boundary())
			}
		}
	}
}

func TestStreamScannerEvents(t *testing.T) {
	for _, c := range []struct {
		name     string
		texts    []string
		boundary bool
		id       string
	}{
		{"nothing yet", nil, true, ""},
		{"event", []string{"id: 7\ndata: x\n\n"}, true, "7"},
		{"event in pieces", []string{"i", "d", ": 7\ndat", "a: x\n", "\n"}, true, "7"},
		{"not dispatched", []string{"id: 7\ndata: x\n\n", "id: 8\ndata: x\n"}, false, "7"},
		{"in a line", []string{"id: 7\n\n", "data"}, false, "7"},
		{"comment", []string{"id: 7\n\n", ": ping\n\n"}, true, "7"},
		{"comment without an empty line", []string{"id: 7\n\n", ":\n"}, true, "7"},
		{"in a comment", []string{"id: 7\n\n", ": ping"}, false, "7"},
		{"comment in an event", []string{"id: 7\n: ping\n"}, false, ""},
		{"retry", []string{"retry: 10\n"}, false, ""},
		{"cr", []string{"id: 7\rdata: x\r\r"}, true, "7"},
		{"crlf", []string{"id: 7\r\ndata: x\r\n\r\n"}, true, "7"},
		{"crlf is one end", []string{"id: 7\r\ndata: x\r\n"}, false, ""},
		{"crlf over two chunks", []string{"id: 7\r", "\ndata: x\r", "\n"}, false, ""},
		{"id only", []string{"id:7\n\n"}, true, "7"},
		{"one space counts not", []string{"id:  7 \n\n"}, true, " 7 "},
		{"id reset", []string{"id: 7\n\n", "id\n\n"}, true, ""},
		{"id reset with a colon", []string{"id: 7\n\n", "id:\n\n"}, true, ""},
		{"id with a colon", []string{"id: a:b\n\n"}, true, "a:b"},
		{"last id of an event", []string{"id: 1\nid: 2\nidx: 3\nid2\nID: 4\ni: 5\n\n"}, true, "2"},
		{"mark", []string{"\xEF\xBB\xBFid: 7\n\n"}, true, "7"},
		{"mark in pieces", []string{"\xEF", "\xBB", "\xBF", "id: 7\n\n"}, true, "7"},
		{"in the mark", []string{"\xEF\xBB"}, false, ""},
		{"mark alone", []string{"\xEF\xBB\xBF"}, true, ""},
		{"half a mark", []string{"\xEF\xBBid: 7\n\n"}, true, ""},
		{"half a mark is a field", []string{"\xEF\xBB\n"}, false, ""},
		{"second mark", []string{"\n\xEF\xBB\xBFid: 7\n\n"}, true, ""},
		{"longest id", []string{"id: " + strings.Repeat("x", maxID) + "\n\n"}, true, strings.Repeat("x", maxID)},
		{"no chunk", []string{""}, true, ""},
	} {
		for _, cuts := range []func() int{whole, oneByte} {
			_, s := scanStream(t, []byte(events(c.texts...)), cuts)
			if s.bad || s.boundary() != c.boundary || string(s.lastID) != c.id {
				t.Errorf("%s: bad %v, boundary %v, id %q; want %v, %q", c.name, s.bad, s.boundary(), s.lastID, c.boundary, c.id)
			}
		}
	}
}

// A client that brings its id along keeps it until it is told another.
func TestStreamScannerKeepsID(t *testing.T) {
	var s streamScanner
	s.lastID, s.hasID = []byte("6"), true
	for _, c := range []struct{ in, id string }{
		{streamHeadBytes, "6"},
		{string(eventChunk(nil, ": ping\n\ndata: x\n\n")), "6"},
		{string(eventChunk(nil, "id: 7\ndata: x\n\n")), "7"},
		{string(eventChunk(nil, "data: x\n\n")), "7"},
		{string(eventChunk(nil, "id\n\n")), ""},
	} {
		if s.next([]byte(c.in)); !s.boundary() || string(s.lastID) != c.id || s.hasID != (c.id != "") {
			t.Errorf("%q: boundary %v, id %q, %v; want %q", c.in, s.boundary(), s.lastID, s.hasID, c.id)
		}
	}
}

func TestStreamScannerEnds(t *testing.T) {
	for _, c := range []struct {
		name, in  string
		done, bad bool
	}{
		{"in a chunk", events("id: 7\n\n") + "3\r\n:\n\n", false, false},
		{"in a size", events("id: 7\n\n") + "3", false, false},
		{"last chunk", events("id: 7\n\n") + "0\r\n", true, false},
		{"body", events("id: 7\n\n") + lastChunk, true, false},
		{"next response", events("id: 7\n\n") + lastChunk + events("id: 8\n\n"), true, false},
		{"trailers", events("id: 7\n\n") + "0\r\nA: b\r\n\r\n", true, false},
		{"no chunk", events("id: 7\n\n") + "x", false, true},
		{"NUL", events("id: 7\n\n", "id: 8\x00\n\n"), false, true},
		{"no character", events("id: 7\n\n", "id: \xff\n\n"), false, true},
		{"control", events("id: 7\n\n", "id: \x1b\n\n"), false, true},
		{"long", events("id: 7\n\n", "id: "+strings.Repeat("x", maxID+1)+"\n\n"), false, true},
	} {
		for _, cuts := range []func() int{whole, oneByte} {
			_, s := scanStream(t, []byte(c.in), cuts)
			if s.boundary() || s.done != c.done || s.bad != c.bad || string(s.lastID) != "7" {
				t.Errorf("%s: boundary %v, done %v, bad %v, id %q", c.name, s.boundary(), s.done, s.bad, s.lastID)
			}
		}
	}
}

// responseBody reads the body of a response with net/http. It reports whether it
// is whole, with nothing behind it.
func responseBody(b []byte) (string, bool) {
	r := bufio.NewReader(bytes.NewReader(b))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return "", false
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), err == nil && r.Buffered() == 0
}

// betweenChunks returns what net/http reads from the start of a response that ends
// between two chunks: there, and only there, chunks can go on, the body can end and
// a size cannot.
func betweenChunks(b []byte) (string, bool) {
	b = slices.Clip(b)
	body, ok := responseBody(append(b, lastChunk...))
	more, also := responseBody(append(b, "1\r\nZ\r\n"+lastChunk...))
	_, not := responseBody(append(b, ";\r\n\r\n"...))
	return body, ok && also && !not && more == body+"Z"
}

// parseEvents is a client's view of a stream that may end anywhere: whether it is
// between events, and the last id; ok is false when it saw an id that is none.
func parseEvents(text string) (id string, between, ok bool) {
	text = strings.TrimPrefix(text, byteOrderMark)
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	lines := strings.Split(text, "\n")
	rest := lines[len(lines)-1]
	buffer, between := "", true
	for _, line := range lines[:len(lines)-1] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			id, between = buffer, true
		case name == "":
		case name == "id":
			ctl := strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
			if ctl || len(value) > maxID || !utf8.ValidString(value) {
				return id, false, false
			}
			buffer = value
			fallthrough
		default:
			between = false
		}
	}
	return id, between && rest == "", true
}

// checkStream compares the scanner with that, at every byte behind the head.
func checkStream(t *testing.T, in []byte, seed uint64) {
	var want []cutPoint
	for k := len(streamHeadBytes); k <= len(in); k++ {
		text, ok := betweenChunks(in[:k])
		if !ok {
			continue
		}
		id, between, ok := parseEvents(text)
		if !ok {
			break
		}
		if between {
			want = append(want, cutPoint{k, id})
		}
	}
	for name, cuts := range map[string]func() int{"whole": whole, "bytes": oneByte, "random": randomly(seed)} {
		if got, s := scanStream(t, in, cuts); !slices.Equal(got, want) {
			t.Fatalf("%q, %s, seed %d:\n%v, bad %v, done %v\nwant %v", in, name, seed, got, s.bad, s.done, want)
		}
	}
}

// chunks makes a response of a text, in chunks of any size.
func chunks(text string, seed uint64) []byte {
	size := randomly(seed)
	b := []byte(streamHeadBytes)
	for len(text) > 0 {
		n := min(size(), len(text))
		b = eventChunk(b, text[:n])
		text = text[n:]
	}
	return b
}

var eventParts = strings.Split(strings.ReplaceAll("id: 1~|id:2~|id~|id:~|id: 3|idx: 4~|i~|data: x~|data~|: ping~|:~|~|~~|\n\n|\r\r|\r|\n|retry: 5~|\x00|\xff|é|"+byteOrderMark+"|id: é~~|x|:", "~", "\n"), "|")

func TestStreamScannerSplits(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for i := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, i))
		var text strings.Builder
		for range 1 + r.IntN(20) {
			text.WriteString(eventParts[r.IntN(len(eventParts))])
		}
		checkStream(t, append(chunks(text.String(), seed+i), lastChunk...), seed+i)
	}
}

// The input is the text of a stream, or what is written behind its head.
func FuzzStreamScanner(f *testing.F) {
	f.Add("id: 1\ndata: x\n\n: ping\n\nid: 2\n\n", true, uint64(1))
	f.Add("\xEF\xBB\xBFid: 1\rdata\r\n\r\nid\n\n", true, uint64(2))
	f.Add("7\r\nid: 1\n\n\r\n2 ;a=b\r\n:\n\r\n0\r\nA: b\r\n\r\n", false, uint64(3))
	f.Add("0A\r\nid: 1\r\n\r\n:\r\n1\r\n\n\r\n0\r\n\r\nHTTP/1.1", false, uint64(4))
	f.Fuzz(func(t *testing.T, in string, text bool, seed uint64) {
		if in = in[:min(len(in), 200)]; text { // every byte is looked at by itself
			checkStream(t, chunks(in, seed), seed)
		} else {
			checkStream(t, []byte(streamHeadBytes+in), seed)
		}
	})
}

// once is a listener that accepts one connection.
type once struct {
	net.Listener
	conn chan net.Conn
}

func (l once) Accept() (net.Conn, error) {
	if c, ok := <-l.conn; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l once) Addr() net.Addr { return &net.TCPAddr{} }
func (l once) Close() error   { return nil }

// scanned is a connection whose writes are scanned.
type scanned struct {
	net.Conn
	t      *testing.T
	stream *streamScanner
}

func (c scanned) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		n += c.stream.next(p[n:])
	}
	return c.Conn.Write(p)
}

// What net/http's server really writes, in whatever pieces, is a stream.
func TestStreamScannerServer(t *testing.T) {
	var s streamScanner
	a, b := net.Pipe()
	ln := once{conn: make(chan net.Conn, 1)}
	ln.conn <- scanned{a, t, &s}
	close(ln.conn)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		if rc.Flush(); !s.boundary() || s.hasID || s.head.status != 200 {
			t.Errorf("behind the head: boundary %v, hasID %v, %+v", s.boundary(), s.hasID, s.head)
		}
		io.WriteString(w, "id: 1\ndata: "+strings.Repeat("x", 10_000)+"\n\n")
		if rc.Flush(); !s.boundary() || string(s.lastID) != "1" {
			t.Errorf("behind an event: boundary %v, id %q", s.boundary(), s.lastID)
		}
		io.WriteString(w, "id: 2\n")
		if rc.Flush(); s.boundary() || string(s.lastID) != "1" {
			t.Errorf("in an event: boundary %v, id %q", s.boundary(), s.lastID)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	defer func() { <-served }()
	defer b.Close()
	b.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(b, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(b); err != nil {
		t.Fatal(err)
	}
	if !s.done || s.bad || s.boundary() {
		t.Errorf("at the end: done %v, bad %v, boundary %v", s.done, s.bad, s.boundary())
	}
}

func BenchmarkStreamScanner(b *testing.B) {
	for name, data := range map[string]int{"100B": 100, "4KB": 4096} {
		b.Run(name, func(b *testing.B) {
			var s streamScanner
			s.next([]byte(streamHeadBytes))
			in := eventChunk(nil, "id: 1234567\ndata: "+strings.Repeat("x", data)+"\n\n")
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if s.next(in) != len(in) || !s.boundary() {
					b.Fatal("no boundary")
				}
			}
		})
	}
}
