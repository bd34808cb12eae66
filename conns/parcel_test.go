package conns

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
)

// parcels are of every shape that pack makes.
func parcels() []*parcel {
	addrs := parcel{network: "tcp", local: "127.0.0.1:80", remote: "[fe80::1%eth0]:1234"}
	idle, fresh, half, ws, sse, group := addrs, addrs, addrs, addrs, addrs, addrs
	idle.kind, fresh.kind, half.kind, ws.kind, sse.kind, group.kind = kindHTTP1, kindHTTP1, kindHTTP1, kindWebSocket, kindSSE, kindOther
	fresh.fresh = true
	half.carry, half.tls = []byte("GET / HT"), bytes.Repeat([]byte("key"), 100)
	ws.head, ws.saved, ws.state = []byte("GET /ws HTTP/1.1\r\n\r\n"), true, []byte{}
	ws.answer = answer{status: 101, protocol: "chat", extensions: "permessage-deflate"}
	sse.head, sse.answer.status = []byte("GET /events HTTP/1.1\r\n\r\n"), 200
	sse.saved, sse.state = true, bytes.Repeat([]byte("s"), 300)
	group.head, group.group, group.grouped, group.groupState = []byte("x"), "room", true, []byte("history")
	ps := []*parcel{&idle, &fresh, &half, &ws, &sse, &group}
	for _, p := range ps {
		p.answer.done = true
	}
	return ps
}

func TestParcelRoundTrip(t *testing.T) {
	for _, p := range parcels() {
		b := p.encode()
		got, err := decodeParcel(b)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if !bytes.Equal(got.encode(), b) {
			t.Errorf("%+v is encoded otherwise when it was decoded", p)
		}
		clear(b) // what was decoded shares no memory with it
		for _, field := range []*[]byte{&p.carry, &p.groupState, &got.carry, &got.groupState} {
			if len(*field) == 0 {
				*field = nil
			}
		}
		if !reflect.DeepEqual(got, p) {
			t.Errorf("got  %+v\nwant %+v", got, p)
		}
	}
}

func TestParcelRefused(t *testing.T) {
	for _, p := range parcels() {
		b := p.encode()
		for n := range b {
			if _, err := decodeParcel(b[:n]); err == nil {
				t.Fatalf("%d of %d bytes are taken for a parcel", n, len(b))
			}
		}
		if _, err := decodeParcel(append(b[:len(b):len(b)], 0)); err == nil {
			t.Error("a parcel is taken with a byte behind it")
		}
		for _, version := range []byte{0, parcelVersion + 1, 255} {
			other := bytes.Clone(b)
			other[0] = version
			if _, err := decodeParcel(other); err == nil || !strings.Contains(err.Error(), "version") {
				t.Errorf("version %d: %v", version, err)
			}
		}
		other := bytes.Clone(b)
		other[2] |= 1 << flags
		if _, err := decodeParcel(other); err == nil {
			t.Error("a parcel is taken with a flag that nobody knows")
		}
	}
	idle := parcels()[0]
	for _, spoil := range []func(p *parcel){
		func(p *parcel) { p.kind = kinds },
		func(p *parcel) { p.kind = kindWebSocket },                       // without a head
		func(p *parcel) { p.head = []byte("GET / HTTP/1.1\r\n\r\n") },    // with one, and nothing to replay
		func(p *parcel) { p.kind, p.head = kindHTTP2, []byte("x") },      // it does not move
		func(p *parcel) { p.state = []byte("state that was not saved") }, // flag missing
		func(p *parcel) { p.groupState = []byte("of no group") },
		func(p *parcel) { p.grouped = true },
		func(p *parcel) { p.answer.status = 1000 },
	} {
		p := *idle
		spoil(&p)
		if _, err := decodeParcel(p.encode()); err == nil {
			t.Errorf("%+v is taken", p)
		}
	}
	long := idle.encode()
	long = append(binary.AppendUvarint(long[:3:3], 0), long[4:]...)
	long[3] = 0x80 // status 0 in two bytes
	long = append(long[:4:4], append([]byte{0}, long[4:]...)...)
	if _, err := decodeParcel(long); err == nil {
		t.Error("a number that is longer than it need be is taken")
	}
}

func FuzzParcel(f *testing.F) {
	for _, p := range parcels() {
		f.Add(p.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeParcel(b)
		if err != nil {
			return
		}
		if got := p.encode(); !bytes.Equal(got, b) {
			t.Errorf("%q\nis encoded as\n%q", b, got)
		}
	})
}
