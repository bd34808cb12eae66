// Command move measures what a restart does to live connections, against the
// record that this project has set itself, and prints target, figure and
// verdict for each row:
//
//	go run ./bench/cmd/move [-conns 9500] [-restarts 100]
//
// The service is a process of its own that is replaced by SIGUSR2; it is this
// program again. The clients are raw: they never retry and never reconnect.
package main
