// Package deploy writes what another supervisor, systemd or supervisord, needs to
// run `segue run`, or a service that uses the library without it.
//
// Guarantees:
//
//  1. The text depends on the [Job] only. Any argument, path or address in it
//     means the same when that supervisor has read it; what cannot be written so
//     that it does is an error.
//  2. What is written runs as it is, and says in comments why its unusual lines
//     are there.
//  3. The time to stop that it allows is the job's: nothing is killed that is
//     still within its budget.
//
// Not promised: that the user, the paths and the programs exist. Nothing is
// installed, started or even looked at.
package deploy
