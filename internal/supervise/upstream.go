package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// upstreamPatience bounds what closing an upstream waits for.
const upstreamPatience = 2 * time.Second

// upstream is the supervisor of this supervisor: systemd, or nobody, to whom
// everything can be said as well. What is said goes out in order from a goroutine
// of its own, so that no method but store waits for anybody. Any goroutine may
// call any method.
//
// The life of one:
//
//	openUpstream   first of all, before anything is started or opened
//	take           in place of opening a socket, for each socket of the plan
//	inherited      then: kept sockets of an earlier supervisor; take those too
//	drop           when nobody wants what is left
//	store          each socket that is owned, as soon as it is; again is harmless
//	forget         each that is closed for good
//	watch          when the loop runs
//	ready          when every service that starts by itself serves or has failed
//	status         whenever a service's state changes
//	reloading      when a signal (SIGUSR2, SIGHUP) asks for something; done when that is over
//	stopping       when the end begins
//	close          last of all, and before an exec, for which environ is what to pass on
//
// A socket that was taken or stored stays with the upstream when this process
// ends. Its path, if it is a unix socket, must then stay too: whoever comes next
// gets the socket, not the path.
type upstream struct {
	notifier *handover.Notifier
	socket   string        // NOTIFY_SOCKET; "" is nobody
	watchdog time.Duration // 0: none

	mu       sync.Mutex
	given    []handover.Socket // that nobody has taken
	kept     map[string]bool   // names in the store, as far as is known
	line     string            // the status as said last
	reloads  int               // under way
	queue    [][]string
	sending  bool // of what was queued
	closed   bool
	problem  func(error) // told of the first thing that could not be said
	wake     chan struct{}
	finished chan struct{} // the goroutine has ended
}

// openUpstream takes what is for this process out of its environment. An error
// names what could not be taken over; the upstream is usable all the same, and
// the error is best shown and survived: what systemd keeps it would give to every
// supervisor to come. problem is called when something could not be said, from
// any goroutine, once.
func openUpstream(problem func(error)) (*upstream, error) {
	in, err := handover.Inherit()
	if in.Solo != nil {
		in.Solo.Close()
	}
	if in.Journal != nil {
		in.Journal.Close()
	}
	return newUpstream(in, problem), err
}

func newUpstream(in handover.Inheritance, problem func(error)) *upstream {
	u := &upstream{
		notifier: handover.NewNotifier(in.NotifySocket), socket: in.NotifySocket,
		given: in.Sockets, kept: map[string]bool{}, problem: problem,
		wake: make(chan struct{}, 1), finished: make(chan struct{}),
	}
	if usec, err := strconv.ParseInt(in.Watchdog, 10, 64); err == nil && usec > 1 && u.socket != "" {
		u.watchdog = time.Duration(usec) * time.Microsecond
	}
	go u.send()
	return u
}

// storeName is what a socket of a service is called in the store. The address is
// part of it: a file that was changed meanwhile asks for another socket. "" is
// the address of one that a generation has opened.
func storeName(service, socket, addr string) string {
	name := service + "/" + socket
	if addr != "" {
		name += "@" + notInNames.Replace(addr)
	}
	return name
}

// notInNames are characters that a descriptor's name cannot have.
var notInNames = strings.NewReplacer(":", ";", "=", "_", " ", "_")

// take returns the socket that came under the first of these names, which is the
// caller's then; nil if there is none. The names of a socket of the plan are
// storeName with its address, then what a socket unit may call it
// (FileDescriptorName= in systemd.socket(5)): storeName without, and if no other
// service has one of that name, the socket's own.
func (u *upstream) take(names ...string) *os.File {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, name := range names {
		i := slices.IndexFunc(u.given, func(s handover.Socket) bool { return s.Name == name })
		if i >= 0 {
			f := u.given[i].File
			u.given = slices.Delete(u.given, i, i+1)
			for _, name := range names { // whatever it is called, it is there
				u.kept[name] = true
			}
			return f
		}
	}
	return nil
}

// inherited are the names of what nobody has taken yet.
func (u *upstream) inherited() (names []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.given {
		names = append(names, s.Name)
	}
	return names
}

// drop closes what nobody has taken, here and in the store, and returns its
// names.
func (u *upstream) drop() (names []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.given {
		s.File.Close()
		names = append(names, s.Name)
		u.say("FDSTOREREMOVE=1", "FDNAME="+s.Name)
	}
	u.given = nil
	return names
}

// store has the upstream keep a copy of a socket, which a later supervisor then
// takes by this name; one that is there already is left alone. It is told at
// once, and systemd keeps it only if FileDescriptorStoreMax= allows for it, which
// it does not tell.
func (u *upstream) store(name string, f *os.File) error {
	u.mu.Lock()
	there := u.kept[name]
	u.kept[name] = true
	u.mu.Unlock()
	if there || u.socket == "" {
		return nil
	}
	if err := handover.CheckName(name); err != nil {
		return fmt.Errorf("cannot have systemd keep a socket: %w", err)
	}
	if err := u.notifier.SendFile(f, "FDSTORE=1", "FDNAME="+name); err != nil {
		return fmt.Errorf("cannot have systemd keep socket %q: %w", name, err)
	}
	return nil
}

