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
	uses int
}

// newCommon is nothing but the lock for solo tasks, or that of before. The caller
// holds it. from is for its sockets.
func newCommon(solo *os.File, from source) (*common, error) {
	x := &common{uses: 1, solo: solo, sockets: &sockets{from: from}}
	if solo != nil {
		return x, nil
	}
	var err error
	if x.solo, err = handover.NewSoloLock(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	return x, nil
}

// hold is for one more instance.
func (x *common) hold() *common {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.uses++
	return x
}

func (x *common) release() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.uses--; x.uses > 0 {
		return
	}
	x.sockets.close()
	if x.solo != nil {
		x.solo.Close()
	}
}
