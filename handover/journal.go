package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// Journal is where a generation writes down the connections it has and the
// requests on them while it is not proven: a process that is killed cannot tell
// what it had in flight. It is memory that outlives its writer: the supervisor
// makes it ([NewJournal]), the generation writes ([OpenJournal]), and whoever
// holds the descriptor reads it when the writer is dead ([ReadJournal]).
//
// It has a fixed number of slots, one for a connection or for a request that
// shares its connection with others (HTTP/2). Writing one is some copying and
// two atomic stores. What finds no slot is counted.
//
// Methods may be called concurrently, but not for one slot. A slot of -1 stands
// for none: noting something there does nothing.
type Journal struct {
	mem []byte // the header, then the slots

	mu    sync.Mutex
	free  []int // slots that were used and are not any more; the latest is the next, since its memory is warm
	fresh int   // slots from here on have never been used
}

// Lost is one entry of the journal of a dead generation: a request that was in
// flight in it (State "active"), or a connection without one.
type Lost struct {
	Kind   string        `json:"kind"`
	State  string        `json:"state"`
	Method string        `json:"method,omitempty"`
	Path   string        `json:"path,omitempty"` // without the query; a long one ends in "…"
	Remote string        `json:"remote"`
	Age    time.Duration `json:"age_ns"` // of the request, or of the state if there is none
	Reason string        `json:"reason"`
}

// ReasonDied is the Reason of every [Lost].
const ReasonDied = "the process died"

// Request says whether a request was in flight. Without one, only what its
// client was about to send was lost.
func (l Lost) Request() bool { return l.State == "active" || l.State == "hijacked" }

// The memory: a slot's worth of header, then the slots. Integers are of the
// machine's byte order, since both sides run on one machine. Two processes of
// different versions share it; another layout needs another magic.
const (
	journalMagic = "SEGUEJ1\n"
	journalSlots = 8192
	slotSize     = 256
	journalSize  = slotSize * (1 + journalSlots)

	// The header.
	offMagic = 0
	offOver  = 8 // int64: entries that found no slot and have not ended

	// A slot. The texts stand one after the other from offText on.
	offState = 0  // uint32, see below
	offOwner = 4  // uint32: the slot of the connection that carries it, plus 1; 0 for a connection
	offSince = 8  // int64: Unix time in nanoseconds
	offSizes = 16 // of remote, kind, state, method, path
	offText  = 24
	texts    = 5

	// A text may take this much, the remote as much as the path of a unix socket;
	// the path may take all that is left.
	maxRemote, maxKind, maxState, maxMethod = 108, 12, 12, 16
)

// The states of a slot. The writer stores them after what they vouch for, so
// that a death between two stores leaves a slot that says how far it is true.
const (
	slotFree   uint32 = iota
	slotTaken         // nothing in it is true yet
	slotNoting        // remote and owner are true, the rest is being written
	slotNoted         // all of it is true
)

// word and number are the parts of the memory that both sides must see whole.
func (j *Journal) word(slot, off int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&j.mem[slotSize*(1+slot)+off]))
}

func (j *Journal) over() *atomic.Int64 { return (*atomic.Int64)(unsafe.Pointer(&j.mem[offOver])) }

// Open takes a slot for a connection, which is to be noted next, and later
// closed. It returns -1 when there is none left.
func (j *Journal) Open(remote string) (slot int) {
	if slot = j.take(); slot < 0 {
		return slot
	}
	s := j.slot(slot)
	j.word(slot, offOwner).Store(0)
	s[offSizes] = byte(copy(s[offText:offText+maxRemote], remote))
	j.word(slot, offState).Store(slotNoting)
	return slot
}

// Stream takes a slot for a request on the connection that has slot conn. It is
// to be noted next, and closed before the connection is.
func (j *Journal) Stream(conn int) (slot int) {
	if conn < 0 {
		j.over().Add(1)
		return -1
	}
	if slot = j.take(); slot < 0 {
		return slot
	}
	j.word(slot, offOwner).Store(uint32(conn) + 1)
	j.slot(slot)[offSizes] = 0
	j.word(slot, offState).Store(slotNoting)
	return slot
}

// Note replaces what stands in a slot. since is when state began.
func (j *Journal) Note(slot int, kind, state, method, path string, since time.Time) {
	if slot < 0 {
		return
	}
	w, s := j.word(slot, offState), j.slot(slot)
	w.Store(slotNoting)
	binary.NativeEndian.PutUint64(s[offSince:], uint64(since.UnixNano()))
	at := offText + int(s[offSizes])
	for i, t := range [...]string{kind[:min(len(kind), maxKind)], state[:min(len(state), maxState)], method[:min(len(method), maxMethod)]} {
		n := copy(s[at:], t)
		s[offSizes+1+i] = byte(n)
		at += n
	}
	s[offSizes+4] = byte(copyPath(s[at:], path))
	w.Store(slotNoted)
}

