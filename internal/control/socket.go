package control

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// maxPath is what fits into sockaddr_un of every platform that has it (104 bytes
// on macOS, 108 on Linux, with a closing NUL).
const maxPath = 103

// openSocket listens at path.
func openSocket(path string, readers int) (*net.UnixListener, error) {
	if len(path) > maxPath-len(".new") {
		return nil, fmt.Errorf("cannot open the API socket: its path has %d bytes, at most %d are possible (%s); set SEGUE_RUNTIME_DIR to a shorter one",
			len(path), maxPath-len(".new"), path)
	}
	if readers >= 0 && !canTellPeers {
		return nil, errors.New("cannot open the API socket to readers: this system does not say who asks; leave readers out")
	}
	// A socket gets its mode after bind(2), and its name after that: nobody can
	// connect in between, and whoever finds it finds it ready.
	unfinished := path + ".new"
	os.Remove(unfinished)
	os.Remove(path) // the disk may have no room for both
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: unfinished, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot open the API socket: %w", err)
	}
	ln.SetUnlinkOnClose(false)
	err = permit(unfinished, readers)
	if err == nil {
		err = os.Rename(unfinished, path)
	}
	if err != nil {
		ln.Close()
		os.Remove(unfinished)
		return nil, fmt.Errorf("cannot open the API socket %s: %w", path, err)
	}
	return ln, nil
}

// permit: connect(2) needs write permission (unix(7)). The group comes before the
// mode that is meant for it.
func permit(path string, readers int) error {
	if err := os.Chmod(path, 0o600); err != nil || readers < 0 {
		return err
	}
	if err := os.Lchown(path, -1, readers); err != nil {
		return fmt.Errorf("cannot give it to the readers' group: %w; run the supervisor as a member of that group, or as root", err)
	}
	return os.Chmod(path, 0o660)
}
