package handover

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// No connection is ever served by both: a verdict that could be sent is read,
// one that is not read could not be sent, whenever Stop comes.
func TestMoveStopIsOneInstant(t *testing.T) {
	const batches, connections = 30, 3
	fds := files(t, connections)
	counts := [2]int{} // how many of all verdicts were sent, and not
	for round := range 300 {
		verdicts := make(chan uint64, batches)
		var sent [batches]atomic.Bool
		var answering sync.WaitGroup
		m := newMove(t, func(r *recorder) {
			r.take = func(batch uint64, n int) { verdicts <- batch }
			for range 2 { // two goroutines answer as fast as they can
				answering.Go(func() {
					for batch := range verdicts {
						refusals := make([]string, connections)
						if batch%4 == 0 { // several datagrams: a part of a verdict is none
							for i := range refusals {
								refusals[i] = strings.Repeat("x", maxReason)
							}
						}
						sent[batch].Store(r.answer(batch, refusals) == nil)
					}
				})
			}
		})
		s := m.Server("web")
		for batch := range uint64(batches) {
			if err := s.Send(batch, false, make([][]byte, connections), fds); err != nil {
				t.Fatal(err)
			}
		}
		var awaited [batches]bool
		read := make(chan struct{})
		first := make(chan struct{})
		go func() {
			defer close(read)
			once := sync.OnceFunc(func() { close(first) })
			defer once()
			for {
				batch, _, err := s.Await()
				if err != nil {
					if !errors.Is(err, errMoveStopped) {
						t.Error(err)
					}
					return
				}
				awaited[batch] = true
				once()
			}
		}()
		<-first
		for range rand.IntN(1 << (round % 12)) {
			_ = rand.Int() // some time, up to about that of all answers
		}
		s.Stop()
		<-read
		r := <-m.opened
		for range batches {
			<-r.taken
		}
		close(verdicts)
		answering.Wait()
		for batch := range sent {
			if sent[batch].Load() != awaited[batch] {
				t.Fatalf("round %d, batch %d: sent %v, awaited %v", round, batch, sent[batch].Load(), awaited[batch])
			}
			if awaited[batch] {
				counts[0]++
				if err := s.Go(uint64(batch), make([][]byte, connections)); err != nil {
					t.Fatal(err)
				}
			} else {
				counts[1]++
			}
		}
		if err := m.end(t); err != nil {
			t.Fatal(err)
		}
		for batch := range uint64(batches) {
			if r.get(batch).going != awaited[batch] {
				t.Fatalf("round %d, batch %d: GO has not arrived", round, batch)
			}
		}
	}
	t.Logf("%d verdicts were sent, %d were not", counts[0], counts[1])
	if counts[0] == 0 || counts[1] == 0 {
		t.Error("Stop never came in between")
	}
}

