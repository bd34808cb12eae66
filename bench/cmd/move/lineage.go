package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue"
	"github.com/segue-go/segue/handover"
)

// lineage is the service, through all its generations.
type lineage struct {
	addr string
	cmd  *exec.Cmd
	dir  string // of the certificate; "" without TLS

	mu      sync.Mutex
	changed chan struct{} // closed and made anew with every line
	lines   []line
	pid     int // of the generation that serves
}

// begin starts the first generation.
func begin(secure bool, env ...string) (*lineage, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l := &lineage{cmd: exec.Command(exe), changed: make(chan struct{})}
	if secure {
		if l.dir, err = certificate(); err != nil {
			return nil, err
		}
		env = append(env, envTLS+"="+l.dir)
	}
	l.cmd.Env = append(os.Environ(), append(env, envService+"="+strconv.Itoa(os.Getpid()))...)
	l.cmd.Stderr = os.Stderr
	// A file, and not a pipe of os/exec: later generations write to it too.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	l.cmd.Stdout = w
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	w.Close()
	go l.read(r)
	go l.cmd.Wait()
	first, err := l.await(0, func(s line) bool { return s.Addr != "" })
	if err != nil {
		return nil, err
	}
	l.addr, l.pid = first.Addr, l.cmd.Process.Pid
	_, err = l.await(0, func(s line) bool { return s.Phase == segue.Ready.String() })
	return l, err
}

func (l *lineage) read(r io.Reader) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 16<<20) // a report names what was lost
	for in.Scan() {
		var s line
		if json.Unmarshal(in.Bytes(), &s) != nil {
			continue
		}
		l.mu.Lock()
		l.lines = append(l.lines, s)
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
	}
}

func (l *lineage) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// await returns the first line from a mark on that fits.
func (l *lineage) await(from int, fits func(line) bool) (line, error) {
	late := time.After(patience)
	for {
		l.mu.Lock()
		lines, changed := l.lines[min(from, len(l.lines)):], l.changed
		l.mu.Unlock()
		from += len(lines)
		for _, s := range lines {
			if fits(s) {
				return s, nil
			}
		}
		select {
		case <-changed:
		case <-late:
			return line{}, errors.New("the service does not say what is waited for")
		}
	}
}

// restarted is one handover.
type restarted struct {
	began, ended time.Time // of the move
	move         segue.Move
	gone         time.Duration // the old process, after it was told that the new one serves
	report       handover.Report
}

// restart hands over once, to the end of the old process.
func (l *lineage) restart() (r restarted, err error) {
	old := l.pid
	fd, err := unix.PidfdOpen(old, 0)
	if err != nil {
		return r, err
	}
	defer unix.Close(fd)
	from := l.mark()
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		return r, err
	}
	over, err := l.await(from, func(s line) bool { return s.PID == old && s.Over != nil })
	if err != nil {
		return r, err
	}
	r.report = *over.Over
	if r.report.Outcome != handover.Done {
		return r, nil
	}
	draining, err := l.await(from, func(s line) bool { return s.PID == old && s.Phase == segue.Draining.String() })
	if err != nil {
		return r, err
	}
	r.began, r.ended = draining.At, draining.At
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience/time.Millisecond))
		if err == unix.EINTR {
			continue
		}
		if n == 0 {
			return r, fmt.Errorf("process %d does not end", old)
		}
		break
	}
	r.gone = time.Since(draining.At)
	next, err := l.await(from, func(s line) bool { return s.PID != old && s.Phase == segue.Ready.String() })
	if err != nil {
		return r, err
	}
	l.pid = next.PID
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.lines[from:] {
		switch {
		case s.PID == old && s.Move != nil:
			r.move = *s.Move
		case s.PID == old && s.Step != nil:
			r.began, r.ended = s.Step.Began, s.Step.Began.Add(s.Step.Took)
		}
	}
	return r, nil
}

// end has the service leave.
func (l *lineage) end() {
	syscall.Kill(l.pid, syscall.SIGKILL)
	os.RemoveAll(l.dir)
}

// restarts hands over n times, each of which must be done, and calls each some
// time after it, when what was due meanwhile has been answered.
func (l *lineage) restarts(n int, rest time.Duration, each func(i int, r restarted)) error {
	for i := range n {
		r, err := l.restart()
		if err != nil {
			return fmt.Errorf("restart %d: %w", i+1, err)
		}
		if r.report.Outcome != handover.Done {
			return fmt.Errorf("restart %d was %s: %s", i+1, r.report.Outcome, r.report.Reason)
		}
		time.Sleep(rest)
		each(i, r)
	}
	return nil
}
