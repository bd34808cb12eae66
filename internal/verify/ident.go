package verify

import (
	"fmt"
	"strconv"
	"strings"
)

// ident is a request's id taken apart: run-kind-worker-seq. The kind may
// contain dashes, the others cannot.
type ident struct {
	run, kind   string
	worker, seq int
}

func (i ident) String() string {
	return fmt.Sprintf("%s-%s-%d-%d", i.run, i.kind, i.worker, i.seq)
}

// parseIdent takes an id apart; false when it is not one.
func parseIdent(s string) (ident, bool) {
	run, rest, ok := strings.Cut(s, "-")
	last := strings.LastIndexByte(rest, '-')
	if !ok || run == "" || last < 0 {
		return ident{}, false
	}
	mid := strings.LastIndexByte(rest[:last], '-')
	if mid < 1 {
		return ident{}, false
	}
	worker, err1 := strconv.Atoi(rest[mid+1 : last])
	seq, err2 := strconv.Atoi(rest[last+1:])
	i := ident{run: run, kind: rest[:mid], worker: worker, seq: seq}
	// "+1" and "01" would be second spellings of one id.
	if err1 != nil || err2 != nil || worker < 0 || seq < 0 || i.String() != s {
		return ident{}, false
	}
	return i, validName(i.run) && validName(i.kind)
}

// validName reports whether s can be part of an id, which travels in a header
// and in a line of the service's ledger.
func validName(s string) bool {
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 64
}
