package handover

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// given is inherit over a made-up environment. No descriptor is touched: taken
// says which would have been.
func given(env map[string]string, pid int) (in Inheritance, taken []int, err error) {
	in, err = inherit(func(k string) string { return env[k] }, pid, func(fd int, name string) (*os.File, error) {
		taken = append(taken, fd)
		if fd >= 900 {
			return nil, fmt.Errorf("cannot inherit %q: descriptor %d is not open", name, fd)
		}
		return &os.File{}, nil
	})
	return in, taken, err
}

func TestInherit(t *testing.T) {
	const pid = 42
	for _, c := range []struct {
		name  string
		env   map[string]string
		names []string
		solo  bool
		wrong []string // of the error; nil for none
	}{
		{name: "nothing"},
		{name: "systemd", env: map[string]string{"LISTEN_FDS": "2", "LISTEN_PID": "42", "LISTEN_FDNAMES": "web:admin"}, names: []string{"web", "admin"}},
		{name: "systemd without names", env: map[string]string{"LISTEN_FDS": "2", "LISTEN_PID": "42"}, names: []string{"unknown", "unknown"}},
		{name: "for another process", env: map[string]string{"LISTEN_FDS": "1", "LISTEN_PID": "41"}},
		{name: "for another process, numbered", env: map[string]string{"LISTEN_FDS": "1", "LISTEN_PID": "41", "SEGUE_GENERATION": "2"}},
		{name: "for nobody in particular", env: map[string]string{"LISTEN_FDS": "1"}},
		{name: "segue", env: map[string]string{"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "SEGUE_GENERATION": "3", "SEGUE_SOLO": "4"}, names: []string{"web"}, solo: true},
		{name: "only solo", env: map[string]string{"SEGUE_GENERATION": "3", "SEGUE_SOLO": "3"}, solo: true},
		{name: "two owners", env: map[string]string{"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "SEGUE_GENERATION": "3", "SEGUE_SOLO": "4"},
			names: []string{"a", "b"}, wrong: []string{"SEGUE_SOLO=4"}},
		{name: "not open", env: map[string]string{"SEGUE_SOLO": "900"}, wrong: []string{"descriptor 900"}},
		{name: "more names", env: map[string]string{"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b", "SEGUE_GENERATION": "1"}, wrong: []string{"names 2, LISTEN_FDS says 1"}},
		{name: "too many", env: map[string]string{"LISTEN_FDS": "1025", "SEGUE_GENERATION": "1"}, wrong: []string{"at most 1024"}},
		{name: "all wrong", env: map[string]string{"LISTEN_FDS": "-1", "LISTEN_PID": "x", "SEGUE_GENERATION": "0", "SEGUE_PREDECESSOR": "1.5", "SEGUE_SOLO": "2", "WATCHDOG_PID": "0"},
			wrong: []string{"LISTEN_FDS=", "LISTEN_PID=", "SEGUE_GENERATION=", "SEGUE_PREDECESSOR=", "SEGUE_SOLO=", "WATCHDOG_PID="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, taken, err := given(c.env, pid)
			var names []string
			for _, s := range in.Sockets {
				names = append(names, s.Name)
			}
			if !slices.Equal(names, c.names) || (in.Solo != nil) != c.solo {
				t.Errorf("sockets %q, solo %v", names, in.Solo != nil)
			}
			if (err != nil) != (c.wrong != nil) {
				t.Errorf("error %v", err)
			}
			for _, w := range c.wrong {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("error %v; want %q in it", err, w)
				}
			}
			for i := range c.names {
				if taken[i] != 3+i {
					t.Errorf("took %v", taken)
				}
			}
		})
	}
}

func TestInheritWatchdog(t *testing.T) {
	for pid, want := range map[string]string{"": "1000", "42": "1000", "41": ""} {
		in, _, err := given(map[string]string{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": pid}, 42)
		if err != nil || in.Watchdog != want {
			t.Errorf("WATCHDOG_PID=%q: %q, %v", pid, in.Watchdog, err)
		}
	}
}

// The environment is emptied also when it cannot be understood.
func TestInheritLeavesNothingBehind(t *testing.T) {
	for _, k := range wireEnv {
		t.Setenv(k, "nonsense")
	}
	if _, err := Inherit(); err == nil {
		t.Error("no error")
	}
	for _, k := range wireEnv {
		if v, ok := os.LookupEnv(k); ok {
			t.Errorf("%s=%s is still there", k, v)
		}
	}
}

func TestMergeEnv(t *testing.T) {
	var base []string
	for _, k := range wireEnv {
		base = append(base, k+"=parent")
	}
	base = append(base, "HOME=/", "LISTEN_FDS_OF_MINE=1")
	got := mergeEnv(base, map[string]string{EnvGeneration: "2", EnvControl: ""})
	if want := []string{"HOME=/", "LISTEN_FDS_OF_MINE=1", "SEGUE_GENERATION=2"}; !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
	if mergeEnv(nil, nil) == nil {
		t.Error("nil: os/exec would take this process's environment")
	}
}

func FuzzInherit(f *testing.F) {
	f.Add("2", "web:admin", "42", "", "", "")
	f.Add("1", "web", "", "3", "4", "17")
	f.Add("1024", "", "", "1", "3", "x")
	f.Fuzz(func(t *testing.T, fds, names, pid, generation, solo, predecessor string) {
		in, taken, err := given(map[string]string{
			EnvListenFDs: fds, EnvListenNames: names, EnvListenPID: pid,
			EnvGeneration: generation, EnvSolo: solo, EnvPredecessor: predecessor,
		}, 42)
		owners := map[int]int{}
		for _, fd := range taken {
			if owners[fd]++; fd < 3 || owners[fd] > 1 {
				t.Fatalf("takes %v", taken)
			}
		}
		if n, bad := strconv.Atoi(fds); err == nil && (bad == nil && n > 0 && pid == "42" || len(in.Sockets) > 0) && len(in.Sockets) != n {
			t.Fatalf("LISTEN_FDS=%q gives %d sockets", fds, len(in.Sockets))
		}
		if in.Generation < 0 || in.Predecessor < 0 {
			t.Fatalf("%+v", in)
		}
	})
}

func TestInheritFD(t *testing.T) {
	if _, err := inheritFD(1<<20, "web"); err == nil || errors.Is(err, os.ErrInvalid) {
		t.Errorf("inheriting a descriptor that is not open: %v", err)
	}
}
