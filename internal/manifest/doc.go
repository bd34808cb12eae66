// Package manifest reads segue.yaml into what a supervisor supervises.
//
// Guarantees:
//
//  1. A file is taken whole or not at all: with any problem there is no plan.
//  2. All problems are found together (the first 100), each with the line and the
//     column where it is to be mended, also when it came by an anchor or a merge.
//  3. What is read, the JSON schema, suggestions and the reference in
//     docs/SEGUE_YAML.md come from one table (table.go), as do the defaults: a key
//     that is left out is read as if its default were written.
//  4. Every plan that is returned passes [supervise.Plan.Check].
//  5. Values of variables, webhooks and what ${NAME} stands for are in no message.
//  6. Work is bounded: by the size of the file, and by what aliases make of it.
//
// Not promised: that what was there when the file was read (programs, users,
// directories, env files) is there when the service starts. Nothing is opened or
// bound.
package manifest
