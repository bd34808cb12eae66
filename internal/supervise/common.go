package supervise

import (
	"errors"
	"os"
	"sync"

	"github.com/segue-go/segue/handover"
)

// common is what the instances of one service share. It is let go of by the last
// of them.
type common struct {
	sockets *sockets
	solo    *os.File // nil where it cannot be had

	mu   sync.Mutex
	uses int // -1 when it was let go of
}

// newCommon is for the instances of a service; nobody uses it yet.
func newCommon(of origin) (*common, error) {
	x := &common{sockets: &sockets{from: of}, solo: of.estate().take(of.service + "/solo")}
	if x.solo != nil {
		return x, nil
	}
	var err error
	if x.solo, err = handover.NewSoloLock(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	return x, nil
}

// over says whether the last user has let go.
func (x *common) over() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.uses < 0
}

// hold is for one more user. It fails when the last one has let go.
func (x *common) hold() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.uses < 0 {
		return false
	}
	x.uses++
	return true
}

func (x *common) release() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.uses--; x.uses > 0 {
		return
	}
	x.uses = -1
	x.sockets.close()
	if x.solo != nil {
		x.solo.Close()
	}
}

// origin is where the sockets of a service come from, and who else has them.
type origin struct {
	of      *Supervisor // nil for a Service that is alone
	service string
}

func (o origin) estate() *estate {
	if o.of == nil {
		return nil
	}
	return o.of.estate
}

// given is a socket that is there already; nil when there is none.
func (o origin) given(l Listen) *os.File {
	if o.of == nil {
		return nil
	}
	return o.of.given(o.service, l)
}

// opened is called for one that this supervisor has.
func (o origin) opened(l Listen, f *os.File) {
	if o.of != nil {
		o.of.problem(o.of.upstream.store(storeName(o.service, l.Name, l.Addr), f))
	}
}

// closed is called for one that is closed though the service goes on.
func (o origin) closed(l Listen) {
	if o.of != nil {
		o.of.upstream.forget(storeName(o.service, l.Name, l.Addr))
	}
}

// stay says that the paths of unix sockets stay at the end: somebody else has the
// sockets.
func (o origin) stay() bool { return o.of != nil && o.of.upstream.there() }