// copyPath shortens a path that does not fit.
func copyPath(to []byte, path string) int {
	if len(path) <= len(to) {
		return copy(to, path)
	}
	end := len(to) - len("…")
	for end > 0 && !utf8.RuneStart(path[end]) {
		end--
	}
	copy(to, path[:end])
	return end + copy(to[end:], "…")
}

// Close gives a slot back: the connection is closed, the request answered. It is
// due for -1 too, which was counted.
func (j *Journal) Close(slot int) {
	if slot < 0 {
		j.over().Add(-1)
		return
	}
	j.word(slot, offState).Store(slotFree)
	j.mu.Lock()
	j.free = append(j.free, slot)
	j.mu.Unlock()
}

func (j *Journal) slot(n int) []byte { return j.mem[slotSize*(1+n):][:slotSize:slotSize] }

// take finds a free slot. It costs a lock, but only once for a connection, or
// for a request of HTTP/2.
func (j *Journal) take() int {
	slot := -1
	j.mu.Lock()
	if n := len(j.free); n > 0 {
		slot, j.free = j.free[n-1], j.free[:n-1]
	} else if j.fresh < journalSlots {
		slot = j.fresh
		j.fresh++
	}
	j.mu.Unlock()
	if slot < 0 {
		j.over().Add(1)
		return -1
	}
	j.word(slot, offState).Store(slotTaken)
	return slot
}

// begin makes zeroed memory a journal.
func (j *Journal) begin() { copy(j.mem[offMagic:], journalMagic) }

// ReadJournal returns what stands in a journal, once its writer is dead. A
// connection with streams is left out: they name it. more counts what was not
// written down, or not to its end. A journal that nobody has opened is empty.
//
// It reads the file and maps nothing: memory that somebody else cut off would
// end the reader with SIGBUS.
func ReadJournal(f *os.File) (lost []Lost, more int, err error) {
	data := make([]byte, journalSize)
	if _, err := f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("cannot read the journal of a generation: %w", err)
	}
	lost, more, ok := readJournal(data, time.Now())
	if !ok {
		return nil, 0, errors.New("cannot read the journal of a generation: it is of another version, or damaged")
	}
	return lost, more, nil
}

// entry is a slot as it was read.
type entry struct {
	state, owner uint32
	since        int64
	text         [texts]string // remote, kind, state, method, path
	whole        bool
}

// readJournal takes nothing in data for granted: a process that has gone mad may
// have written it.
func readJournal(data []byte, now time.Time) (lost []Lost, more int, ok bool) {
	switch string(data[:len(journalMagic)]) {
	case journalMagic:
	case strings.Repeat("\x00", len(journalMagic)):
		return nil, 0, true
	default:
		return nil, 0, false
	}
	all := make([]entry, len(data)/slotSize-1)
	shared := map[uint32]bool{} // connections that their streams name
	for i := range all {
		all[i] = readEntry(data[slotSize*(1+i):][:slotSize])
		if e := all[i]; e.owner > 0 && e.state >= slotNoting {
			shared[e.owner-1] = true
		}
	}
	for i, e := range all {
		switch {
		case e.state == slotFree || e.owner == 0 && e.whole && shared[uint32(i)]:
			continue
		case e.state == slotTaken || !e.whole:
			more++
			continue
		}
		remote := e.text[0]
		if e.owner > 0 {
			if e.owner > uint32(len(all)) || !all[e.owner-1].whole || all[e.owner-1].owner != 0 || all[e.owner-1].state < slotNoting {
				more++
				continue
			}
			remote = all[e.owner-1].text[0]
		}
		l := Lost{Remote: remote, Kind: e.text[1], State: e.text[2], Method: e.text[3], Path: e.text[4], Reason: ReasonDied}
		if e.state == slotNoting {
			l = Lost{Remote: remote, Kind: "other", State: "active", Reason: ReasonDied} // a request was beginning or ending
		} else if e.since > 0 {
			l.Age = max(now.Sub(time.Unix(0, e.since)), 0)
		}
		lost = append(lost, l)
	}
	if over := int64(binary.NativeEndian.Uint64(data[offOver:])); over > 0 {
		more += int(min(over, 1<<30)) // it may be nonsense
	}
	return lost, more, true
}

// readEntry reads as much of a slot as its state vouches for.
func readEntry(s []byte) entry {
	e := entry{
		state: binary.NativeEndian.Uint32(s[offState:]),
		owner: binary.NativeEndian.Uint32(s[offOwner:]),
		since: int64(binary.NativeEndian.Uint64(s[offSince:])),
	}
	known := texts
	switch e.state {
	case slotFree, slotTaken:
		return e
	case slotNoting:
		known = 1
	case slotNoted:
	default:
		e.state = slotTaken
		return e
	}
	at := offText
	for i := range known {
		n := int(s[offSizes+i])
		if at+n > slotSize {
			return e
		}
		e.text[i] = printable(s[at : at+n])
		at += n
	}
	e.whole = true
	return e
}

// printable: a path can hold any bytes, and ends up on terminals.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, string(b))
}
