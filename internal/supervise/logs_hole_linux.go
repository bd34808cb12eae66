package supervise

import (
	"os"

	"golang.org/x/sys/unix"
)

// punch frees what stands in f before to. The size stays, and so does the place of
// everything after it. EOPNOTSUPP says that the file system cannot.
func punch(f *os.File, to int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, to)
	return os.NewSyscallError("fallocate", err)
}

// dataFrom is where the first data from pos on is, by whole blocks; pos if that is
// not known.
func dataFrom(f *os.File, pos int64) int64 {
	at, err := unix.Seek(int(f.Fd()), pos, unix.SEEK_DATA)
	if err != nil {
		return pos
	}
	return at
}
