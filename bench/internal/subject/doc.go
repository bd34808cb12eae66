// Package subject is the service that is measured: one Gin route that answers
// JSON, and one on which the process says what it has cost.
//
// Promised:
//
//  1. The two kinds differ in nothing but the layer: the same router, the same
//     ReadHeaderTimeout, the same program.
//  2. A process of it does not outlive the benchmark that started it.
package subject
