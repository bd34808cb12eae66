package handover_test

import (
	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/handover"
)

// The two packages do not import each other: package segue puts them together.
var (
	_ conns.Carrier       = (*handover.ServerDeparture)(nil)
	_ handover.Passengers = (*conns.Arrivals)(nil)
)
