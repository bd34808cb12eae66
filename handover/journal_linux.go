package handover

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// NewJournal makes the memory of a [Journal]: a memfd of fixed size, so that it
// has no path to leave behind and neither side can cut it off under the other.
// Memory is used only for what is written.
func NewJournal() (*os.File, error) {
	fd, err := unix.MemfdCreate("segue-journal", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("cannot make a journal: %w", err)
	}
	f := os.NewFile(uintptr(fd), "segue-journal")
	err = unix.Ftruncate(fd, journalSize)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot make a journal: %w", err)
	}
	return f, nil
}

// OpenJournal begins to write to the journal behind f, which stays the caller's
// and may be closed.
func OpenJournal(f *os.File) (*Journal, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot open the journal: %w", err)
	}
	j := &Journal{free: make([]int, 0, 128)}
	var mapErr error
	err = raw.Control(func(fd uintptr) {
		var st unix.Stat_t
		if mapErr = unix.Fstat(int(fd), &st); mapErr != nil {
			return
		}
		if st.Size != journalSize {
			mapErr = fmt.Errorf("it has %d bytes, not %d: it is of another version", st.Size, journalSize)
			return
		}
		j.mem, mapErr = unix.Mmap(int(fd), 0, journalSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	})
	if err := errors.Join(err, mapErr); err != nil {
		return nil, fmt.Errorf("cannot open the journal: %w", err)
	}
	j.begin()
	return j, nil
}

// Discard lets go of the memory. No other method may be running or be called
// after it.
func (j *Journal) Discard() error { return unix.Munmap(j.mem) }
