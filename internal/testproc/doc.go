// Package testproc is what tests need of real processes: a real systemd, the end
// of a process that is not theirs, a condition that nothing announces.
//
// Promised: whatever it starts ends with the test, and a failure is the test's. It
// says loudly, in a skip, what a machine does not have.
package testproc
