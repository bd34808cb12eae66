// Package cli is the segue command.
//
// Guarantees:
//
//  1. Data goes to standard output, everything else to standard error; with
//     --json both are one JSON value a line, but for what a service writes:
//     that stays as it is.
//  2. An error is two lines: what could not be done, and what to do.
//  3. The exit code is one of those in exit.go, except under `segue run` as
//     PID 1, where it is the service's.
//  4. Nothing here exits the process: [Main] returns.
//
// A command is a file, cmd_NAME.go: its flags, and what it asks of the
// supervisor. What is on the screen is made in screen.go (where lines go),
// progress.go (events), report.go and status.go (tables), watch.go (a table that
// changes).
package cli
