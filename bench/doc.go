// Package bench measures what Segue costs. The benchmarks are in its tests; the
// program cmd/bench runs them and compares the figures with their targets:
//
//	go run ./bench/cmd/bench          # all, about six minutes; writes RESULTS.md
//	go run ./bench/cmd/bench -brief   # about a minute, wide intervals
//	go test -bench . -count 10 ./bench | tee new.txt; benchstat old.txt new.txt
//
// Promised:
//
//  1. What is compared is measured in turns of a fraction of a second, in one
//     run, in an order that changes, so that a machine that gets slower gets
//     slower for both. The benchmarks report the difference of neighbouring
//     turns as a metric of its own; the usual ns/op would compare minutes.
//  2. Each -count begins with fresh processes: two processes of one program
//     differ by a percent or so for as long as they live, because of where
//     their memory happens to lie. BenchmarkRequest shows by how much: it has a
//     second bare server, and same-* is that one against the first.
//  3. Clients that a figure includes are the same for both, cost as little as
//     possible, and never retry.
//  4. Nothing is left running.
//
// Not promised: absolute figures. The client shares the cores with the server,
// over loopback, so requests per second are good for the comparison only.
//
// The benchmarks:
//
//   - BenchmarkRequest: a bare Gin JSON route, in processes of its own, over TCP
//     keep-alive connections: throughput, processor time and allocations.
//   - BenchmarkLayer: what is called for a request by net/http, without a
//     connection: the layer alone.
//   - BenchmarkIdleConnection: memory of a server for a connection that waits
//     for its next request.
//   - BenchmarkRestart: from the trigger to the first answer of the new
//     generation, less its own start and the trial. Linux only; it builds and
//     drives the segue command.
package bench
