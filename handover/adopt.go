package handover

import "errors"

// ErrProcessGone matches the error of [Watch] and [Borrow] when the process has ended,
// also when its number is another process's by now.
var ErrProcessGone = errors.New("the process has ended")

// Started is when the process was started, in the kernel's own units (see
// [StartTime]): with the number it names a process for as long as the machine is up.
// 0 when it is not known.
func (p *Process) Started() uint64 { return p.started }
