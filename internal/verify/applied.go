package verify

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Applied is the service's ledger: an append-only file with one line per
// request that the service has applied. All generations of a service append to
// the same file, also at the same time.
//
// A record is one write(2) on a descriptor opened with O_APPEND. POSIX makes
// finding the end and writing one step, so lines of two processes do not mix,
// and once write has returned the line belongs to the kernel's page cache:
// SIGKILL of the process cannot take it back. Only the machine's own failure
// can, which no restart is. Hence no buffer, and no fsync.
type Applied struct {
	f      *os.File
	suffix string
}

// OpenApplied opens or creates the ledger at path. generation is recorded with
// every line; it must not contain white space.
func OpenApplied(path, generation string) (*Applied, error) {
	if generation == "" {
		generation = "0"
	}
	if strings.ContainsAny(generation, " \t\r\n") {
		return nil, fmt.Errorf("open ledger %s: generation %q contains white space", path, generation)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return &Applied{f: f, suffix: " " + strconv.Itoa(os.Getpid()) + " " + generation + "\n"}, nil
}

// Record returns after id is in the ledger. It must be called before the
// request is answered, and the request must fail when Record fails.
func (a *Applied) Record(id string) error {
	if _, ok := parseIdent(id); !ok {
		return fmt.Errorf("record %q: not an id of a run", id)
	}
	_, err := a.f.WriteString(id + a.suffix)
	return err
}

// Close closes the file.
func (a *Applied) Close() error { return a.f.Close() }

// Entry is one line of a service's ledger.
type Entry struct {
	ID         string
	PID        int
	Generation string
}

// ReadApplied calls yield for every line of a ledger and returns how many were
// not lines of one: a full disk can leave half a line.
func ReadApplied(path string, yield func(Entry)) (torn int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read ledger: %w", err)
	}
	defer f.Close()
	return readApplied(f, yield)
}

func readApplied(r io.Reader, yield func(Entry)) (torn int, err error) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if e, ok := parseEntry(line); ok {
			yield(e)
		} else if line != "" {
			torn++
		}
		if err == io.EOF {
			return torn, nil
		}
		if err != nil {
			return torn, fmt.Errorf("read ledger: %w", err)
		}
	}
}

// parseEntry wants the newline: a line without one was not written completely.
func parseEntry(line string) (Entry, bool) {
	line, whole := strings.CutSuffix(line, "\n")
	f := strings.Split(line, " ")
	if !whole || len(f) != 3 || f[2] == "" {
		return Entry{}, false
	}
	_, ok := parseIdent(f[0])
	pid, err := strconv.Atoi(f[1])
	return Entry{ID: f[0], PID: pid, Generation: f[2]}, ok && err == nil && pid > 0
}
