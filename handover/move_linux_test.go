package handover

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// moved is what a recorder has taken.
type moved struct {
	batch   uint64
	whole   bool
	parcels [][]byte
	files   []int
	late    [][]byte
	ended   []bool
	going   bool
}

// recorder is a server whose connections arrive. Unless take is set it serves
// everything at once.
type recorder struct {
	t      testing.TB
	answer func(batch uint64, refusals []string) error
	take   func(batch uint64, n int)

	mu      sync.Mutex
	batches map[uint64]*moved
	taken   chan uint64
	gone    chan struct{}
}

func (r *recorder) Take(batch uint64, whole bool, parcels [][]byte, files []int) {
	r.mu.Lock()
	r.batches[batch] = &moved{batch: batch, whole: whole, parcels: parcels, files: files,
		late: make([][]byte, len(files)), ended: make([]bool, len(files))}
	r.mu.Unlock()
	if r.take != nil {
		r.take(batch, len(files))
	} else if err := r.answer(batch, make([]string, len(files))); err != nil {
		r.t.Errorf("batch %d cannot be answered: %v", batch, err)
	}
	r.taken <- batch
}

func (r *recorder) Go(batch uint64, late [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.batches[batch]
	b.going = true
	for i, data := range late {
		b.late[i] = append(b.late[i], data...)
	}
}

func (r *recorder) Late(batch uint64, i int, data []byte, end bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.batches[batch]
	b.late[i], b.ended[i] = append(b.late[i], data...), end
}

func (r *recorder) Gone() { close(r.gone) }

func (r *recorder) get(batch uint64) *moved {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.batches[batch]
}

// close releases what has arrived.
func (r *recorder) close() {
	for _, b := range r.batches {
		closeAll(b.files)
	}
}

// move is both ends in one process. The recorder of each server is made by its
// first batch; setup may change it.
type move struct {
	*Departure
	arrival *Arrival
	mu      sync.Mutex
	servers map[string]*recorder
	opened  chan *recorder
	ran     chan error
}

func newMove(t testing.TB, setup func(*recorder)) *move {
	t.Helper()
	a, b, err := MovePair()
	if err != nil {
		t.Fatal(err)
	}
	m := &move{servers: map[string]*recorder{}, opened: make(chan *recorder, 10), ran: make(chan error, 1)}
	if m.Departure, err = NewDeparture(a, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if m.arrival, err = NewArrival(b, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	go func() {
		m.ran <- m.arrival.Run(func(name string, answer func(uint64, []string) error) (Passengers, error) {
			if strings.HasPrefix(name, "no ") {
				return nil, fmt.Errorf("there is %s", name)
			}
			r := &recorder{t: t, answer: answer, batches: map[uint64]*moved{}, taken: make(chan uint64, 1000), gone: make(chan struct{})}
			if setup != nil {
				setup(r)
			}
			m.opened <- r
			m.mu.Lock()
			defer m.mu.Unlock()
			m.servers[name] = r
			return r, nil
		})
	}()
	return m
}

// end closes the departure and returns what Run returns. Every server has been
// told that it is over.
func (m *move) end(t testing.TB) error {
	t.Helper()
	m.Close()
	err := <-m.ran
	for _, r := range m.servers {
		<-r.gone
		r.close()
	}
	return err
}

// files are n descriptors that can be told apart by their content.
func files(t testing.TB, n int) []int {
	t.Helper()
	fds := make([]int, n)
	for i := range fds {
		fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(fdWriter(fd), "%d", i)
		fds[i] = fd
	}
	t.Cleanup(func() { closeAll(fds) })
	return fds
}

type fdWriter int

func (fd fdWriter) Write(b []byte) (int, error) { return unix.Write(int(fd), b) }

func content(t testing.TB, fd int) string {
	t.Helper()
	b := make([]byte, 16)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(b)
	return b
}

func TestMoveBatches(t *testing.T) {
	before := openFiles(t)
	m := newMove(t, nil)
	web, admin := m.Server("web"), m.Server("admin")
	for i, sizes := range [][]int{
		{0}, {1}, {pieceSize}, {100, 0, 5000}, {pieceSize - headSize - 3 - 4}, {pieceSize - headSize - 3 - 4 + 1},
		slices.Repeat([]int{300}, 64), slices.Repeat([]int{10}, pieceFiles), slices.Repeat([]int{10}, pieceFiles+1),
		slices.Repeat([]int{0}, 1000), slices.Repeat([]int{2000}, 700), {3 << 20, 10, 1 << 20}, {MaxParcel},
	} {
		s, name, batch := web, "web", uint64(i)
		if i%2 == 1 {
			s, name, batch = admin, "admin", uint64(i)<<40
		}
		parcels := make([][]byte, len(sizes))
		for j, n := range sizes {
			parcels[j] = random(n)
		}
		fds := make([]int, len(sizes))
		if len(sizes) > 0 {
			fds = files(t, len(sizes))
		}
		if err := s.Send(batch, i%3 == 0, parcels, fds); err != nil {
			t.Fatal(i, err)
		}
		got, refusals, err := s.Await()
		if err != nil || got != batch || len(refusals) != len(sizes) || strings.Join(refusals, "") != "" {
			t.Fatal(i, got, refusals, err)
		}
		m.mu.Lock()
		r := m.servers[name]
		m.mu.Unlock()
		b := r.get(batch)
		if b.whole != (i%3 == 0) || !slices.EqualFunc(b.parcels, parcels, bytes.Equal) {
			t.Errorf("%d: not what was sent", i)
		}
		for j, fd := range b.files {
			if got := content(t, fd); got != fmt.Sprint(j) {
				t.Fatalf("%d: descriptor %d is %q", i, j, got)
			}
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Fatalf("%d: descriptor %d is not close-on-exec", i, j)
			}
		}
		late := make([][]byte, len(sizes))
		late[0] = random(100 * i)
		if err := s.Go(batch, late); err != nil {
			t.Fatal(err)
		}
		for k := range 5 {
			if err := s.Late(batch, len(sizes)-1, []byte{byte(k)}, k == 4); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Late(batch, 0, random(pieceSize*i), false); err != nil {
			t.Fatal(err)
		}
		closeAll(fds)
		clear(fds)
		for j := range fds {
			fds[j] = -1
		}
	}
	if err := m.end(t); err != nil {
		t.Error(err)
	}
	for name, r := range m.servers {
		for batch, b := range r.batches {
			i := int(batch)
			if name == "admin" {
				i = int(batch >> 40)
			}
			want := make([][]byte, len(b.files))
			want[0] = random(100 * i)
			last := len(want) - 1
			want[last] = append(slices.Clone(want[last]), 0, 1, 2, 3, 4)
			want[0] = append(want[0], random(pieceSize*i)...)
			if !b.going || !slices.EqualFunc(b.late, want, bytes.Equal) || last > 0 && !b.ended[last] {
				t.Errorf("%s %d: the late bytes are wrong", name, i)
			}
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

func TestMoveRefusals(t *testing.T) {
	long := strings.Repeat("x", 5000)
	m := newMove(t, func(r *recorder) {
		r.take = func(batch uint64, n int) {
			refusals := make([]string, n)
			for i := range refusals {
				if i%2 == 1 {
					refusals[i] = fmt.Sprintf("%d %d %s", batch, i, long)
				}
			}
			if r.answer(batch, refusals[1:]) == nil || r.answer(batch+1, refusals) == nil {
				t.Error("a verdict that fits no batch was sent")
			}
			if err := r.answer(batch, refusals); err != nil {
				t.Error(err)
			}
			if r.answer(batch, refusals) == nil {
				t.Error("a second verdict was sent")
			}
		}
	})
	fds := files(t, 600)
	web, none := m.Server("web"), m.Server("no such server")
	for batch := range uint64(3) {
		for _, s := range []*ServerDeparture{none, web} {
			if err := s.Send(batch, false, make([][]byte, 600), fds); err != nil {
				t.Fatal(err)
			}
		}
	}
	for batch := range uint64(3) { // the verdicts for the other server come in between
		b, refusals, err := web.Await()
		if err != nil || b != batch || len(refusals) != 600 {
			t.Fatal(b, len(refusals), err)
		}
		for i, why := range refusals {
			if i%2 == 0 && why != "" || i%2 == 1 && why != fmt.Sprintf("%d %d %s", batch, i, long)[:maxReason] {
				t.Fatalf("%d: %.40q", i, why)
			}
		}
	}
	for batch := range uint64(3) {
		b, refusals, err := none.Await()
		if err != nil || b != batch || len(refusals) != 600 || refusals[599] != "there is no such server" {
			t.Fatal(b, len(refusals), err)
		}
	}
	if err := m.end(t); err != nil {
		t.Error(err)
	}
}

// TestMoveServersWaitApart: servers that wait for verdicts at the same time get
// each its own as soon as it has come, whoever of them reads.
func TestMoveServersWaitApart(t *testing.T) {
	m := newMove(t, func(r *recorder) { r.take = func(uint64, int) {} })
	const servers = 4
	verdicts, open := make([]chan error, servers), make([]*recorder, servers)
	for i := range servers {
		s := m.Server(fmt.Sprint("server ", i))
		if err := s.Send(1, false, make([][]byte, 1), files(t, 1)); err != nil {
			t.Fatal(err)
		}
		open[i] = <-m.opened
		verdicts[i] = make(chan error, 2)
		go func() {
			for range 2 {
				_, _, err := s.Await()
				verdicts[i] <- err
			}
		}()
	}
	for i := servers - 1; i >= 0; i-- {
		if err := open[i].answer(1, []string{""}); err != nil {
			t.Fatal(err)
		}
		if err := <-verdicts[i]; err != nil {
			t.Error(err)
		}
	}
	m.Server("server 0").Stop()
	for i := range verdicts {
		if err := <-verdicts[i]; err == nil {
			t.Error("a verdict came on nothing")
		}
	}
	if err := m.end(t); err != nil {
		t.Error(err)
	}
}

// What is wrong with a batch itself is said before anything is sent, and the
// move goes on.
func TestMoveRejectsWhatCannotBeSent(t *testing.T) {
	m := newMove(t, nil)
	fds := files(t, 2)
	s := m.Server("web")
	huge := make([]byte, MaxParcel+1)
	for i, send := range []func() error{
		func() error { return s.Send(1, false, nil, nil) },
		func() error { return s.Send(1, false, make([][]byte, 2), fds[:1]) },
		func() error { return s.Send(1, false, [][]byte{huge}, fds[:1]) },
		func() error { return s.Send(1, false, [][]byte{huge[1:], huge[1:]}, fds) },
		func() error { return m.Server("").Send(1, false, make([][]byte, 1), fds[:1]) },
		func() error { return m.Server(strings.Repeat("x", 256)).Send(1, false, make([][]byte, 1), fds[:1]) },
		func() error { return s.Late(1, -1, nil, false) },
		func() error { return s.Late(1, 1<<16, nil, false) },
		func() error { return s.Send(1, false, make([][]byte, MaxMoved+1), make([]int, MaxMoved+1)) },
	} {
		if err := send(); err == nil {
			t.Errorf("case %d was sent", i)
		}
	}
	if err := s.Send(1, false, make([][]byte, 1), fds[:1]); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(1, false, make([][]byte, 1), fds[:1]); err == nil {
		t.Error("a batch was sent twice")
	}
	if _, _, err := s.Await(); err != nil {
		t.Error(err)
	}
	s.Stop()
	if err := s.Send(2, false, make([][]byte, 1), fds[:1]); !errors.Is(err, errMoveStopped) {
		t.Errorf("a batch was sent after Stop: %v", err)
	}
	if err := s.Go(1, make([][]byte, 1)); err != nil {
		t.Errorf("no GO after Stop: %v", err)
	}
	if _, _, err := s.Await(); !errors.Is(err, errMoveStopped) {
		t.Error(err)
	}
	if err := m.end(t); err != nil {
		t.Error(err)
	}
	if !m.servers["web"].get(1).going {
		t.Error("GO after Stop has not arrived")
	}
}

// 2,000 connections and back again to no descriptors, with a parcel of the size
// of a request head: the price of the transport alone.
func BenchmarkMove(b *testing.B) {
	const connections, batch = 2000, 64
	for _, size := range []int{500, 4000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			fds := files(b, batch)
			parcels := slices.Repeat([][]byte{make([]byte, size)}, batch)
			b.ReportAllocs()
			for b.Loop() {
				m := newMove(b, nil)
				s := m.Server("web")
				awaited := make(chan error, 1)
				go func() {
					for n := 0; n < connections; n += batch {
						number, refusals, err := s.Await()
						if err == nil {
							err = s.Go(number, make([][]byte, len(refusals)))
						}
						if err != nil {
							awaited <- err
							return
						}
					}
					awaited <- nil
				}()
				for n := 0; n < connections; n += batch {
					k := min(batch, connections-n)
					if err := s.Send(uint64(n), false, parcels[:k], fds[:k]); err != nil {
						b.Fatal(err)
					}
				}
				if err := <-awaited; err != nil {
					b.Fatal(err)
				}
				if err := m.end(b); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/connections, "us/conn")
		})
	}
}

// One parcel of the largest size.
func BenchmarkMoveLargest(b *testing.B) {
	fds, parcels := files(b, 1), [][]byte{make([]byte, MaxParcel)}
	b.SetBytes(MaxParcel)
	m := newMove(b, func(r *recorder) {
		take := func(batch uint64, n int) {
			r.mu.Lock()
			r.batches[batch].parcels = nil
			r.mu.Unlock()
			if err := r.answer(batch, make([]string, n)); err != nil {
				b.Error(err)
			}
		}
		r.take = take
	})
	s, n := m.Server("web"), uint64(0)
	for b.Loop() {
		if err := s.Send(n, false, parcels, fds); err != nil {
			b.Fatal(err)
		}
		if _, _, err := s.Await(); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.StopTimer()
	m.end(b)
}
