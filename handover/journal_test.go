package handover

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// inMemory is a journal over plain memory, which works on every system.
func inMemory() *Journal {
	j := &Journal{mem: make([]byte, journalSize)}
	j.begin()
	return j
}

func read(t *testing.T, j *Journal) ([]string, int) {
	t.Helper()
	lost, more, ok := readJournal(j.mem, time.Now())
	if !ok {
		t.Fatal("the journal cannot be read")
	}
	var lines []string
	for _, l := range lost {
		if l.Reason != ReasonDied || l.Age < 0 || l.Age > time.Hour {
			t.Errorf("entry %+v", l)
		}
		lines = append(lines, strings.TrimSpace(strings.Join([]string{l.Remote, l.Kind, l.State, l.Method, l.Path}, " ")))
	}
	slices.Sort(lines)
	return lines, more
}

func wants(t *testing.T, j *Journal, more int, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got, n := read(t, j); !slices.Equal(got, want) || n != more {
		t.Errorf("the journal has\n%q and %d more, not\n%q and %d more", got, n, want, more)
	}
}

func TestJournal(t *testing.T) {
	j, now := inMemory(), time.Now()
	wants(t, j, 0)
	a, b, c := j.Open("10.0.0.1:1"), j.Open("10.0.0.1:2"), j.Open("10.0.0.1:3")
	j.Note(a, "http1", "new", "", "", now)
	j.Note(b, "http1", "active", "GET", "/b", now.Add(-time.Minute))
	j.Note(c, "h2", "active", "", "", now)
	s1, s2 := j.Stream(c), j.Stream(c)
	j.Note(s1, "h2", "active", "POST", "/s1", now)
	j.Note(s2, "sse", "active", "GET", "/s2", now)
	wants(t, j, 0, "10.0.0.1:1 http1 new", "10.0.0.1:2 http1 active GET /b", "10.0.0.1:3 h2 active POST /s1", "10.0.0.1:3 sse active GET /s2")
	if lost, _, _ := readJournal(j.mem, now); lost[1].Age != time.Minute {
		t.Errorf("age %v", lost[1].Age)
	}
	j.Note(b, "http1", "idle", "", "", now)
	j.Close(s1)
	j.Close(s2)
	wants(t, j, 0, "10.0.0.1:1 http1 new", "10.0.0.1:2 http1 idle", "10.0.0.1:3 h2 active")
	j.Close(a)
	j.Close(b)
	j.Close(c)
	wants(t, j, 0)
}

// A death between any two stores leaves what can be told of the entry.
func TestJournalTorn(t *testing.T) {
	j, now := inMemory(), time.Now()
	a, b, c := j.take(), j.Open("10.0.0.1:2"), j.Open("10.0.0.1:3")
	wants(t, j, 1, "10.0.0.1:2 other active", "10.0.0.1:3 other active")
	j.Note(b, "http1", "active", "GET", "/b", now)
	j.word(b, offState).Store(slotNoting) // the next Note has begun
	j.Note(c, "h2", "idle", "", "", now)
	s := j.Stream(c)
	wants(t, j, 1, "10.0.0.1:2 other active", "10.0.0.1:3 other active")
	j.word(c, offState).Store(slotFree) // its connection is not there
	wants(t, j, 2, "10.0.0.1:2 other active")
	j.Close(s)
	j.Close(a)
	wants(t, j, 0, "10.0.0.1:2 other active")
}

func TestJournalFull(t *testing.T) {
	j, now := inMemory(), time.Now()
	var slots []int
	for i := range journalSlots {
		s := j.Open(fmt.Sprint(i))
		j.Note(s, "http1", "active", "GET", "/", now)
		slots = append(slots, s)
	}
	for range 3 {
		s := j.Open("too many")
		j.Note(s, "http1", "active", "GET", "/", now)
		if stream := j.Stream(s); s != -1 || stream != -1 {
			t.Fatalf("slots %d and %d", s, stream)
		}
	}
	if lost, more := read(t, j); len(lost) != journalSlots || more != 6 {
		t.Errorf("%d and %d more", len(lost), more)
	}
	for range 6 {
		j.Close(-1)
	}
	for _, s := range slots {
		j.Close(s)
	}
	wants(t, j, 0)
	if s := j.Open("again"); s < 0 {
		t.Error("a free journal is full")
	}
}

