package tls13

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// BenchmarkEcho sends a message over TCP and reads it back: the server is that of
// crypto/tls or its successor, the client is that of crypto/tls.
func BenchmarkEcho(b *testing.B) {
	a := newAuthority(b)
	serve := &tls.Config{Certificates: []tls.Certificate{a.issue(b, "ECDSA", x509.ExtKeyUsageServerAuth)}}
	for _, size := range []int{100, 4096} {
		for _, moved := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/%dB", name(moved), size), func(b *testing.B) {
				server, client := a.connect(b, serve, nil)
				var c movable = server
				if moved {
					c = transfer(b, c, nil)
				}
				forever(b, c)
				forever(b, client)
				done := make(chan error, 1)
				go func() {
					p := make([]byte, size)
					for {
						if _, err := io.ReadFull(c, p); err != nil {
							done <- err
							return
						}
						if _, err := c.Write(p); err != nil {
							done <- err
							return
						}
					}
				}()
				p := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := client.Write(p); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(client, p); err != nil {
						b.Fatal(err)
					}
				}
				client.Close()
				<-done
			})
		}
	}
}

func name(moved bool) string {
	if moved {
		return "tls13"
	}
	return "crypto_tls"
}

func forever(b *testing.B, c net.Conn) {
	if err := c.SetDeadline(time.Time{}); err != nil {
		b.Fatal(err)
	}
}

// The two directions by themselves, in memory.
func BenchmarkRead(b *testing.B)  { inMemory(b, true) }
func BenchmarkWrite(b *testing.B) { inMemory(b, false) }

func inMemory(b *testing.B, read bool) {
	for _, size := range []int{100, 4096} {
		for _, moved := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/%dB", name(moved), size), func(b *testing.B) {
				server, client, wire, err := handshake()
				if err != nil {
					b.Fatal(err)
				}
				var c movable = server
				if moved {
					c = transfer(b, c, nil)
				}
				p := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if !read {
						if _, err := c.Write(p); err != nil {
							b.Fatal(err)
						}
						wire.out.data = wire.out.data[:0]
						continue
					}
					if len(wire.in.data) == 0 {
						b.StopTimer()
						for range 1000 {
							if _, err := client.Write(p); err != nil {
								b.Fatal(err)
							}
						}
						b.StartTimer()
					}
					if _, err := io.ReadFull(c, p); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkMove(b *testing.B) {
	server, _, _, err := handshake()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		transfer(b, server, nil)
	}
}

// BenchmarkIdle says how many bytes of heap a connection takes that waits for the
// client, after a message of 4 KB in each direction. Both ends of the wire and the
// client are left out.
func BenchmarkIdle(b *testing.B) {
	for _, moved := range []bool{false, true} {
		b.Run(name(moved), func(b *testing.B) {
			const n = 200
			all := make([]any, n)
			wires := make([]*end, n)
			clients := make([]*tls.Conn, n)
			p := make([]byte, 4096)
			for b.Loop() {
				for i := range n {
					server, client, wire, err := handshake()
					if err != nil {
						b.Fatal(err)
					}
					wires[i], clients[i], all[i] = wire, client, server
					if err := errors.Join(pass(client, server, string(p)), pass(server, client, string(p))); err != nil {
						b.Fatal(err)
					}
					if !moved {
						continue
					}
					ours := transfer(b, server, nil)
					if err := errors.Join(pass(client, ours, string(p)), pass(ours, client, string(p))); err != nil {
						b.Fatal(err)
					}
					if _, err := ours.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) {
						b.Fatal(err)
					}
					all[i] = ours
				}
				with := heap()
				clear(all)
				b.ReportMetric(float64(with-heap())/n, "B/conn")
			}
			runtime.KeepAlive(wires)
			runtime.KeepAlive(clients)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
