package handover

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	children["move-arrive"] = arriveAndWait
	children["move-depart"] = departAndWait
	children["move-busy"] = departInALowLimit
}

// said is printed when the child has come as far as it goes.
func said(args ...any) int {
	fmt.Println(args...)
	if len(args) == 0 {
		select {}
	}
	return 1
}

// arriveAndWait is a receiver that comes as far as MOVE_STEP.
func arriveAndWait() int {
	step := os.Getenv("MOVE_STEP")
	if step == "before" {
		return said()
	}
	a, err := NewArrival(os.NewFile(3, "arrival"), os.Getppid())
	if err != nil {
		return said(err)
	}
	return said(a.Run(func(_ string, answer func(uint64, []string) error) (Passengers, error) {
		return stepper{step, answer}, nil
	}))
}

type stepper struct {
	step   string
	answer func(uint64, []string) error
}

func (s stepper) Take(batch uint64, whole bool, parcels [][]byte, files []int) {
	if s.step == "taken" {
		said()
	}
	if err := s.answer(batch, []string{"", "not this one"}); err != nil {
		said(err)
	}
	if s.step == "answered" {
		said()
	}
}

func (s stepper) Go(batch uint64, late [][]byte)                    { said() }
func (s stepper) Late(batch uint64, i int, data []byte, ended bool) {}
func (s stepper) Gone()                                             {}

// departAndWait is a sender that comes as far as MOVE_STEP.
func departAndWait() int {
	d, err := NewDeparture(os.NewFile(3, "departure"), os.Getppid())
	if err != nil {
		return said(err)
	}
	step, s := os.Getenv("MOVE_STEP"), d.Server("web")
	if step == "nobody" {
		if err := becomeNobody(); err != nil {
			return said(err)
		}
	}
	fds := []int{0, 2}
	if step == "half" {
		m := moveMessage{kind: moveBatch, server: "web", items: make([][]byte, 2), files: fds}
		head, size, err := m.encode()
		if err != nil {
			return said(err)
		}
		if err := writeMove(d.link.conn, append(m.kind.frame(nil, 1, 1, size-10), head[:10]...), fds[:1]); err != nil {
			return said(err)
		}
		return said()
	}
	for batch := range uint64(2) {
		if err := s.Send(batch, false, make([][]byte, 2), fds); err != nil {
			return said(err)
		}
	}
	if step == "going" {
		if _, _, err := s.Await(); err != nil {
			return said(err)
		}
		err := errors.Join(s.Go(0, [][]byte{[]byte("one "), nil}), s.Late(0, 0, []byte("two"), true))
		if err != nil {
			return said(err)
		}
	}
	return said()
}