// Long texts are shortened, odd ones made fit for a terminal.
func TestJournalTexts(t *testing.T) {
	j, now, long := inMemory(), time.Now(), strings.Repeat("é", 200)
	j.Note(j.Open(long), long, long, long, "/"+long, now)
	j.Note(j.Open("a\nb"), "\x1b[31m", "active", "GET", "/\xff\x00 ?", now)
	lost, _, _ := readJournal(j.mem, now)
	if p := lost[0].Path; !strings.HasPrefix(p, "/éé") || !strings.HasSuffix(p, "é…") || len(p) < 80 {
		t.Errorf("path %q", p)
	}
	for _, s := range []string{lost[0].Remote, lost[0].Kind, lost[0].State, lost[0].Method} {
		if !strings.HasPrefix(long, strings.TrimRight(s, "\uFFFD")) || len(s) > maxRemote+3 {
			t.Errorf("text %q", s)
		}
	}
	if l := lost[1]; l.Remote != "a\uFFFDb" || l.Kind != "\uFFFD[31m" || l.Path != "/\uFFFD\uFFFD ?" {
		t.Errorf("texts %+q", l)
	}
	full := strings.Repeat("x", slotSize-offText-len("1"+"http1"+"active"+"GET"))
	j = inMemory()
	j.Note(j.Open("1"), "http1", "active", "GET", full, now)
	wants(t, j, 0, "1 http1 active GET "+full)
}

func TestJournalOfNobody(t *testing.T) {
	if lost, more, ok := readJournal(make([]byte, journalSize), time.Now()); len(lost) != 0 || more != 0 || !ok {
		t.Errorf("%v %v %v", lost, more, ok)
	}
	if _, _, ok := readJournal(append([]byte("SEGUEJ9\n"), make([]byte, journalSize)...), time.Now()); ok {
		t.Error("another version was read")
	}
}

// Many write; each finds its own when they pause.
func TestJournalConcurrently(t *testing.T) {
	j := inMemory()
	var want []string
	for round := range 5 {
		var mu sync.Mutex
		var all sync.WaitGroup
		var open []int
		want = want[:0]
		for w := range 8 {
			all.Go(func() {
				for i := range 300 {
					me := fmt.Sprintf("%d.%d.%d", round, w, i)
					c := j.Open(me)
					s := j.Stream(c)
					j.Note(c, "h2", "active", "", "", time.Now())
					j.Note(s, "h2", "active", "GET", "/"+me, time.Now())
					if i%100 == 7 {
						mu.Lock()
						want = append(want, me+" h2 active GET /"+me)
						open = append(open, s, c)
						mu.Unlock()
						continue
					}
					j.Close(s)
					j.Close(c)
				}
			})
		}
		reading := make(chan struct{})
		go func() { // what it finds is anything, but it must not stumble
			defer close(reading)
			for range 10 {
				words(j)
			}
		}()
		all.Wait()
		<-reading
		wants(t, j, 0, want...)
		for _, s := range open {
			j.Close(s)
		}
		wants(t, j, 0)
	}
}

// words looks at the states as a reader in the same process would.
func words(j *Journal) {
	for i := range journalSlots {
		j.word(i, offState).Load()
	}
}

func FuzzReadJournal(f *testing.F) {
	j, now := inMemory(), time.Now()
	a := j.Open("10.0.0.1:1")
	j.Note(a, "h2", "idle", "", "", now)
	j.Note(j.Stream(a), "h2", "active", "GET", "/x", now)
	j.Note(j.Open("10.0.0.1:2"), "http1", "active", "POST", "/y", now)
	f.Add(int64(0), j.mem[slotSize:4*slotSize])
	f.Add(int64(-5), []byte{3, 0, 0, 0, 1})
	f.Add(int64(1<<62), []byte{})
	f.Fuzz(func(t *testing.T, over int64, slots []byte) {
		data := make([]byte, 8*slotSize)
		copy(data, journalMagic)
		binary.NativeEndian.PutUint64(data[offOver:], uint64(over))
		copy(data[slotSize:], slots)
		lost, more, ok := readJournal(data, now)
		if !ok || more < 0 || len(lost) > 7 || len(lost)+more < int(min(max(over, 0), 1000)) {
			t.Fatalf("%d entries and %d more, %v", len(lost), more, ok)
		}
		for _, l := range lost {
			if l.Age < 0 {
				t.Errorf("age %v", l.Age)
			}
			for _, s := range []string{l.Kind, l.State, l.Method, l.Path, l.Remote} {
				if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || len(s) > 3*slotSize {
					t.Errorf("text %q", s)
				}
			}
		}
	})
}

func BenchmarkJournalNote(b *testing.B) {
	j, now := inMemory(), time.Now()
	s := j.Open("127.0.0.1:43210")
	b.ReportAllocs()
	for b.Loop() {
		j.Note(s, "http1", "active", "GET", "/api/products/17", now)
		j.Note(s, "http1", "idle", "", "", now)
	}
}

func BenchmarkJournalStream(b *testing.B) {
	j, now := inMemory(), time.Now()
	c := j.Open("127.0.0.1:43210")
	b.ReportAllocs()
	for b.Loop() {
		s := j.Stream(c)
		j.Note(s, "h2", "active", "GET", "/api/products/17", now)
		j.Close(s)
	}
}
