// Package archtest holds the tests that keep the architecture what
// docs/ARCHITECTURE.md says it is. It has no code.
//
// They check, for code that is not a test's and on every platform at once, that
// a package imports only what its row of the layer table names; that every
// package has a row and every row a package; that a row names lower layers only;
// that other modules of the repository import public packages only; that the
// files that start goroutines are those of the goroutine table; and that every
// package has exactly one package comment.
//
// They do not check what a package does with what it may import.
package archtest
