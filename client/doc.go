// Package client talks to a Segue supervisor over its unix socket, and defines
// what is said: these types are the JSON of the control API.
//
// Guarantees: a [Report] is the last word on a restart or a stop; events arrive
// in the order in which things happened; a type gains fields and never changes
// the meaning of one within an API version. Not promised: that every event
// reaches a subscriber that does not keep up (see [Event]).
package client
