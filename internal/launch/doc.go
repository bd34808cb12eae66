// Package launch stands between a supervisor and the program it starts: it does in
// the new process what os/exec cannot do before the program begins.
//
// Guarantees:
//
//  1. What [Spec] says holds from the program's first instruction on, or the program
//     is not started and [Spec.Start] says why.
//  2. The program has the process id, the start time and the process group of the
//     process that was started. Nothing stays in between.
//  3. It gets no descriptor and no variable of this package's.
//
// Not promised: anything but Linux. Elsewhere a Spec that is not zero is refused.
//
// The supervisor's own program is what runs in between: its main calls [Main]
// before anything else.
package launch
