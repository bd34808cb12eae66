package supervise

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// watch tells that something has happened in a directory, once each time it is
// armed: a service that writes all the time must not wake its supervisor all the
// time.
type watch struct{ dir string }

// lookout is where all watches of this process are, since a user may have no more
// than 128 of it (inotify(7)). It is there while there are watches.
var lookout struct {
	sync.Mutex
	watches int
	kernel  *fsnotify.Watcher
	armed   map[string][]chan struct{} // by directory
	done    chan struct{}
}

// watchDir makes a watch. It is to be closed.
func watchDir(dir string) (*watch, error) {
	lookout.Lock()
	defer lookout.Unlock()
	if lookout.watches == 0 {
		kernel, err := fsnotify.NewWatcher()
		if err != nil {
			return nil, fmt.Errorf("cannot watch %s: %w", dir, err)
		}
		lookout.kernel, lookout.armed, lookout.done = kernel, map[string][]chan struct{}{}, make(chan struct{})
		go keepLookout(kernel, lookout.done)
	}
	lookout.watches++
	return &watch{filepath.Clean(dir)}, nil
}

// arm returns a channel that is closed when something happens from now on. Without
// disarm the watch stays armed until then.
func (w *watch) arm() (<-chan struct{}, error) {
	lookout.Lock()
	defer lookout.Unlock()
	if len(lookout.armed[w.dir]) == 0 {
		if err := lookout.kernel.Add(w.dir); err != nil {
			return nil, fmt.Errorf("cannot watch %s: %w", w.dir, err)
		}
	}
	c := make(chan struct{})
	lookout.armed[w.dir] = append(lookout.armed[w.dir], c)
	return c, nil
}

// disarm takes back what arm returned.
func (w *watch) disarm(armed <-chan struct{}) {
	lookout.Lock()
	defer lookout.Unlock()
	before := lookout.armed[w.dir]
	after := slices.DeleteFunc(before, func(c chan struct{}) bool { return c == armed })
	if lookout.armed[w.dir] = after; len(before) > 0 && len(after) == 0 {
		lookout.kernel.Remove(w.dir)
	}
}

func (w *watch) close() {
	lookout.Lock()
	lookout.watches--
	last, done := lookout.watches == 0, lookout.done
	if last {
		lookout.kernel.Close()
	}
	lookout.Unlock()
	if last {
		<-done
	}
}

// keepLookout passes on what the kernel says.
func keepLookout(kernel *fsnotify.Watcher, done chan struct{}) {
	defer close(done)
	happened := func(in func(dir string) bool) {
		lookout.Lock()
		defer lookout.Unlock()
		if lookout.kernel != kernel {
			return
		}
		for dir, all := range lookout.armed {
			if in(dir) {
				for _, c := range all {
					close(c)
				}
				delete(lookout.armed, dir)
				kernel.Remove(dir)
			}
		}
	}
	for {
		select {
		case e, ok := <-kernel.Events:
			if !ok {
				return
			}
			happened(func(dir string) bool { return dir == e.Name || dir == filepath.Dir(e.Name) })
		case _, ok := <-kernel.Errors: // such as more events than it can keep
			if !ok {
				return
			}
			happened(func(string) bool { return true })
		}
	}
}
