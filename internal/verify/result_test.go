package verify

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// manual is a kind whose requests end when and how the test says.
type manual struct{ fates chan error }

func (m manual) Name() string { return "manual" }
func (m manual) Open(_ Target, workers int) ([]Sender, error) {
	return slices.Repeat([]Sender{manualSender(m)}, workers), nil
}

type manualSender manual

func (m manualSender) Close() error { return nil }
func (m manualSender) Send(ctx context.Context, r *Request) error {
	select {
	case err := <-m.fates:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestInFlightAndWindows(t *testing.T) {
	m := manual{make(chan error)}
	r, err := Start(t.Context(), Options{Loads: []Load{{Kind: m, Workers: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	until := func(done func(Counts) bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := r.Await(ctx, func(c map[string]Counts) bool { return done(c["manual"]) }); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-time.Minute)
	until(func(c Counts) bool { return c.InFlight == 2 })
	t1 := time.Now()
	if got := r.InFlight()["manual"]; got != 2 {
		t.Errorf("%d in flight now", got)
	}
	m.fates <- nil
	until(func(c Counts) bool { return c.OK == 1 && c.InFlight == 2 })
	t2 := time.Now()
	m.fates <- errors.New("lost")
	until(func(c Counts) bool { return c.Lost == 1 && c.InFlight == 2 })
	t3 := time.Now()
	for _, tt := range []struct {
		from, to time.Time
		want     int
	}{{before, before, 0}, {t1, t1, 2}, {t2, t2, 2}, {t1, t2, 3}, {t1, t3, 4}, {before, t1, 2}} {
		if got := r.InFlightDuring(tt.from, tt.to)["manual"]; got != tt.want {
			t.Errorf("%d in flight from %v to %v, want %d", got, tt.from.Sub(t1), tt.to.Sub(t1), tt.want)
		}
	}
	if _, err := r.Compare(os.DevNull); err == nil {
		t.Error("compared while requests are in flight")
	}
	r.Mark("quiet", before, before.Add(time.Second))
	r.Mark("all", t1, t3)
	snap := r.Snapshot()
	if snap.Total.InFlight != 2 || snap.Total.Sent != 4 || snap.Total.OK != 1 || snap.Total.Lost != 1 {
		t.Errorf("snapshot %+v", snap.Total)
	}
	stopped := make(chan Result)
	go func() { stopped <- r.Stop() }()
	var res Result
	for over := false; !over; {
		select { // what is in flight is let finish, and so is what began before Stop did
		case m.fates <- nil:
		case res = <-stopped:
			over = true
		}
	}
	if res.Total.Sent < 4 || res.Total.OK != res.Total.Sent-1 || res.Total.Lost != 1 || res.Total.InFlight != 0 {
		t.Errorf("total %+v", res.Total)
	}
	if w := res.Windows; w[0].InFlight["manual"] != 0 || w[0].Lost != 0 || w[1].InFlight["manual"] != 4 || w[1].Lost != 1 {
		t.Errorf("windows %+v", w)
	}
	if res.Total.During.N != 3 || res.Total.Steady.N != res.Total.Sent-4 {
		t.Errorf("latencies: %d during, %d steady", res.Total.During.N, res.Total.Steady.N)
	}
	if res.Total.Causes[Other] != 1 || res.Total.Bound != 0 {
		t.Errorf("causes %v, bound %v", res.Total.Causes, res.Total.Bound)
	}
	again := r.Stop()
	if again.Total.Sent != res.Total.Sent || again.Took != res.Took {
		t.Errorf("a second Stop says %+v", again.Total)
	}
}

func TestLatencyIsNearestRank(t *testing.T) {
	var d []time.Duration
	for i := range 1000 {
		d = append(d, time.Duration(i+1))
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(d), func(i, j int) { d[i], d[j] = d[j], d[i] })
	if got := latency(d); got != (Latency{1000, 500, 990, 999, 1000}) {
		t.Errorf("%+v", got)
	}
	if got := latency([]time.Duration{7}); got != (Latency{1, 7, 7, 7, 7}) {
		t.Errorf("%+v", got)
	}
	if got := latency(nil); got != (Latency{}) {
		t.Errorf("%+v", got)
	}
}

func TestSilence(t *testing.T) {
	k := KindResult{Sent: 3, OK: 3}
	k.measure([]span{{0, 0, 5, true}, {0, 0, 50, true}, {0, 0, 20, false}, {0, 0, 10, true}}, nil, 60)
	if k.Silence != 40 { // the loss at 20 is no good answer
		t.Errorf("silence %d", k.Silence)
	}
	k.measure(nil, nil, 60)
	if k.Silence != 60 {
		t.Errorf("silence without any answer: %d", k.Silence)
	}
}

// A service that stalls makes later requests late, and their latency says so
// although they are answered at once.
func TestScheduleIsMadeBeforehand(t *testing.T) {
	rnd := func() *rand.Rand { return rand.New(rand.NewPCG(7, 7)) }
	l := Load{Workers: 4, Rate: 40} // each worker every 100 ms
	a, b := schedule(l, 2, rnd()), schedule(l, 2, rnd())
	for i := range 100 {
		due := a(0)
		if again := b(time.Hour); due != again {
			t.Fatalf("request %d is due at %v or at %v, with the same seed", i, due, again)
		}
		slot := 50*time.Millisecond + time.Duration(i)*100*time.Millisecond
		if due < slot || due > slot+50*time.Millisecond {
			t.Fatalf("request %d is due at %v, its slot is at %v", i, due, slot)
		}
	}
	closed := schedule(Load{Think: time.Second}, 0, rnd())
	if first, second := closed(5), closed(10); first != 5 || second != 10+time.Second {
		t.Errorf("without a rate: %v, %v", first, second)
	}
}

func TestStartRefuses(t *testing.T) {
	for _, tt := range []struct {
		loads []Load
		want  string
	}{
		{nil, "no loads"},
		{[]Load{{}}, "no Kind"},
		{[]Load{{Kind: KeepAlive()}, {Kind: KeepAlive()}}, "give one a Name"},
		{[]Load{{Kind: KeepAlive(), Name: "a b"}}, "cannot be the name"},
		{[]Load{{Kind: HTTP1{Label: "x"}}}, "no Exchange"},
		{[]Load{{Kind: HTTP2{Label: "x"}}}, "no Exchange"},
	} {
		if _, err := Start(t.Context(), Options{Loads: tt.loads}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.loads, err, tt.want)
		}
	}
}

func TestNothingSentProvesNothing(t *testing.T) {
	r := Result{Kinds: []KindResult{{Kind: "idle"}}}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "nothing is proven") {
		t.Error(err)
	}
}

func TestResultAsJSONAndTable(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	ms := time.Millisecond
	good := KindResult{Kind: "keep-alive", Sent: 3000, OK: 3000, Bound: 0.001, Connects: 12, Asked: 4,
		Steady:  Latency{2900, 1 * ms, 2 * ms, 3 * ms, 4 * ms},
		During:  Latency{100, 2 * ms, 5 * ms, 6 * ms, 7 * ms},
		Silence: 20 * ms}
	bad := KindResult{Kind: "one-shot", Sent: 100, OK: 98, Lost: 2, Causes: map[Cause]int{Refused: 1, Reset: 1},
		Steady: Latency{98, 1 * ms, 2 * ms, 2 * ms, 2 * ms}, Silence: 30 * ms,
		Examples: []Example{{ID: "r1-one-shot-0-7", Kind: "one-shot", Cause: Reset, Detail: "reset: read: connection reset by peer", Sent: at, At: at.Add(ms), Local: "127.0.0.1:40000"}}}
	res := Result{Run: "r1", Seed: 7, Began: at, Took: 10 * time.Second, Kinds: []KindResult{good, bad},
		Total:   KindResult{Kind: "total", Sent: 3100, OK: 3098, Lost: 2, Asked: 4, Steady: good.Steady, During: good.During, Silence: 20 * ms},
		Windows: []WindowResult{{Name: "restart 1"}},
		Service: &Comparison{Applied: 3099, Phantom: 1, Examples: map[string][]string{"applied_but_error": {"r1-one-shot-0-7"}}, Processes: map[string]int{"10/1": 1500, "11/2": 1599}}}
	var b strings.Builder
	if err := res.Table(&b); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/table.golden"
	want, err := os.ReadFile(golden)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if err != nil || b.String() != string(want) {
		t.Errorf("%v; run with UPDATE_GOLDEN=1 if this is right:\n%s", err, &b)
	}
	text, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(text, &back); err != nil || back.Kinds[1].Examples[0] != bad.Examples[0] || back.Total.Steady != good.Steady {
		t.Errorf("%v: %s", err, text)
	}
}

func TestAskWho(t *testing.T) {
	target := service(t, &http.Server{Handler: &Handler{Generation: "3", Version: "v2"}}, "")
	who, err := AskWho(t.Context(), target)
	if err != nil || who != (Who{os.Getpid(), "3", "v2"}) {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := AskWho(t.Context(), Target{Addr: "127.0.0.1:1"}); err == nil {
		t.Error("somebody answered at port 1")
	}
}