// child starts the test binary with f as descriptor 3. It has come as far as it
// goes when far returns; kill returns when it is dead.
func child(t *testing.T, mode, step string, f *os.File) (pid int, far, kill func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "HANDOVER_TEST="+mode, "MOVE_STEP="+step)
	cmd.ExtraFiles, cmd.Stderr = []*os.File{f}, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	far = func() {
		t.Helper()
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "\n" {
			t.Errorf("the child says %q, %v", line, err)
		}
	}
	done := false
	kill = func() {
		if !done {
			done = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	t.Cleanup(kill)
	return cmd.Process.Pid, far, kill
}

// The receiver is killed: before its verdict there is none, after it there is.
func TestMoveToOneWhoIsKilled(t *testing.T) {
	fds := files(t, 2)
	for step, verdict := range map[string]bool{"before": false, "taken": false, "answered": true, "going": true} {
		for _, unread := range []bool{false, true} { // leaves something unread: ECONNRESET
			a, b, err := MovePair()
			if err != nil {
				t.Fatal(err)
			}
			pid, far, kill := child(t, "move-arrive", step, b)
			d, err := NewDeparture(a, pid)
			if err != nil {
				t.Fatal(err)
			}
			s := d.Server("web")
			if err := s.Send(1, false, make([][]byte, 2), fds); err != nil {
				t.Fatal(err)
			}
			var batch uint64
			var refusals []string
			if step == "going" {
				if batch, refusals, err = s.Await(); err != nil {
					t.Fatal(err)
				}
				if err := s.Go(1, make([][]byte, 2)); err != nil {
					t.Fatal(err)
				}
			}
			far()
			if unread {
				if err := s.Send(2, false, make([][]byte, 2), fds); err != nil {
					t.Fatal(err)
				}
			}
			kill()
			if step != "going" {
				batch, refusals, err = s.Await()
			}
			if verdict != (err == nil) || verdict && (batch != 1 || len(refusals) != 2 || refusals[0] != "" || refusals[1] != "not this one") {
				t.Errorf("%s: %d, %q, %v", step, batch, refusals, err)
			}
			if _, _, err := s.Await(); err != errMoveGone {
				t.Errorf("%s: then %v", step, err)
			}
			if err := s.Go(1, make([][]byte, 2)); err == nil {
				t.Errorf("%s: GO was sent to the dead", step)
			}
			d.Close()
		}
	}
}

// The sender is killed: what it sent arrives, and then the end.
func TestMoveFromOneWhoIsKilled(t *testing.T) {
	before := openFiles(t)
	for _, step := range []string{"half", "sent", "going"} {
		a, b, err := MovePair()
		if err != nil {
			t.Fatal(err)
		}
		pid, far, kill := child(t, "move-depart", step, a)
		arrival, err := NewArrival(b, pid)
		if err != nil {
			t.Fatal(err)
		}
		r := &recorder{t: t, batches: map[uint64]*moved{}, taken: make(chan uint64, 10), gone: make(chan struct{})}
		var answers []error
		r.take = func(batch uint64, n int) {
			answer := func() { answers = append(answers, r.answer(batch, make([]string, n))) }
			if batch == 0 {
				answer() // "sent" leaves it unread, and batch 1 behind the ECONNRESET
			}
			if batch == 0 && step == "sent" || batch == 1 && step == "going" {
				far()
				kill()
			}
			if batch == 1 {
				answer()
			}
		}
		if step == "half" {
			far()
			kill()
		}
		err = arrival.Run(func(_ string, answer func(uint64, []string) error) (Passengers, error) {
			r.answer = answer
			return r, nil
		})
		if err != nil {
			t.Errorf("%s: %v", step, err)
		}
		if step == "half" {
			if len(r.batches) != 0 {
				t.Error("a part of a batch was taken")
			}
		} else {
			<-r.gone
			if len(r.batches) != 2 || len(answers) != 2 || answers[0] != nil || answers[1] == nil {
				t.Errorf("%s: %d batches, answers %v", step, len(r.batches), answers)
			}
			b := r.get(0)
			if got := string(b.late[0]); (step == "going") != b.going || b.going && (got != "one two" || !b.ended[0]) {
				t.Errorf("%s: %v, %q", step, b.going, got)
			}
		}
		r.close()
		kill()
		if after := openFiles(t); after != before {
			t.Errorf("%s: %d files are open, %d were before", step, after, before)
		}
	}
}

func becomeNobody() error {
	return errors.Join(syscall.Setresgid(65534, 65534, 65534), syscall.Setresuid(65534, 65534, 65534))
}

// The right process of another user is a stranger.
func TestMoveFromAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	a, b, err := MovePair()
	if err != nil {
		t.Fatal(err)
	}
	pid, far, _ := child(t, "move-depart", "nobody", a)
	arrival, err := NewArrival(b, pid)
	if err != nil {
		t.Fatal(err)
	}
	far()
	err = arrival.Run(func(string, func(uint64, []string) error) (Passengers, error) {
		t.Error("it was heard")
		return nil, errors.New("not expected")
	})
	if err == nil || !strings.Contains(err.Error(), "user 65534 sent it, this process is of user 0") {
		t.Error(err)
	}
}

// departInALowLimit sends more descriptors than may be on their way, and again
// when there is room. Root is not bound by that limit.
func departInALowLimit() int {
	if os.Getuid() == 0 {
		if err := becomeNobody(); err != nil {
			return said(err)
		}
	}
	a, b, err := MovePair()
	if err != nil {
		return said(err)
	}
	d, err := NewDeparture(a, 0)
	if err != nil {
		return said(err)
	}
	d.link.wait = d.link.wait / 50
	arrival, err := NewArrival(b, 0)
	if err != nil {
		return said(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 100, Max: 100}); err != nil {
		return said(err)
	}
	s, fds := d.Server("web"), make([]int, 40)
	sent := uint64(0)
	for ; sent < 100 && err == nil; sent++ {
		err = s.Send(sent, false, make([][]byte, len(fds)), fds)
	}
	sent--
	if !errors.Is(err, ErrBusy) || sent < 2 || sent > 4 {
		return said("sent", sent, err)
	}
	go arrival.Run(func(_ string, answer func(uint64, []string) error) (Passengers, error) {
		return turnedAway{answer, "no"}, nil
	})
	for range sent {
		if _, _, err := s.Await(); err != nil {
			return said(err)
		}
	}
	if err := s.Send(sent, false, make([][]byte, len(fds)), fds); err != nil {
		return said("again", err)
	}
	if batch, _, err := s.Await(); err != nil || batch != sent {
		return said(batch, err)
	}
	fmt.Println("done")
	return 0
}

func TestMoveIsBusy(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "HANDOVER_TEST=move-busy")
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != "done" {
		t.Errorf("%s, %v", out, err)
	}
}
