package shop_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segue-go/segue/examples/shop/internal/config"
	"github.com/segue-go/segue/examples/shop/internal/shop"
)

func TestUpload(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir)
	file := strings.Repeat("tea", 100_000)
	sum := sha256.Sum256([]byte(file))
	want := fmt.Sprintf(`{"bytes":300000,"sha256":"%x","kept":true}`, sum)

	if res, body := g.do("POST", "/api/upload", file); res.StatusCode != 201 || body != want {
		t.Errorf("raw: %s %s, want %s", res.Status, body, want)
	}
	kept, err := os.ReadFile(filepath.Join(dir, "uploads", hex.EncodeToString(sum[:])))
	if err != nil || string(kept) != file {
		t.Errorf("kept %d bytes (%v), want %d", len(kept), err, len(file))
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	w.WriteField("comment", "a field comes first")
	part, _ := w.CreateFormFile("file", "tea.txt")
	io.WriteString(part, file)
	w.Close()
	if res, body := g.do("POST", "/api/upload", form.String(), "Content-Type", w.FormDataContentType()); res.StatusCode != 201 || body != want {
		t.Errorf("form: %s %s, want %s", res.Status, body, want)
	}
	empty := multipart.NewWriter(&form)
	form.Reset()
	empty.WriteField("comment", "no file")
	empty.Close()
	if res, body := g.do("POST", "/api/upload", form.String(), "Content-Type", empty.FormDataContentType()); res.StatusCode != 400 {
		t.Errorf("form without a file: %s %s", res.Status, body)
	}
	if res, body := g.do("POST", "/api/upload", strings.Repeat("x", 1<<20+1)); res.StatusCode != 413 {
		t.Errorf("too large: %s %s", res.Status, body)
	}
	wantNoRemains(t, dir, 1)
}

// A client that dies in the middle leaves nothing: no file, no ledger line.
func TestUploadCutOff(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir)
	c, err := net.Dial("tcp", g.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /api/upload HTTP/1.1\r\nHost: x\r\nX-Request-Id: cut\r\nContent-Length: 1000\r\n\r\nhalf of it")
	c.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400") {
		t.Errorf("%s (%v), want 400", answer, err)
	}
	c.Close()
	wantNoRemains(t, dir, 0)
	if _, body := g.do("GET", "/api/ledger/cut", ""); body != `{"id":"cut","count":0}` {
		t.Error(body)
	}
}

func TestUploadOnlyHashed(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir, func(c *config.Config, _ *shop.Host) { c.KeepUploads = false })
	if res, body := g.do("POST", "/api/upload", "tea"); res.StatusCode != 201 || !strings.Contains(body, `"kept":false`) {
		t.Errorf("%s %s", res.Status, body)
	}
	wantNoRemains(t, dir, 0)
}

func wantNoRemains(t *testing.T, dir string, files int) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "uploads"))
	if err != nil || len(entries) != files {
		t.Errorf("%d files in uploads (%v), want %d: %v", len(entries), err, files, entries)
	}
}

func TestExport(t *testing.T) {
	g := start(t, t.TempDir())
	const orders = 450 // three pages
	for i := range orders {
		g.order(fmt.Sprintf("e-%d", i))
	}
	res, body := g.do("GET", "/api/export", "")
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || len(rows) != orders+1 || rows[orders][4] != "e-449" {
		t.Errorf("%d rows (%v), want %d", len(rows), err, orders+1)
	}
	if n := res.Trailer.Get("X-Export-Rows"); n != fmt.Sprint(orders) || res.ContentLength != -1 {
		t.Errorf("trailer %q, length %d: want %d rows in chunks", n, res.ContentLength, orders)
	}
	if res, body := g.do("GET", "/api/export?pause=-1", ""); res.StatusCode != 400 {
		t.Errorf("%s %s", res.Status, body)
	}
}