// stranger is an arrival whose other end is the test.
func stranger(t *testing.T, peer int) (*moveLink, *recorder, chan error) {
	t.Helper()
	a, b, err := MovePair()
	if err != nil {
		t.Fatal(err)
	}
	l, err := newMoveLink(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	arrival, err := NewArrival(b, peer)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{t: t, batches: map[uint64]*moved{}, taken: make(chan uint64, 1000), gone: make(chan struct{})}
	ran := make(chan error, 1)
	go func() {
		ran <- arrival.Run(func(_ string, answer func(uint64, []string) error) (Passengers, error) {
			r.answer = answer
			return r, nil
		})
	}()
	t.Cleanup(func() { l.conn.Close() })
	return l, r, ran
}

// datagrams are those of a message, with so much of it in each.
func datagrams(t testing.TB, m moveMessage, piece int) [][]byte {
	t.Helper()
	head, _, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	all := head
	for _, item := range m.items {
		all = append(all, item...)
	}
	var out [][]byte
	for files := len(m.files); len(all) > 0; files = 0 {
		n := min(piece, len(all))
		out = append(out, append(m.kind.frame(nil, files, 0, len(all)-n), all[:n]...))
		all = all[n:]
	}
	return out
}

func TestMoveRefusesWhatIsWrong(t *testing.T) {
	fds := files(t, 3)
	batch := func(b uint64) moveMessage {
		return moveMessage{kind: moveBatch, server: "web", batch: b, items: [][]byte{[]byte("secret"), []byte("secret")}, files: fds[:2]}
	}
	type packet struct {
		data  []byte
		files []int
	}
	one := func(m moveMessage) []byte { return datagrams(t, m, 1<<20)[0] }
	spoiled := func(i int, b byte) []byte {
		d := one(batch(2))
		d[i] = b
		return d
	}
	pieces := datagrams(t, batch(2), 20)
	for name, c := range map[string]struct {
		packets []packet
		why     string
	}{
		"another version":      {[]packet{{spoiled(2, 2), fds[:2]}}, "the other side speaks version 2 of the move, this side 1"},
		"another magic":        {[]packet{{spoiled(0, 'X'), fds[:2]}}, "it is no message of a move"},
		"no such kind":         {[]packet{{append(moveKind(9).frame(nil, 0, 0, 0), one(batch(2))[frameSize:]...), nil}}, "message of kind 9"},
		"text":                 {[]packet{{[]byte("SEGUE=1\nID=1\nDO=HELLO\n"), fds[:2]}}, "no message of a move"},
		"nothing at all":       {[]packet{{nil, nil}}, "a datagram is empty"},
		"nothing":              {[]packet{{nil, fds[:2]}}, "a datagram is empty"},
		"a short frame":        {[]packet{{one(batch(2))[:frameSize-1], fds[:2]}}, "do not add up"},
		"a frame alone":        {[]packet{{moveBatch.frame(nil, 0, 0, 0), nil}}, "brings nothing"},
		"a descriptor less":    {[]packet{{one(batch(2)), fds[:1]}}, "1 descriptors came with a datagram that was sent with 2"},
		"a descriptor more":    {[]packet{{one(batch(2)), fds}}, "3 descriptors came with a datagram that was sent with 2"},
		"no descriptors":       {[]packet{{append(moveBatch.frame(nil, 0, 0, 0), one(batch(2))[frameSize:]...), nil}}, "0 descriptors came with 2 parcels"},
		"too few for parcels":  {[]packet{{append(moveBatch.frame(nil, 1, 0, 0), one(batch(2))[frameSize:]...), fds[:1]}}, "1 descriptors came with 2 parcels"},
		"descriptors with GO":  {[]packet{{append(moveGo.frame(nil, 1, 0, 0), one(batch(1))[frameSize:]...), fds[:1]}}, "1 descriptors came with"},
		"an arg":               {[]packet{{spoiled(frameSize+11, 2), fds[:2]}}, "does not follow"},
		"a length":             {[]packet{{spoiled(frameSize+headSize+3+3, 7), fds[:2]}}, "do not add up"},
		"a huge length":        {[]packet{{spoiled(frameSize+headSize+3, 0xff), fds[:2]}}, "do not add up"},
		"many items":           {[]packet{{spoiled(frameSize+12, 0xff), fds[:2]}}, "do not add up"},
		"bytes behind":         {[]packet{{append(one(batch(2)), 0), fds[:2]}}, "do not add up"},
		"a huge datagram":      {[]packet{{append(one(batch(2)), make([]byte, pieceSize)...), fds[:2]}}, "a datagram has more than"},
		"a huge message":       {[]packet{{append(moveBatch.frame(nil, 2, 0, MaxBatch), 0), fds[:2]}}, "too large"},
		"too many descriptors": {[]packet{{append(moveBatch.frame(nil, 2, MaxMoved, 100), 0), fds[:2]}}, "too large"},
		"a piece is missing":   {[]packet{{pieces[0], fds[:2]}, {pieces[2], nil}}, "a piece of a message is missing"},
		"a piece twice":        {[]packet{{pieces[0], fds[:2]}, {pieces[1], nil}, {pieces[1], nil}}, "a piece of a message is missing"},
		"two at once":          {[]packet{{pieces[0], fds[:2]}, {one(batch(3)), fds[:2]}}, "a piece of a message is missing"},
		"another kind":         {[]packet{{pieces[0], fds[:2]}, {append(moveGo.frame(nil, 0, 0, len(pieces[0])), pieces[1]...), nil}}, "a piece of a message is missing"},
		"the batch again":      {[]packet{{one(batch(1)), fds[:2]}}, "BATCH for batch 1 of server \"web\": it does not follow"},
		"an empty batch":       {[]packet{{one(moveMessage{kind: moveBatch, server: "web", batch: 2}), nil}}, "does not follow"},
		"GO for no batch":      {[]packet{{one(moveMessage{kind: moveGo, server: "web", batch: 2, items: make([][]byte, 2)}), nil}}, "does not follow"},
		"GO for too few":       {[]packet{{one(moveMessage{kind: moveGo, server: "web", batch: 1, items: make([][]byte, 1)}), nil}}, "does not follow"},
		"LATE before GO":       {[]packet{{one(moveMessage{kind: moveLate, server: "web", batch: 1, items: make([][]byte, 1)}), nil}}, "does not follow"},
		"a verdict":            {[]packet{{one(moveMessage{kind: moveVerdict, server: "web", batch: 1, items: make([][]byte, 2)}), nil}}, "does not follow"},
	} {
		t.Run(name, func(t *testing.T) {
			before := openFiles(t)
			l, r, ran := stranger(t, os.Getpid())
			sendPacket(t, l.conn, one(batch(1)), fds[:2])
			<-r.taken
			for _, p := range c.packets {
				sendPacket(t, l.conn, p.data, p.files)
			}
			err := <-ran
			if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "secret") {
				t.Errorf("it says %v, not %q", err, c.why)
			}
			<-r.gone
			if m, err := l.receive(); err != nil || m.kind != moveVerdict {
				t.Errorf("%v instead of the verdict, %v", m.kind, err)
			}
			if m, err := l.receive(); err != nil || m.kind != moveError || !strings.Contains(string(m.items[0]), c.why) {
				t.Errorf("%v instead of the reason, %v", m.kind, err)
			}
			if _, err := l.receive(); err != io.EOF {
				t.Errorf("no EOF: %v", err)
			}
			if len(r.batches) != 1 || r.get(1).going {
				t.Error("something of it was taken")
			}
			r.close()
			l.conn.Close()
			if after := openFiles(t); after != before {
				t.Errorf("%d files are open, %d were before", after, before)
			}
		})
	}
}