// forget takes a socket out of the store.
func (u *upstream) forget(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.kept[name] {
		delete(u.kept, name)
		u.say("FDSTOREREMOVE=1", "FDNAME="+name)
	}
}

// ready says that what is wanted is there.
func (u *upstream) ready(line string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.line = line
	u.say("READY=1", "STATUS="+line)
}

// status says how things are, in one line; the same line again says nothing.
func (u *upstream) status(line string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if line == u.line {
		return
	}
	u.line = line
	u.say("STATUS=" + line)
}

// reloading says that something is being replaced; done, that it is over. Of
// several at once the last one's end counts. After a `systemctl reload` with
// Type=notify-reload systemd waits for both.
func (u *upstream) reloading() (done func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reloads++
	u.say("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonicMicroseconds(), 10))
	return sync.OnceFunc(func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.reloads--; u.reloads == 0 {
			u.say("READY=1", "STATUS="+u.line)
		}
	})
}

// there says whether there is one.
func (u *upstream) there() bool { return u.socket != "" }

// stopping says that the end has begun.
func (u *upstream) stopping() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.say("STOPPING=1")
}

// watch says twice in each interval that systemd allows (WatchdogSec=) that this
// process is well, as long as alive, which is asked each time, says so. It should
// ask whoever would hang, and return no later than ctx. stop ends it.
func (u *upstream) watch(alive func(ctx context.Context) bool) (stop func()) {
	if u.watchdog == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(u.watchdog / 2)
		defer tick.Stop()
		for {
			if well(ctx, u.watchdog/2, alive) {
				u.mu.Lock()
				u.say("WATCHDOG=1")
				u.mu.Unlock()
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); running.Wait() }
}

func well(ctx context.Context, within time.Duration, alive func(context.Context) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return alive(ctx)
}

// environ is what this process found in its environment, for one that is
// executed in its place. Sockets are not in it: they are passed like all others.
func (u *upstream) environ() (env []string) {
	if u.socket != "" {
		env = append(env, handover.EnvNotifySocket+"="+u.socket)
	}
	if u.watchdog > 0 {
		env = append(env, handover.EnvWatchdogUsec+"="+strconv.FormatInt(u.watchdog.Microseconds(), 10))
	}
	return env
}

// close returns when what was said is sent, within two seconds, and closes what
// nobody has taken. Nothing can be said any more.
func (u *upstream) close() error {
	u.mu.Lock()
	was := u.closed
	u.closed = true
	for _, s := range u.given {
		s.File.Close()
	}
	u.given = nil
	u.mu.Unlock()
	if was {
		return nil
	}
	close(u.wake)
	select {
	case <-u.finished:
		return nil
	case <-time.After(upstreamPatience):
		return errors.New("cannot tell systemd everything: it does not read what it is sent")
	}
}

// flush returns when what was said is sent, within two seconds.
func (u *upstream) flush() {
	late := time.Now().Add(upstreamPatience)
	for {
		u.mu.Lock()
		sent := len(u.queue) == 0 && !u.sending
		u.mu.Unlock()
		if sent || time.Now().After(late) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// say queues one message; the caller holds mu. Of two lines of status in a row
// the first is not worth sending.
func (u *upstream) say(assignments ...string) {
	if u.socket == "" || u.closed {
		return
	}
	if n := len(u.queue); n > 0 && len(u.queue[n-1]) == 1 && strings.HasPrefix(u.queue[n-1][0], "STATUS=") && strings.HasPrefix(assignments[0], "STATUS=") {
		u.queue = u.queue[:n-1]
	}
	u.queue = append(u.queue, assignments)
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// send sends what is queued, until close.
func (u *upstream) send() {
	defer close(u.finished)
	defer u.notifier.Close()
	for open := true; open; {
		_, open = <-u.wake
		for {
			u.mu.Lock()
			queue := u.queue
			u.queue = nil
			u.sending = len(queue) > 0
			u.mu.Unlock()
			if len(queue) == 0 {
				break
			}
			for _, message := range queue {
				err := u.notifier.Send(message...)
				if err != nil && u.problem != nil {
					u.problem(err)
					u.problem = nil
				}
			}
		}
	}
}

// summary is the line of status for what is supervised.
func summary(services []client.Status) string {
	if len(services) == 0 {
		return "nothing is supervised"
	}
	line := ""
	if len(services) == 1 {
		s := services[0]
		line = s.Service + ": " + string(s.State)
		if s.Reason != "" {
			line += ": " + s.Reason
		}
	} else {
		counts := map[client.State]int{}
		for _, s := range services {
			counts[s.State]++
		}
		var parts []string
		for _, state := range []client.State{client.Serving, client.Restarting, client.Starting, client.Waiting,
			client.BackingOff, client.Stopping, client.Stopped, client.Failed} {
			if n := counts[state]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, state))
			}
		}
		line = fmt.Sprintf("%d services: %s", len(services), strings.Join(parts, ", "))
	}
	for _, s := range services {
		if r := s.LastReport; r != nil && r.Outcome == client.RolledBack && s.State == client.Serving {
			line += fmt.Sprintf("; the last restart of %s was rolled back: %s", s.Service, r.Reason)
		}
	}
	line, _, more := strings.Cut(line, "\n")
	if i := strings.LastIndex(line, "; "); more && i > 0 {
		line = line[:i] // "its last output was:"
	}
	return line
}
