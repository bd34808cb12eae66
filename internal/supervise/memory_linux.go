package supervise

import (
	"os"

	"golang.org/x/sys/unix"
)

// swap exchanges two files, so that the room of both stays theirs. Where there is no
// second one, or the file system cannot, it renames the first.
func swap(a, b string) error {
	if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil {
		return nil
	}
	return os.Rename(a, b)
}
