package grpcsegue

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
)

// The kinds of calls of a flow. The last two are longer than a handover.
const (
	quick  = "quick"
	slow   = "slow"
	stream = "stream"
)

// long is how long calls take that are to be in flight all the time: a handover
// takes a third of a second.
const long = time.Second

// flow is calls under way, and the clients' ledger of them.
type flow struct {
	t       testing.TB
	addr    string
	over    chan struct{}
	clients sync.WaitGroup

	mu     sync.Mutex
	began  map[string]time.Time // of the calls in flight, by id
	kinds  map[string]string    // of these
	acked  map[string]bool      // ids
	served map[string]int       // calls, by kind and process
	moved  chan struct{}        // closed and replaced whenever something changes
}

// newFlow begins it: three clients of each kind, each of which makes its next
// call when it has the answer.
func newFlow(t testing.TB, addr string) *flow {
	f := &flow{t: t, addr: addr, over: make(chan struct{}), moved: make(chan struct{}),
		began: map[string]time.Time{}, kinds: map[string]string{}, acked: map[string]bool{}, served: map[string]int{}}
	for kind, call := range map[string]func(context.Context, pb.TestServiceClient, *pb.Payload) (pid string, err error){
		quick: unary,
		slow: func(ctx context.Context, c pb.TestServiceClient, id *pb.Payload) (string, error) {
			return unary(metadata.AppendToOutgoingContext(ctx, work, long.String()), c, id)
		},
		stream: streaming,
	} {
		for n := range 3 {
			c := newClient(t, addr)
			f.clients.Go(func() {
				for seq := 0; !f.ended(); seq++ {
					id := fmt.Sprintf("%s-%d-%d", kind, n, seq)
					f.begin(kind, id)
					ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
					pid, err := call(ctx, c, &pb.Payload{Body: []byte(id)})
					cancel()
					if f.end(kind, id, pid, err); err != nil {
						return
					}
				}
			})
		}
	}
	return f
}

func unary(ctx context.Context, c pb.TestServiceClient, id *pb.Payload) (string, error) {
	resp, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: id})
	return string(resp.GetPayload().GetBody()), err
}

func streaming(ctx context.Context, c pb.TestServiceClient, id *pb.Payload) (string, error) {
	const messages = 100
	ask := &pb.StreamingOutputCallRequest{Payload: id}
	for range messages {
		ask.ResponseParameters = append(ask.ResponseParameters, &pb.ResponseParameters{IntervalUs: int32(long.Microseconds() / messages)})
	}
	out, err := c.StreamingOutputCall(ctx, ask)
	if err != nil {
		return "", err
	}
	from := ""
	for n := 0; ; n++ {
		m, err := out.Recv()
		if err == io.EOF && n == messages {
			return from, nil
		}
		if err != nil {
			return "", fmt.Errorf("after %d of %d messages: %w", n, messages, err)
		}
		if pid := string(m.Payload.Body); from == "" {
			from = pid
		} else if pid != from {
			return "", fmt.Errorf("it began in process %s and went on in %s", from, pid)
		}
	}
}

func (f *flow) ended() bool {
	select {
	case <-f.over:
		return true
	default:
		return false
	}
}

func (f *flow) begin(kind, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.began[id], f.kinds[id] = time.Now(), kind
	f.changed()
}

func (f *flow) end(kind, id, pid string, err error) {
	if err != nil {
		f.t.Errorf("lost %s: %v", id, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.began, id)
	delete(f.kinds, id)
	if err == nil {
		f.acked[id] = true
		f.served[kind+" "+pid]++
	}
	f.changed()
}

// changed wants mu.
func (f *flow) changed() {
	close(f.moved)
	f.moved = make(chan struct{})
}

// inFlight counts, by kind, the calls under way now that had begun by at.
func (f *flow) inFlight(at time.Time) map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := map[string]int{}
	for id, began := range f.began {
		if began.Before(at) {
			count[f.kinds[id]]++
		}
	}
	return count
}

// hasServed waits until process pid has answered one more call of every kind.
func (f *flow) hasServed(pid int) {
	f.t.Helper()
	count := func(kind string) int { return f.served[fmt.Sprint(kind, " ", pid)] }
	f.mu.Lock()
	before := map[string]int{quick: count(quick), slow: count(slow), stream: count(stream)}
	f.mu.Unlock()
	f.until(fmt.Sprintf("process %d serves every kind of call", pid), func() bool {
		return count(quick) > before[quick] && count(slow) > before[slow] && count(stream) > before[stream]
	})
}

// underWay waits until calls of every kind are in flight. Clients that began
// together are between two calls together.
func (f *flow) underWay() {
	f.t.Helper()
	f.until("calls of every kind are in flight", func() bool {
		var now []string
		for _, kind := range f.kinds {
			now = append(now, kind)
		}
		return slices.Contains(now, quick) && slices.Contains(now, slow) && slices.Contains(now, stream)
	})
}

// until waits for a condition, which is asked with mu held.
func (f *flow) until(what string, ok func() bool) {
	f.t.Helper()
	late := time.After(patience)
	for {
		f.mu.Lock()
		yes, moved := ok(), f.moved
		f.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-moved:
		case <-late:
			f.t.Fatalf("it never happened that %s", what)
		}
	}
}

// stop ends the calls, each with its answer.
func (f *flow) stop() {
	if !f.ended() {
		close(f.over)
	}
	f.clients.Wait()
}

// account compares the clients' ledger with the service's: every call that was
// answered was applied once, and none twice.
func (f *flow) account(ledger string) {
	f.t.Helper()
	file, err := os.Open(ledger)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	applied := map[string]int{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		applied[lines.Text()]++
	}
	if err := lines.Err(); err != nil {
		f.t.Fatal(err)
	}
	for id, n := range applied {
		if n > 1 {
			f.t.Errorf("%s was applied %d times", id, n)
		}
		if !f.acked[id] {
			f.t.Errorf("%s was applied, and its client has no answer", id)
		}
	}
	for id := range f.acked {
		if applied[id] == 0 {
			f.t.Errorf("%s was answered and not applied", id)
		}
	}
	f.t.Logf("%d calls answered, %d applied; by kind and process: %v", len(f.acked), len(applied), f.served)
}