// sendPacket sends what package net does not: an empty datagram too.
func sendPacket(t testing.TB, c *net.UnixConn, data []byte, files []int) {
	t.Helper()
	var oob []byte
	if len(files) > 0 {
		oob = unix.UnixRights(files...)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var h unix.Msghdr // package unix adds a byte to an empty datagram with descriptors
	var iov unix.Iovec
	if len(data) > 0 {
		iov.Base = &data[0]
		iov.SetLen(len(data))
		h.Iov = &iov
		h.SetIovlen(1)
	}
	if len(oob) > 0 {
		h.Control = &oob[0]
		h.SetControllen(len(oob))
	}
	var failed syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, failed = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&h)), 0)
	})
	if err != nil || failed != 0 {
		t.Fatal(err, failed)
	}
}

// Only the process that was named is heard, and believed.
func TestMoveRefusesStrangers(t *testing.T) {
	fds := files(t, 2)
	before := openFiles(t)
	l, r, ran := stranger(t, os.Getppid())
	m := moveMessage{kind: moveBatch, server: "web", batch: 1, items: make([][]byte, 2), files: fds}
	if err := l.send(m); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("process %d sent it, not process %d", os.Getpid(), os.Getppid())
	if err := <-ran; err == nil || !strings.Contains(err.Error(), want) || len(r.batches) != 0 {
		t.Error(err, len(r.batches))
	}
	l.conn.Close()
	a, b, err := MovePair()
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDeparture(a, os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	other, err := newMoveLink(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := d.Server("web")
	if err := s.Send(1, false, make([][]byte, 2), fds); err != nil {
		t.Fatal(err)
	}
	if err := other.send(moveMessage{kind: moveVerdict, server: "web", batch: 1, items: make([][]byte, 2)}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := s.Await(); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
	d.Close()
	other.conn.Close()
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

// A verdict that fits nothing is the last thing that is believed, and the reason
// of a receiver that went no further is told.
func TestMoveRefusesWrongVerdicts(t *testing.T) {
	fds := files(t, 2)
	verdict := func(server string, batch uint64, reasons ...string) moveMessage {
		m := moveMessage{kind: moveVerdict, server: server, batch: batch}
		for _, r := range reasons {
			m.items = append(m.items, []byte(r))
		}
		return m
	}
	for why, m := range map[string]moveMessage{
		`batch 2 of server "web": none is expected`:    verdict("web", 2, "", ""),
		`batch 1 of server "admin": none is expected`:  verdict("admin", 1, "", ""),
		"about 1 connections, the batch has 2":         verdict("web", 1, ""),
		"1 of 2 connections are refused that stay":     verdict("web", 1, "", "no"),
		"GO is not for this side":                      {kind: moveGo, server: "web", batch: 1, items: make([][]byte, 2)},
		"the other side has ended the move: no memory": {kind: moveError, items: [][]byte{[]byte("no memory")}},
	} {
		a, b, err := MovePair()
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDeparture(a, 0)
		if err != nil {
			t.Fatal(err)
		}
		other, err := newMoveLink(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		s := d.Server("web")
		if err := s.Send(1, true, make([][]byte, 2), fds); err != nil {
			t.Fatal(err)
		}
		if err := other.send(m); err != nil {
			t.Fatal(err)
		}
		if batch, _, err := s.Await(); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%d, %v; not %q", batch, err, why)
		}
		if err := other.send(verdict("web", 1, "", "")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("a verdict was sent after %q: %v", why, err)
		}
		d.Close()
		other.conn.Close()
	}
}

// A receiver at its limit of open files loses descriptors: the batch is refused
// and nothing leaks.
func TestMoveWithoutRoomForDescriptors(t *testing.T) {
	fds := files(t, 20)
	before := openFiles(t)
	m := newMove(t, nil)
	s := m.Server("web")
	if err := s.Send(1, false, make([][]byte, 1), fds[:1]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Await(); err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = uint64(openFiles(t) + 5)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	err := s.Send(2, false, make([][]byte, 20), fds)
	_, _, awaited := s.Await()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err != nil || awaited == nil || !strings.Contains(awaited.Error(), "descriptors were lost; raise the limit of open files") {
		t.Error(err, awaited)
	}
	if err := m.end(t); err == nil || !strings.Contains(err.Error(), "descriptors were lost") {
		t.Error(err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

// NewArrival undoes a low soft limit.
func TestArrivalRaisesTheLimit(t *testing.T) {
	var limit, now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 200
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	a, b, err := MovePair()
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	arrival, err := NewArrival(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil || now.Cur != limit.Max {
		t.Errorf("%+v, %v", now, err)
	}
	for range 2 {
		if err := arrival.Close(); err != nil {
			t.Error(err)
		}
	}
	if arrival.Run(nil) == nil {
		t.Error("it runs after Close")
	}
}

func TestMoveNeedsItsOwnKindOfSocket(t *testing.T) {
	before := openFiles(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{r, w, os.NewFile(uintptr(fds[0]), ""), os.NewFile(uintptr(fds[1]), "")} {
		if _, err := NewDeparture(f, 0); err == nil {
			t.Errorf("%s is accepted", f.Name())
		}
		if _, err := NewArrival(f, 0); err == nil {
			t.Errorf("%s is accepted", f.Name())
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

// Whoever does not read is not waited for: the send fails, and what it was about
// can go on here, since the other side can never answer it.
func TestMoveToSomeoneWhoDoesNotRead(t *testing.T) {
	a, b, err := MovePair()
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDeparture(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.link.wait = 50 * time.Millisecond
	s := d.Server("web")
	fds := files(t, 1)
	sent := uint64(0)
	for {
		if err = s.Send(sent, false, [][]byte{make([]byte, 1<<20)}, fds); err != nil {
			break
		}
		sent++
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if again := s.Late(0, 0, nil, false); again == nil || again.Error() != err.Error() {
		t.Errorf("something was sent after a gap: %v", again)
	}
	l, err := newMoveLink(b, 0) // it wakes up
	if err != nil {
		t.Fatal(err)
	}
	for range sent {
		if m, err := l.receive(); err != nil {
			t.Error(err)
		} else {
			closeAll(m.files)
		}
	}
	if _, err := l.receive(); err != io.EOF {
		t.Errorf("a part of a batch counts: %v", err)
	}
	d.Close()
	l.conn.Close()
}

// Closing with something unread makes the kernel say ECONNRESET before it hands
// out what was sent.
func TestMoveVerdictBeforeReset(t *testing.T) {
	a, b, err := MovePair()
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDeparture(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l, err := newMoveLink(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	fds := files(t, 1)
	s := d.Server("web")
	for batch := range uint64(3) {
		if err := s.Send(batch, false, make([][]byte, 1), fds); err != nil {
			t.Fatal(err)
		}
		if err := l.send(moveMessage{kind: moveVerdict, server: "web", batch: batch, items: make([][]byte, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	l.conn.Close()
	for batch := range uint64(3) {
		if got, _, err := s.Await(); err != nil || got != batch {
			t.Fatal(got, err)
		}
	}
	for range 2 {
		if _, _, err := s.Await(); err != errMoveGone {
			t.Error(err)
		}
	}
	if err := s.Go(0, make([][]byte, 1)); err == nil {
		t.Error("GO was sent to nobody")
	}
}

// Late writes of many connections, in order, while batches leave and servers
// change.
func TestMoveManyAtOnce(t *testing.T) {
	const batches, connections, writes = 20, 10, 30
	fds := files(t, connections)
	m := newMove(t, nil)
	var work sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		s := m.Server(name)
		for batch := range uint64(batches) {
			if err := s.Send(batch, false, make([][]byte, connections), fds); err != nil {
				t.Fatal(err)
			}
			got, _, err := s.Await()
			if err != nil || got != batch {
				t.Fatal(got, err)
			}
			if err := s.Go(batch, make([][]byte, connections)); err != nil {
				t.Fatal(err)
			}
			for i := range connections {
				work.Go(func() {
					for n := range writes {
						if err := s.Late(batch, i, fmt.Appendf(nil, "%d %d %d\n", batch, i, n), n == writes-1); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
	}
	work.Wait()
	if err := m.end(t); err != nil {
		t.Fatal(err)
	}
	for name, r := range m.servers {
		for batch, b := range r.batches {
			for i, got := range b.late {
				var want strings.Builder
				for n := range writes {
					fmt.Fprintf(&want, "%d %d %d\n", batch, i, n)
				}
				if string(got) != want.String() || !b.ended[i] {
					t.Errorf("%s %d %d: %q", name, batch, i, got)
				}
			}
		}
	}
}

// The receiver may end it too.
func TestArrivalCloses(t *testing.T) {
	fds := files(t, 1)
	before := openFiles(t)
	m := newMove(t, nil)
	s := m.Server("web")
	if err := s.Send(1, false, make([][]byte, 1), fds); err != nil {
		t.Fatal(err)
	}
	<-(<-m.opened).taken
	for range 2 {
		if err := m.arrival.Close(); err != nil {
			t.Error(err)
		}
	}
	if batch, _, err := s.Await(); err != nil || batch != 1 {
		t.Error(batch, err)
	}
	if _, _, err := s.Await(); err != errMoveGone {
		t.Error(err)
	}
	if err := m.end(t); err != nil {
		t.Error(err)
	}
	if err := m.arrival.Close(); err != nil {
		t.Error(err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}
