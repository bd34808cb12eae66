package model

// Applied says how often the effect of a request was committed. Anything but 1
// for a request that was answered with success is a defect of the restart (or
// of a client that retried).
type Applied struct {
	ID    string `json:"id"`
	Count int64  `json:"count"`
}

// Deliveries is the account of the outbox relay.
type Deliveries struct {
	Pending      int64           `json:"pending"`      // in the outbox, not delivered
	Delivered    int64           `json:"delivered"`    // lines in the delivery log
	Twice        []int64         `json:"twice"`        // outbox ids with more than one line (at most 100)
	OutOfOrder   int64           `json:"out_of_order"` // lines whose outbox id is smaller than the one before
	ByGeneration map[int64]int64 `json:"by_generation"`
}

// OutboxEntry is an event that has to leave the shop once, in order.
type OutboxEntry struct {
	ID      int64
	Kind    string
	Payload string
}

// Upload is a file that was received whole.
type Upload struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Kept   bool   `json:"kept"`
}

// Report sums up the orders.
type Report struct {
	Orders       int64 `json:"orders"`
	RevenueCents int64 `json:"revenue_cents"`
	TookMS       int64 `json:"took_ms"`
}
