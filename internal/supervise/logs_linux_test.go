package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/testproc"
)

// small is archived often: whatever there is above it goes at once.
var small = Logs{Size: 64 << 10, Keep: 1000}

func TestOutputThroughManyArchives(t *testing.T) {
	for name, how := range map[string]Logs{"compressed": small, "plain": {Size: small.Size, Keep: small.Keep, Plain: true}} {
		t.Run(name, func(t *testing.T) {
			l := newLogs(t)
			a := newArchive(t, l, how)
			stop := a.start()
			const lines = 200_000
			child := writes(t, l, 1, lines)
			followed := &checked{t: t}
			over := make(chan struct{})
			go func() {
				child.Wait()
				close(over)
			}()
			if err := follow(l, over, followed); err != nil {
				t.Fatal(err)
			}
			followed.complete(lines)
			testproc.Until(t, "the log is small", func() bool { return a.left(1) <= how.Size })
			stop()
			reread := &checked{t: t}
			if err := l.write(1, nil, reread); err != nil {
				t.Fatal(err)
			}
			reread.complete(lines)
			r := l.record(1)
			if len(r.archives) < 5 {
				t.Errorf("only %d archives", len(r.archives))
			}
			r.contiguous(t)
			if on := onDisk(t, l.path(1)); on > how.Size+64<<10 {
				t.Errorf("%d bytes of the log are on the disk", on)
			}
			if tail := l.tail(1, 3); len(tail) != 3 || !strings.HasPrefix(tail[2], fmt.Sprintf("line %d ", lines)) {
				t.Errorf("the last lines are %q", tail)
			}
		})
	}
}

// TestTailReachesIntoArchives: a report shows the last lines wherever they are.
func TestTailReachesIntoArchives(t *testing.T) {
	l := newLogs(t)
	writes(t, l, 1, 20_000).Wait()
	a := newArchive(t, l, small)
	a.look(t.Context())
	if left := a.left(1); left != 0 {
		t.Fatalf("%d bytes are left", left)
	}
	if tail := l.tail(1, 10); len(tail) != 10 || !strings.HasPrefix(tail[9], "line 20000 ") || !strings.HasPrefix(tail[0], "line 19991 ") {
		t.Errorf("the last lines are %q", tail)
	}
}

