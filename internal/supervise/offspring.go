package supervise

import "sync"

// offspring is the processes that this program has started and waits for. It is
// one for the program, as the children of a process are.
var offspring = brood{pids: map[int]struct{}{}}

type brood struct {
	mu   sync.Mutex
	pids map[int]struct{}
}

// start runs f, which starts a process. What asks about children meanwhile waits.
// forget is due when somebody has waited for it.
func (b *brood) start(f func() (pid int, err error)) (forget func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pid, err := f()
	if err != nil {
		return nil, err
	}
	b.pids[pid] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.pids, pid)
	}, nil
}

// strangers calls each for those of the children that it has not started.
func (b *brood) strangers(children []int, each func(pid int)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, pid := range children {
		if _, ours := b.pids[pid]; !ours {
			each(pid)
		}
	}
}
