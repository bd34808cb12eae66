package supervise

import (
	"cmp"
	"fmt"
	"os"
)

// output is where one generation writes: descriptors of its own, so that the end
// of the supervisor is nothing to it.
type output struct {
	stdout, stderr *os.File
	log            *os.File // locked; nil when there is none
	socket         *os.File // the journal's; likewise
}

// open makes the output of a new generation, and forgets old ones. When it goes
// elsewhere there is a file all the same, which says where: numbers go on, and who
// looks for the output is told. An error comes with the supervisor's own output:
// nothing that is wrong with logs must keep a service down.
func (l logs) open(generation int, service string, how Logs) (*output, error) {
	l.forget(cmp.Or(how.Keep, DefaultLogKeep))
	o := &output{stdout: os.Stdout, stderr: os.Stderr}
	log, err := l.create(generation)
	if err == nil {
		o.log = log
	}
	switch how.To {
	case ToParent:
		o.note("the output of %s goes where that of its supervisor goes; under systemd `journalctl -u` with the supervisor's unit shows it", service)
		return o, nil
	case ToJournal:
		if o.socket, err = openJournal(service); err == nil {
			o.stdout, o.stderr = o.socket, o.socket
			o.note("the output of %s goes to the journal; `journalctl -t %s` shows it", service, service)
		}
	default:
		if err == nil {
			o.stdout, o.stderr = log, log
		}
	}
	return o, err
}

func (o *output) note(format string, args ...any) {
	if o.log != nil {
		fmt.Fprintf(o.log, "segue: "+format+"\n", args...)
	}
}

// adopt is the output of a generation that a supervisor has left, a process of
// which is pid: with the log as that has it open, so that end can unlock it.
func (l logs) adopt(generation, pid int) *output {
	f, err := outputOf(pid)
	if err != nil {
		return &output{}
	}
	theirs, err := f.Stat()
	if ours, bad := os.Stat(l.path(generation)); err != nil || bad != nil || !os.SameFile(theirs, ours) {
		f.Close() // it goes elsewhere
		return &output{}
	}
	return &output{log: f}
}

// end says that the generation has ended in order. What it may have left running
// outside its process group is no generation.
func (o *output) end() {
	if o.log != nil {
		unlock(o.log)
		o.log.Close()
	}
	if o.socket != nil {
		o.socket.Close()
	}
}
