package handover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// StartTime is when a process was started, in clock ticks since the start of the
// machine: field 22 of /proc/pid/stat (proc(5)). It stays what it is when the process
// executes another program. [ErrProcessGone] when there is no such process.
func StartTime(pid int) (uint64, error) {
	t, err := startOf(pid)
	if err != nil {
		return 0, fmt.Errorf("cannot tell when process %d was started: %w", pid, err)
	}
	return t, nil
}

func startOf(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH):
		return 0, ErrProcessGone
	case err != nil:
		return 0, err
	}
	return startTime(string(data))
}

// startTime reads the line. The program's name stands in parentheses, and may have
// spaces and parentheses of its own.
func startTime(stat string) (uint64, error) {
	const field = 22 - 3 // the third is the first one after the name
	rest := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(rest) <= field {
		return 0, fmt.Errorf("%q has too few fields", stat)
	}
	return strconv.ParseUint(rest[field], 10, 64)
}

// Watch follows a process that somebody else has started, this program before it was
// executed anew, for instance. started tells it from a later one of the same number;
// [ErrProcessGone] matches the error when it is not there any more. group says whether
// it leads a process group, as [Command].Group does.
//
// Of a child the exit status is known, and this waits for it, so that nobody else may;
// of another process only the end: its exit status is for its parent.
func Watch(pid int, started uint64, group bool) (*Process, error) {
	handle, err := find(pid, started)
	if err != nil {
		return nil, fmt.Errorf("cannot follow process %d: %w", pid, err)
	}
	return follow(handle, group, func() (*os.ProcessState, error) {
		failed := awaitExit(handle)
		state, err := handle.Wait()
		switch {
		case err == nil:
			return state, nil
		case !errors.Is(err, unix.ECHILD):
			return nil, fmt.Errorf("ended, and how is not known: %w", err)
		case failed != nil:
			return nil, failed
		}
		return nil, errors.New("ended; its exit status was for its parent")
	}), nil
}

// find holds on to the process with that number and start time, by a pidfd: whatever
// is done with it is not done to another one.
func find(pid int, started uint64) (*os.Process, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("%d is not the number of a process", pid)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	now, err := startOf(pid)
	if err == nil && now != started {
		err = fmt.Errorf("%w: the number is another process's, which was started at %d and not at %d", ErrProcessGone, now, started)
	}
	if err == nil {
		if err = p.WithHandle(func(uintptr) {}); err != nil {
			err = fmt.Errorf("%w; a pidfd is needed: Linux 5.4 or later, and a free descriptor", err)
		}
	}
	if err != nil {
		p.Release()
		return nil, err
	}
	return p, nil
}
