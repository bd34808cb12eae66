package conns

import "sync"

// kept is bytes that are there for a short while, in memory that connections
// share: an idle one has none. The zero value is empty.
type kept struct {
	all  *[]byte // nil when there are none
	from int     // so many were skipped
}

// keptMost is the largest buffer that is kept for others.
const keptMost = 64 << 10

var keptPool = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func (k *kept) bytes() []byte {
	if k.all == nil {
		return nil
	}
	return (*k.all)[k.from:]
}

func (k *kept) add(b []byte) {
	if len(b) == 0 {
		return
	}
	if k.all == nil {
		k.all = keptPool.Get().(*[]byte)
	}
	*k.all = append(*k.all, b...)
}

// skip forgets the first n bytes, cut all but the first n.
func (k *kept) skip(n int) {
	if k.from += n; k.all != nil && k.from == len(*k.all) {
		k.free()
	}
}

func (k *kept) cut(n int) {
	if k.all == nil {
		return
	}
	if *k.all = (*k.all)[:k.from+n]; n == 0 {
		k.free()
	}
}

func (k *kept) free() {
	if k.all == nil {
		return
	}
	if cap(*k.all) <= keptMost {
		*k.all = (*k.all)[:0]
		keptPool.Put(k.all)
	}
	k.all, k.from = nil, 0
}
