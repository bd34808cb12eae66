// Package e2e holds the tests at the top rung: a real service in real
// processes, restarted under real mixed traffic whose clients never retry, on
// loopback and through a proxy that delays bytes, FIN and RST. The assertion is
// the product's claim: lost 0, applied twice 0.
//
// SEGUE_SOAK=1 makes them 100 restarts long.
package e2e
