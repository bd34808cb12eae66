package deploy

import (
	"io/fs"
	"time"
)

// Job is a program that another supervisor is to run.
type Job struct {
	Name     string   // of the unit, and of the supervisor in it
	Command  []string // absolute path of the program, and its arguments
	Restart  []string // replaces the services, and ends with the result; for Segue only
	Services []string // that segue supervises; none: the program is a service that uses the library
	Dir      string   // working directory, absolute; "" for none
	User     string   // "" is root
	Group    string   // "" is the user's
	Stop     time.Duration
	Sockets  []Socket // all that are known
}

// Supervised says whether the job is `segue run`.
func (j Job) Supervised() bool { return len(j.Services) > 0 }

// Socket is one that the other supervisor may open in place of the job.
type Socket struct {
	Service string // "" when there is only the program itself
	Name    string
	Addr    string // as handover.SplitAddr reads it
	Mode    fs.FileMode
	Owner   string
	Group   string
}

// File is one that was written: its name, without a directory, and what is in it.
type File struct {
	Name string `json:"name"`
	Text string `json:"text"`
}
