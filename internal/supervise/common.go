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

// openCommon opens the sockets of c and makes its solo lock. The caller holds it.
func openCommon(c Config) (_ *common, err error) {
	x := &common{uses: 1}
	if x.sockets, err = openSockets(c.Listen); err != nil {
		return nil, err
	}
	if x.solo, err = handover.NewSoloLock(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		x.sockets.close()
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
