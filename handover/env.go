package handover

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The environment of a generation. The first four are systemd's
// (sd_listen_fds(3), sd_notify(3)), the others are Segue's.
const (
	EnvListenFDs     = "LISTEN_FDS"
	EnvListenNames   = "LISTEN_FDNAMES"
	EnvListenPID     = "LISTEN_PID"
	EnvNotifySocket  = "NOTIFY_SOCKET"
	EnvWatchdogUsec  = "WATCHDOG_USEC"
	EnvWatchdogPID   = "WATCHDOG_PID"
	EnvControl       = "SEGUE_CONTROL"     // path of the supervisor's control socket
	EnvGeneration    = "SEGUE_GENERATION"  // number of this generation, from 1
	EnvPredecessor   = "SEGUE_PREDECESSOR" // pid of the process that spawned its own successor
	EnvSolo          = "SEGUE_SOLO"        // descriptor whose lock serialises solo tasks
	EnvJournal       = "SEGUE_JOURNAL"     // descriptor of the memory for a journal
	EnvLaunch        = "SEGUE_LAUNCH"      // descriptor of what is said before the program begins; none sees it
	firstInheritedFD = 3                   // SD_LISTEN_FDS_START
)

var wireEnv = []string{EnvListenFDs, EnvListenNames, EnvListenPID, EnvNotifySocket,
	EnvWatchdogUsec, EnvWatchdogPID, EnvControl, EnvGeneration, EnvPredecessor, EnvSolo, EnvJournal, EnvLaunch}

// Inheritance is what a process was given at birth.
type Inheritance struct {
	Sockets      []Socket // listening sockets, in the order they were passed
	NotifySocket string   // where readiness is told; "" if nobody listens
	Watchdog     string   // WATCHDOG_USEC, "" if nobody watches
	Control      string   // control socket of the supervisor; "" without one
	Generation   int      // 0 when nobody numbers generations
	Predecessor  int      // pid of the process that is handing over to this one; 0 if none
	Solo         *os.File // see [SoloLock]; nil when nobody passed one
	Journal      *os.File // see [Journal]; nil when nobody passed one
}

// Inherit reads what this process was given and removes it from the
// environment, so that children which are not generations do not take it for
// theirs. It may be called once: the descriptors then belong to the caller.
//
// LISTEN_FDS counts only when LISTEN_PID is this process, or when it is absent
// and SEGUE_GENERATION says that Segue made the environment (the child's pid is
// not known before the fork). The error names every variable that could not be
// understood and every descriptor that is not there.
func Inherit() (Inheritance, error) {
	in, err := inherit(os.Getenv, os.Getpid(), inheritFD)
	for _, k := range wireEnv {
		os.Unsetenv(k)
	}
	return in, err
}

// inherit is Inherit over any environment; take takes over a descriptor.
func inherit(getenv func(string) string, pid int, take func(fd int, name string) (*os.File, error)) (Inheritance, error) {
	in := Inheritance{NotifySocket: getenv(EnvNotifySocket), Control: getenv(EnvControl)}
	var errs []error
	number := func(key string, least int) int {
		v := getenv(key)
		if v == "" {
			return 0
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < least {
			errs = append(errs, fmt.Errorf("cannot read %s=%q: it must be a whole number of at least %d", key, v, least))
			return 0
		}
		return n
	}
	in.Generation = number(EnvGeneration, 1)
	in.Predecessor = number(EnvPredecessor, 1)
	if p := number(EnvWatchdogPID, 1); p == 0 || p == pid {
		in.Watchdog = getenv(EnvWatchdogUsec)
	}
	var names []string
	count := number(EnvListenFDs, 0)
	addressee, addressed := number(EnvListenPID, 1), getenv(EnvListenPID) != ""
	if count > 0 && (addressed && addressee == pid || !addressed && in.Generation > 0) {
		var err error
		names, err = splitNames(getenv(EnvListenNames), count)
		errs = append(errs, err)
	}
	for i, name := range names {
		f, err := take(firstInheritedFD+i, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		in.Sockets = append(in.Sockets, Socket{Name: name, File: f})
	}
	seen := 0
	for _, x := range []struct {
		key, name string
		to        **os.File
	}{{EnvSolo, "solo", &in.Solo}, {EnvJournal, "journal", &in.Journal}} {
		switch fd := number(x.key, firstInheritedFD); {
		case fd == 0:
		case fd < firstInheritedFD+len(names):
			errs = append(errs, fmt.Errorf("cannot inherit %s=%d: that descriptor is a socket of %s", x.key, fd, EnvListenFDs))
		case fd == seen:
			errs = append(errs, fmt.Errorf("cannot inherit %s=%d: that descriptor is also that of %s", x.key, fd, EnvSolo))
		default:
			f, err := take(fd, x.name)
			*x.to, errs, seen = f, append(errs, err), fd
		}
	}
	return in, errors.Join(errs...)
}

// splitNames reads LISTEN_FDNAMES. systemd leaves it out when nothing was
// named; every socket is then called "unknown", as sd_listen_fds_with_names
// says.
func splitNames(list string, count int) ([]string, error) {
	if count > maxSockets {
		return nil, fmt.Errorf("cannot inherit %s=%d: at most %d sockets can be passed", EnvListenFDs, count, maxSockets)
	}
	if list == "" {
		list = strings.TrimSuffix(strings.Repeat("unknown:", count), ":")
	}
	names := strings.Split(list, ":")
	if len(names) != count {
		return nil, fmt.Errorf("cannot inherit sockets: %s names %d, %s says %d", EnvListenNames, len(names), EnvListenFDs, count)
	}
	return names, nil
}
