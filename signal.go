package segue

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// signals starts listening, unless the user keeps the signals to himself.
func (m *machine) signals() (<-chan os.Signal, func()) {
	if m.opts.NoSignals {
		return nil, func() {}
	}
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, slices.Concat(leaveSignals, otherSignals)...)
	return ch, func() { signal.Stop(ch) }
}

// signal obeys one signal. What takes time happens beside the loop.
func (m *machine) signal(s os.Signal) {
	said := func(meaning string) { m.out.emit(SignalReceived{signalName(s), meaning}) }
	switch {
	case slices.Contains(leaveSignals, s) && m.force != nil && !m.spared:
		said("leaving at once")
		m.force(ErrForced)
	case slices.Contains(leaveSignals, s):
		said("leaving; once more to leave at once")
		m.spared = false
		m.leave(signalName(s), false)
	case s == reloadSignal:
		said("reloading")
		go m.reload(context.Background())
	case s == upgradeSignal:
		said("handing over")
		m.upgrade()
	case s == stacksSignal:
		said("dumping goroutines")
		m.out.emit(Goroutines{stacks()})
	}
}

// reload runs the reload functions in order, within StartTimeout. Rounds come one
// after the other, and none begins once the service leaves.
func (m *machine) reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.opts.StartTimeout)
	defer cancel()
	m.reloading.Lock()
	defer m.reloading.Unlock()
	if p := m.app.Phase(); p != Ready && p != Paused {
		err := fmt.Errorf("cannot reload while the service is %v", p)
		m.out.emit(Reloaded{err})
		return err
	}
	m.announceReload()
	var err error
	for _, r := range m.app.reloads {
		if err = guard("reload", func() error { return r.f(ctx) }); err != nil {
			err = fmt.Errorf("%s: %w", r.name, err)
			break
		}
	}
	m.say("READY=1")
	m.out.emit(Reloaded{err})
	return err
}

// announceReload is the first half of systemd's reload protocol
// (Type=notify-reload in systemd.service(5)); READY=1 is the second.
func (m *machine) announceReload() {
	m.say("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonicMicroseconds(), 10))
}

// watchdog ticks twice in each interval that the supervisor allows
// (sd_watchdog_enabled(3)). The loop answers it, so a ping means that the loop
// is alive.
func (m *machine) watchdog() (<-chan time.Time, func()) {
	usec, err := strconv.ParseInt(m.in.Watchdog, 10, 64)
	if err != nil || usec < 2 {
		return nil, func() {}
	}
	t := time.NewTicker(time.Duration(usec) * time.Microsecond / 2)
	return t.C, t.Stop
}

// stacks is every goroutine's stack, at most 4 MiB of it.
func stacks() string {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= 4<<20 {
			return string(buf[:n])
		}
		buf = make([]byte, 4*len(buf))
	}
}
