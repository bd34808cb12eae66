package handover

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { children["journal"] = writeJournal }

// writeJournal is a generation that has things in flight and waits for its end.
func writeJournal() int {
	in, err := Inherit()
	if err != nil || in.Journal == nil {
		fmt.Println("inherited", in.Journal, err)
		return 1
	}
	j, err := OpenJournal(in.Journal)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	in.Journal.Close()
	for i := range 100 {
		c := j.Open(fmt.Sprintf("10.0.0.%d:80", i))
		j.Note(c, "http1", "active", "GET", fmt.Sprintf("/%d", i), time.Now())
		if i%10 != 0 {
			j.Close(c)
		}
	}
	fmt.Println("written")
	go func() { // in the middle of something, whenever that is
		for {
			c := j.Open("10.1.1.1:1")
			j.Note(c, "http1", "active", "GET", "/busy", time.Now())
			j.Close(c)
		}
	}()
	select {}
}

// The journal of a process that was killed says what it had in flight.
func TestJournalOutlivesItsWriter(t *testing.T) {
	for range 5 {
		f, err := NewJournal()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		p, err := Start(Command{Path: exe, Args: []string{exe}, Env: append(os.Environ(), "HANDOVER_TEST=journal"), Stdout: w, Journal: f, Solo: f, Generation: 2})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(r).ReadString('\n')
		p.Signal(unix.SIGKILL)
		<-p.Done()
		if line != "written\n" {
			t.Fatalf("the child says %q, %v", line, err)
		}
		lost, more, err := ReadJournal(f)
		if err != nil {
			t.Fatal(err)
		}
		var named []string
		busy := more
		for _, l := range lost {
			if l.Remote == "10.1.1.1:1" {
				busy++
				continue
			}
			named = append(named, l.Remote+l.Path)
		}
		want := "10.0.0.0:80/0 10.0.0.10:80/10 10.0.0.20:80/20 10.0.0.30:80/30 10.0.0.40:80/40 10.0.0.50:80/50 10.0.0.60:80/60 10.0.0.70:80/70 10.0.0.80:80/80 10.0.0.90:80/90"
		if strings.Join(named, " ") != want || busy > 1 {
			t.Errorf("%q and %d more", named, busy)
		}
	}
}

// Neither side can cut the memory off under the other, and what is none is
// refused.
func TestJournalMemory(t *testing.T) {
	f, err := NewJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if lost, more, err := ReadJournal(f); len(lost) != 0 || more != 0 || err != nil {
		t.Errorf("%v %v %v", lost, more, err)
	}
	for _, size := range []int64{0, 2 * journalSize} {
		if err := f.Truncate(size); err == nil {
			t.Errorf("it could be made %d bytes long", size)
		}
	}
	j, err := OpenJournal(f)
	if err != nil {
		t.Fatal(err)
	}
	j.Note(j.Open("10.0.0.1:1"), "http1", "active", "GET", "/", time.Now())
	if err := j.Discard(); err != nil {
		t.Error(err)
	}
	if lost, more, err := ReadJournal(f); len(lost) != 1 || more != 0 || err != nil {
		t.Errorf("%v %v %v", lost, more, err)
	}
	other, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.WriteString("something else")
	if _, err := OpenJournal(other); err == nil {
		t.Error("a file was opened as a journal")
	}
	if _, _, err := ReadJournal(other); err == nil {
		t.Error("a file was read as a journal")
	}
	if _, err := exec.LookPath("true"); err == nil { // a program that knows nothing of it
		f, _ := NewJournal()
		defer f.Close()
		p, err := Start(Command{Path: "/bin/true", Args: []string{"true"}, Journal: f})
		if err == nil {
			<-p.Done()
		}
		if lost, _, err := ReadJournal(f); len(lost) != 0 || err != nil {
			t.Errorf("%v %v", lost, err)
		}
	}
}