// TestArchivistKilled kills the process that archives, again and again, at random
// points of its work, while the service writes.
func TestArchivistKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("TEST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := newLogs(t)
	const lines = 500_000
	child := writes(t, l, 1, lines)
	kills, unfinished := 0, 0
	for ; kills < 40; kills++ {
		cmd := archivistProcess(t, l.dir)
		more := len(l.record(1).archives) + random.IntN(3)
		testproc.Until(t, "it has done so much", func() bool {
			return len(l.record(1).archives) >= more || l.size(1)-l.record(1).archived() <= small.Size
		})
		time.Sleep(time.Duration(random.IntN(15_000)) * time.Microsecond) // the point of the kill
		cmd.Process.Signal(syscall.SIGKILL)
		cmd.Wait()
		if _, err := os.Stat(l.unfinished(1)); err == nil {
			unfinished++
		}
	}
	child.Wait()
	done := len(l.record(1).archives)
	if t.Logf("%d of %d kills left an archive unfinished, %d are complete", unfinished, kills, done); unfinished == 0 || done == 0 {
		t.Error("the kills had no point")
	}
	a := newArchive(t, l, small)
	l.repair()
	a.look(t.Context())
	if left, _ := filepath.Glob(filepath.Join(l.dir, "*.new")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	l.record(1).contiguous(t)
	if on := onDisk(t, l.path(1)); on > 128<<10 {
		t.Errorf("%d bytes of the log are on the disk", on)
	}
	read := &checked{t: t}
	if err := l.write(1, nil, read); err != nil {
		t.Fatal(err)
	}
	read.complete(lines)
}

// archivistProcess starts one that works.
func archivistProcess(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestProcessThatArchives$", "-test.v")
	cmd.Env = append(os.Environ(), "TEST_ARCHIVIST="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for text, buf := "", make([]byte, 1024); !strings.Contains(text, "archiving"); {
		n, err := out.Read(buf)
		if text += string(buf[:n]); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return cmd
}

// TestProcessThatArchives is the process of TestArchivistKilled.
func TestProcessThatArchives(t *testing.T) {
	dir := os.Getenv("TEST_ARCHIVIST")
	if dir == "" {
		t.Skip("is run by TestArchivistKilled")
	}
	fmt.Println("archiving")
	newArchive(t, logs{dir}, small).run(context.Background())
}

// TestKilledBeforeTheHole: an archive has its name, and its bytes are in the log
// as well.
func TestKilledBeforeTheHole(t *testing.T) {
	l := newLogs(t)
	writes(t, l, 1, 20_000).Wait()
	f, err := os.Open(l.path(1))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to, err := completeLines(f, 0, 500_000)
	if err != nil || to < 400_000 {
		t.Fatal(to, err)
	}
	var packed bytes.Buffer
	if err := pack(t.Context(), &packed, io.NewSectionReader(f, 0, to), small); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.archivePath(1, 0, to, small), packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	read := &checked{t: t}
	l.write(1, nil, read)
	read.complete(20_000)
	before := onDisk(t, l.path(1))
	l.repair()
	if on := onDisk(t, l.path(1)); on > before-400_000 {
		t.Errorf("%d of %d bytes of the log are on the disk still", on, before)
	}
	read = &checked{t: t}
	l.write(1, nil, read)
	read.complete(20_000)
}

// TestNothingIsFreedBeforeItsArchiveHasItsName.
func TestNothingIsFreedBeforeItsArchiveHasItsName(t *testing.T) {
	l := newLogs(t)
	writes(t, l, 1, 20_000).Wait()
	f, err := os.OpenFile(l.path(1), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const to = 500_000
	if err := os.Mkdir(l.archivePath(1, 0, to, small), 0o700); err != nil { // in the way of the name
		t.Fatal(err)
	}
	before := onDisk(t, l.path(1))
	if err := l.archive(t.Context(), 1, f, 0, to, small); err == nil {
		t.Error("there is no error")
	}
	if on := onDisk(t, l.path(1)); on != before {
		t.Errorf("%d of %d bytes are left", on, before)
	}
}

// TestOldOutputIsArchived without any more of it, and then nobody is woken.
func TestOldOutputIsArchived(t *testing.T) {
	l := newLogs(t)
	how := Logs{Age: 50 * time.Millisecond}
	a := newArchive(t, l, how)
	out, err := l.open(1, "web", how)
	if err != nil {
		t.Fatal(err)
	}
	defer out.end()
	defer a.start()()
	fmt.Fprint(out.stdout, "a line\nthe beginning of one")
	testproc.Until(t, "it is archived", func() bool { return len(l.record(1).archives) == 1 })
	if r := l.record(1); r.archived() != 7 {
		t.Errorf("archived %+v", r.archives)
	}
	fmt.Fprint(out.stdout, ", and its end\n")
	testproc.Until(t, "it is archived", func() bool { return len(l.record(1).archives) == 2 })
	// Its own work may have woken it once more.
	time.Sleep(20 * a.pace)
	looks := a.looks.Load()
	time.Sleep(200 * time.Millisecond)
	if n := a.looks.Load(); n != looks {
		t.Errorf("%d looks while there was no output", n-looks)
	}
	var text bytes.Buffer
	if err := l.write(1, nil, &text); err != nil || text.String() != "a line\nthe beginning of one, and its end\n" {
		t.Errorf("%q, %v", &text, err)
	}
}

// TestServiceWritesAllTheTime and the archivist looks at its own pace.
func TestServiceWritesAllTheTime(t *testing.T) {
	l := newLogs(t)
	a := newArchive(t, l, Logs{})
	a.pace = 50 * time.Millisecond
	out, err := l.open(1, "web", Logs{})
	if err != nil {
		t.Fatal(err)
	}
	defer out.end()
	stop := a.start()
	began, lines := time.Now(), 0
	for ; time.Since(began) < 500*time.Millisecond; lines++ {
		fmt.Fprintln(out.stdout, "hello")
	}
	most := int64(time.Since(began)/a.pace) + 2
	stop()
	if n := a.looks.Load(); n > most || n < 2 {
		t.Errorf("%d looks at %d lines, want no more than %d", n, lines, most)
	}
}

// TestOldArchivesAreRemoved, and those that read slowly are told.
func TestOldArchivesAreRemoved(t *testing.T) {
	l := newLogs(t)
	how := Logs{Size: 64 << 10, Keep: 2}
	out, err := l.open(1, "web", how)
	if err != nil {
		t.Fatal(err)
	}
	defer out.end()
	a := newArchive(t, l, how)
	var text bytes.Buffer
	slow := l.tailOf(1, nil, &text)
	defer slow.close()
	io.WriteString(out.stdout, "line 0\nthe beginning")
	if err := slow.read(); err != nil {
		t.Fatal(err)
	}
	for i := range 100_000 {
		fmt.Fprintf(out.stdout, "line %d of the output of a service\n", i)
	}
	a.look(t.Context())
	r := l.record(1)
	if len(r.archives) != 2 || r.archives[0].from == 0 {
		t.Fatalf("archives %+v", r.archives)
	}
	if err := errors.Join(slow.read(), slow.flush()); err != nil {
		t.Fatal(err)
	}
	numbers := regexp.MustCompile(`(?m)^segue: (\d+) bytes of output were removed before they were read$`).FindSubmatch(text.Bytes())
	if len(numbers) == 0 || !bytes.HasPrefix(text.Bytes(), []byte("line 0\nthe beginning\nsegue: ")) {
		t.Fatalf("%.80q", &text)
	}
	gone, _ := strconv.Atoi(string(numbers[1]))
	read := text.Len() - len("\n") - len(numbers[0]) - len("\n") // which completed the line, and the note
	if size := int(l.size(1)); read+gone != size {
		t.Errorf("%d bytes were read and %d are said to be gone, of %d", read, gone, size)
	}
	if bytes.IndexByte(text.Bytes(), 0) >= 0 {
		t.Error("zeros were read")
	}
	text.Reset()
	if err := l.write(1, nil, &text); err != nil || !bytes.HasPrefix(text.Bytes(), []byte("line ")) {
		t.Errorf("%.20q, %v", &text, err)
	}
}

// TestFreedWhileItIsRead: what a reader has read of the log was archived, and
// freed, between its look at the archives and its reading.
func TestFreedWhileItIsRead(t *testing.T) {
	l := newLogs(t)
	writes(t, l, 1, 20_000).Wait()
	a := newArchive(t, l, small)
	read := &checked{t: t}
	tail := l.tailOf(1, nil, read)
	defer tail.close()
	r, err := l.reader(1)
	if err != nil {
		t.Fatal(err)
	}
	tail.open[1] = &lineReader{reader: r}
	freed := false
	r.in = readerAt(func(p []byte, at int64) (int, error) {
		if at > 100_000 && !freed {
			freed = true
			if _, err := a.look(t.Context()); err != nil {
				t.Error(err)
			}
		}
		return r.log.ReadAt(p, at)
	})
	if err := tail.read(); err != nil {
		t.Fatal(err)
	}
	read.complete(20_000)
	if !freed || len(l.record(1).archives) == 0 {
		t.Error("nothing was freed")
	}
}

type readerAt func([]byte, int64) (int, error)

func (f readerAt) ReadAt(p []byte, at int64) (int, error) { return f(p, at) }

// TestArchivesRemovedByHand: what is left is there, and no zeros.
func TestArchivesRemovedByHand(t *testing.T) {
	l := newLogs(t)
	f, err := os.OpenFile(l.path(1), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	io.WriteString(f, "first\n")
	var followed strings.Builder
	follower := l.tailOf(1, nil, &followed)
	defer follower.close()
	if err := follower.read(); err != nil {
		t.Fatal(err)
	}
	gone := strings.Repeat("this is gone\n", 20_000)
	io.WriteString(f, gone)
	a := newArchive(t, l, small)
	a.look(t.Context())
	for _, a := range l.record(1).archives {
		os.Remove(a.path)
	}
	more := strings.Repeat("more of it\n", 10_000)
	io.WriteString(f, more)
	read := func() string {
		var text strings.Builder
		if err := l.write(1, nil, &text); err != nil {
			t.Error(err)
		}
		return text.String()
	}
	if got := read(); got != more {
		t.Errorf("%d bytes, %.20q", len(got), got)
	}
	if err := follower.read(); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("first\nsegue: %d bytes of output were removed before they were read\n", len(gone)) + more; followed.String() != want {
		t.Errorf("followed %d bytes, want %d: %.200q", followed.Len(), len(want), followed.String())
	}
	a.look(t.Context())
	if len(l.record(1).archives) == 0 {
		t.Error("nothing is archived any more")
	}
	if got := read(); got != more {
		t.Errorf("%d bytes, %.20q", len(got), got)
	}
}

// TestTruncatedLog: `echo > /dev/stdout` does it. What comes later is there.
func TestTruncatedLog(t *testing.T) {
	l := newLogs(t)
	writes(t, l, 1, 20_000).Wait()
	a := newArchive(t, l, small)
	a.look(t.Context())
	f, err := os.OpenFile(l.path(1), os.O_APPEND|os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintln(f, "not seen")
	a.look(t.Context())
	if len(a.problems) != 1 || !strings.Contains(a.problems[0], "truncated") {
		t.Errorf("problems %q", a.problems)
	}
	fmt.Fprintln(f, "seen")
	if tail := l.tail(1, 2); len(tail) != 2 || tail[1] != "seen" || !strings.HasPrefix(tail[0], "line 20000") {
		t.Errorf("the last lines are %q", tail)
	}
}

// TestEndlessLine becomes several, and is archived.
func TestEndlessLine(t *testing.T) {
	l := newLogs(t)
	out, err := l.open(1, "web", small)
	if err != nil {
		t.Fatal(err)
	}
	defer out.end()
	a := newArchive(t, l, small)
	var text bytes.Buffer
	r := l.tailOf(1, nil, writer(func(p []byte) (int, error) {
		if p[len(p)-1] != '\n' || len(p) > maxLine+64<<10+1 {
			t.Errorf("%d bytes were written, the last is %q", len(p), p[len(p)-1])
		}
		return text.Write(p)
	}))
	defer r.close()
	for range 5 {
		out.stdout.Write(bytes.Repeat([]byte("x"), 700<<10))
		a.look(t.Context())
		if err := r.read(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text.Bytes(), []byte("x")); n != 5*700<<10 {
		t.Errorf("%d bytes were read", n)
	}
	if n := len(l.record(1).archives); n < 2 {
		t.Errorf("%d archives", n)
	}
}

// TestLivingGenerationKeepsItsLog beside as many as are kept.
func TestLivingGenerationKeepsItsLog(t *testing.T) {
	l := newLogs(t)
	how := Logs{Keep: 2}
	var all []*output
	for n := 1; n <= 5; n++ {
		o, err := l.open(n, "web", how)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
		if n > 1 {
			o.end()
		}
	}
	if got := l.numbers(); fmt.Sprint(got) != "[1 4 5]" {
		t.Errorf("kept %v", got)
	}
	all[0].end()
	if o, err := l.open(6, "web", how); err == nil {
		o.end()
	}
	if got := l.numbers(); fmt.Sprint(got) != "[5 6]" {
		t.Errorf("kept %v", got)
	}
}

// TestAdoptedLog: what a generation that was adopted has left running keeps no lock
// on its log when it has ended.
func TestAdoptedLog(t *testing.T) {
	l := newLogs(t)
	before, err := l.open(1, "web", Logs{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Stdout = before.stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	before.log.Close() // the supervisor is killed
	if n, pids := l.survivor(); n != 1 || fmt.Sprint(pids) != fmt.Sprint([]int{cmd.Process.Pid}) {
		t.Fatalf("survivor %d %v", n, pids)
	}
	l.adopt(2, cmd.Process.Pid).end() // not that generation's
	if n, _ := l.survivor(); n != 1 {
		t.Error("the lock of another generation was taken away")
	}
	l.adopt(1, cmd.Process.Pid).end()
	if n, _ := l.survivor(); n != 0 {
		t.Error("the log is locked still")
	}
	l.adopt(1, 1<<30).end() // no such process
}

// TestFullDiskOfArchives: nothing is freed that is not archived, it is said once,
// and it is tried again.
func TestFullDiskOfArchives(t *testing.T) {
	l := logs{mount(t, "tmpfs", "size=3m")}
	writes(t, l, 1, 15_000).Wait()
	filler, err := os.Create(filepath.Join(l.dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	filler.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	a := newArchive(t, l, small)
	a.patience = time.Nanosecond
	before := onDisk(t, l.path(1))
	for range 3 {
		if due, err := a.look(t.Context()); err == nil || due.IsZero() {
			t.Errorf("due %v, %v", due, err)
		}
	}
	if on := onDisk(t, l.path(1)); on != before || len(l.record(1).archives) > 0 {
		t.Errorf("%d of %d bytes are left, archives %v", on, before, l.record(1).archives)
	}
	if len(a.problems) != 1 || !strings.Contains(a.problems[0], syscall.ENOSPC.Error()) {
		t.Errorf("problems %q", a.problems)
	}
	os.Remove(filler.Name())
	if _, err := a.look(t.Context()); err != nil {
		t.Error(err)
	}
	if on := onDisk(t, l.path(1)); on > small.Size {
		t.Errorf("%d bytes are on the disk", on)
	}
	read := &checked{t: t}
	l.write(1, nil, read)
	read.complete(15_000)
}

// TestFileSystemWithoutHoles: the log grows, which is said once, and no archive
// doubles it.
func TestFileSystemWithoutHoles(t *testing.T) {
	l := logs{mount(t, "ramfs", "")}
	writes(t, l, 1, 15_000).Wait()
	a := newArchive(t, l, small)
	a.run(t.Context()) // returns: it would be the same every time
	if len(a.problems) != 1 || !strings.Contains(a.problems[0], "file system") {
		t.Errorf("problems %q", a.problems)
	}
	if left, _ := os.ReadDir(l.dir); len(left) != 1 {
		t.Errorf("in the directory: %v", left)
	}
	read := &checked{t: t}
	l.write(1, nil, read)
	read.complete(15_000)
}

// TestOneInotifyForAll: a user may have 128, and a supervisor 100 services.
func TestOneInotifyForAll(t *testing.T) {
	dirs := make([]*watch, 100)
	for i := range dirs {
		w, err := watchDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		dirs[i] = w
	}
	if n := inotifies(t); n != 1 {
		t.Errorf("%d inotify descriptors", n)
	}
	a, err := dirs[0].arm()
	if err != nil {
		t.Fatal(err)
	}
	again, _ := dirs[0].arm()
	other, _ := dirs[1].arm()
	os.WriteFile(filepath.Join(dirs[0].dir, "x"), nil, 0o600)
	<-a
	<-again
	select {
	case <-other:
		t.Error("the other directory was meant")
	default:
	}
	dirs[0].disarm(a)
	dirs[1].disarm(other)
	b, _ := dirs[1].arm()
	os.WriteFile(filepath.Join(dirs[1].dir, "x"), nil, 0o600)
	<-b
}

// TestFollowerIsArmedOnce, however many events of the service there are.
func TestFollowerIsArmedOnce(t *testing.T) {
	l := newLogs(t)
	events := make(chan client.Event)
	f := l.tailOf(0, nil, io.Discard)
	defer f.close()
	done := make(chan error)
	go func() { done <- f.follow(t.Context(), events, func() bool { return false }) }()
	for range 20 {
		events <- client.Event{}
	}
	lookout.Lock()
	if n := len(lookout.armed[l.dir]); n > 1 {
		t.Errorf("the watch is armed %d times", n)
	}
	lookout.Unlock()
	close(events)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func inotifies(t *testing.T) (n int) {
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range all {
		if to, _ := os.Readlink(fd); to == "anon_inode:inotify" {
			n++
		}
	}
	return n
}

// FuzzArchiveNames: a name that somebody else gave is no archive, or means what it
// says.
func FuzzArchiveNames(f *testing.F) {
	for _, s := range []string{".000000000000-000000000012.gz", ".1-2", ".2-1", "-", ".gz", ".-1-2", ".new"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		a, ok := parseArchive(rest)
		if ok && (a.from < 0 || a.to <= a.from) {
			t.Errorf("%q is %+v", rest, a)
		}
		if name := fmt.Sprintf(".%012d-%012d.gz", a.from, a.to); ok {
			if b, ok := parseArchive(name); !ok || a != b {
				t.Errorf("%q is %+v, and %q %+v", rest, a, name, b)
			}
		}
	})
}

// archive is an archivist under test.
type underTest struct {
	*archivist
	t        *testing.T
	looks    atomic.Int64
	problems []string
}

func newArchive(t *testing.T, l logs, how Logs) *underTest {
	a := &underTest{t: t}
	a.archivist = newArchivist(l,
		func() Logs { a.looks.Add(1); return how },
		func(_ int, text string) { a.problems = append(a.problems, text) })
	a.pace = time.Millisecond
	return a
}

// start has it work until stop.
func (a *underTest) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { a.run(ctx) })
	return func() {
		cancel()
		done.Wait()
		if len(a.problems) > 0 {
			a.t.Errorf("problems %q", a.problems)
		}
	}
}

// left is how much is not archived.
func (a *underTest) left(generation int) int64 {
	return a.logs.size(generation) - a.logs.record(generation).archived()
}

// contiguous: every byte is in one archive.
func (r record) contiguous(t *testing.T) {
	t.Helper()
	var at int64
	for _, a := range r.archives {
		if a.from != at {
			t.Errorf("%s does not begin at %d", filepath.Base(a.path), at)
		}
		at = a.to
	}
}

func newLogs(t *testing.T) logs {
	t.Helper()
	l, err := openLogs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// writes starts a process that writes numbered lines as a generation.
func writes(t *testing.T, l logs, generation, lines int) *child {
	t.Helper()
	out, err := l.open(generation, "web", Logs{})
	if err != nil {
		t.Fatal(err)
	}
	const step = 1000 // seq writes blocks, which end in the middle of lines
	script := fmt.Sprintf(`i=1; while [ $i -le %d ]; do seq -f 'line %%.0f of the output of a service' $i $((i+%d)); i=$((i+%d)); done`, lines, step-1, step)
	c := &child{cmd: exec.Command("sh", "-c", script)}
	c.cmd.Stdout, c.cmd.Stderr = out.stdout, out.stderr
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.Wait = sync.OnceFunc(func() {
		if err := c.cmd.Wait(); err != nil {
			t.Error(err)
		}
		out.end()
	})
	t.Cleanup(c.Wait)
	return c
}

type child struct {
	cmd  *exec.Cmd
	Wait func()
}

// follow follows generation 1 until over is closed.
func follow(l logs, over <-chan struct{}, w io.Writer) error {
	t := l.tailOf(1, nil, w)
	defer t.close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-over; cancel() }()
	return t.follow(ctx, nil, func() bool { return false })
}

type writer func([]byte) (int, error)

func (f writer) Write(p []byte) (int, error) { return f(p) }

// checked expects the lines of writes, whole and in order.
type checked struct {
	t *testing.T
	n int
}

func (c *checked) Write(p []byte) (int, error) {
	if p[len(p)-1] != '\n' {
		c.t.Errorf("a Write ends with %q", p[max(0, len(p)-40):])
	}
	for line := range bytes.Lines(p) {
		c.n++
		if want := fmt.Sprintf("line %d of the output of a service\n", c.n); string(line) != want {
			return 0, fmt.Errorf("line %d is %.80q", c.n, line)
		}
	}
	return len(p), nil
}

func (c *checked) complete(lines int) {
	c.t.Helper()
	if c.n != lines {
		c.t.Fatalf("%d lines, want %d", c.n, lines)
	}
}

// onDisk is the room that a file takes.
func onDisk(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// mount makes a file system, gone when the test ends.
func mount(t *testing.T, kind, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a file system of its own needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount(kind, dir, kind, 0, options); errors.Is(err, syscall.EPERM) {
		t.Skip("SKIPPED: this root may not mount (a container without CAP_SYS_ADMIN)")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}
