// Command supervise measures a supervisor against others and against what it should
// cost, and prints target, figure and verdict for each row:
//
//	go run ./bench/cmd/supervise [-n 50] [-idle 60s] [-only crash,idle,output] [-out FILE]
//
// Three things are measured:
//
//   - crash: from the death of a service to the first answer of the next process, for
//     `segue run`, supervisord and a real systemd, in turns, and what a client sees that
//     connects right after the death and never retries. The service is the same program.
//     It kills itself; the clock starts when the connection over which it was asked to
//     breaks, which is when the kernel has closed its sockets.
//   - idle: wake-ups, processor time and memory of `segue run` with services that do
//     nothing.
//   - output: processor time of `segue run` while a service writes 100 MB.
//
// Linux only. A supervisor that the machine does not have is left out, and named; a
// private systemd needs root (tools/systemd-up.sh). Nothing is left running.
package main
