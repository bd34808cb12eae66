package handover

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ProtocolVersion is the version of the control wire. A peer of another
// version is refused with an error that says so.
const ProtocolVersion = 1

// maxMessage is the most one control message may take. A SOCK_SEQPACKET
// datagram above about 200 KB does not fit a default socket buffer; control
// messages stay far below, larger things travel in a memfd.
const maxMessage = 64 << 10

// maxPacketFiles bounds the descriptors of one control message; SCM_MAX_FD is
// 253 (unix(7)), moved connections travel on a wire of their own.
const maxPacketFiles = 16

// Verb is what one side of a [Link] asks of the other.
type Verb string

// The verbs of the control wire; docs/PROTOCOL.md says what each one promises.
const (
	Hello   Verb = "HELLO"   // generation -> supervisor: who I am; the first message
	Keep    Verb = "KEEP"    // generation -> supervisor: pass this socket to the next generation as SOCKET
	Ready   Verb = "READY"   // generation -> supervisor: setup is done and every check passed; it serves SOCKETS
	Account Verb = "ACCOUNT" // generation -> supervisor: how the leaving went, as JSON in REPORT
	Upgrade Verb = "UPGRADE" // generation -> supervisor: asked (SIGUSR2) to be replaced
	Trial   Verb = "TRIAL"   // gates are shut; probe connections may come
	Probe   Verb = "PROBE"   // one connection, passed along, for the socket SOCKET
	Check   Verb = "CHECK"   // run the checks; answered with the first failure
	Open    Verb = "OPEN"    // gates are open
	Pause   Verb = "PAUSE"   // gates are shut, reversibly
	Resume  Verb = "RESUME"  // gates are open again
	Adopt   Verb = "ADOPT"   // take over the live connections of process FROM, which come over the descriptor (see Arrival)
	Move    Verb = "MOVE"    // paused: live connections that can go at once have gone to process TO over the descriptor (see Departure), reversibly
	Proven  Verb = "PROVEN"  // it is not given up any more: no journal is kept
	Drain   Verb = "DRAIN"   // a successor serves: leave without loss; answered at once, the end is the exit. After MOVE, or with a descriptor, live connections go on to process TO
	Reload  Verb = "RELOAD"  // configuration was read again
	Lend    Verb = "LEND"    // to another supervisor than before: the listening sockets come with the answer (see Link.Borrow)
	Stop    Verb = "STOP"    // leave for good, nobody follows; answered at once, the end is the exit
)

// Fields are the arguments of a verb or of its answer. Keys are upper-case
// letters, digits and '_'; values any UTF-8 text without NUL.
type Fields map[string]string

// message is one datagram: a request (Do is set) or an answer to one. An answer
// to request 0, which nobody sends, is the last word of a side that cannot go on
// and says why.
type message struct {
	ID     uint64 // of the request, from 1
	Do     Verb   // "" in an answer
	Err    string // answers only: what could not be done
	Fields Fields
}

// maxError bounds the text of an error: one that carries a stack must not keep
// an answer from fitting.
const maxError = 8 << 10

// reserved keys belong to the frame, not to Fields.
var reserved = []string{"SEGUE", "ID", "RE", "DO", "ERROR"}

// name is how an error calls the message.
func (m message) name() string {
	if m.Do == "" {
		return "an answer"
	}
	return string(m.Do)
}

// encode writes KEY=VALUE lines, the frame first, fields sorted.
func (m message) encode() ([]byte, error) {
	if m.Do != "" && !validKey(string(m.Do)) {
		return nil, fmt.Errorf("cannot send verb %q: it is not made of A-Z, 0-9 and _", m.Do)
	}
	if !validText(m.Err) {
		return nil, errors.New("cannot send an error that is not UTF-8 text without NUL")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "SEGUE=%d\n", ProtocolVersion)
	if m.Do != "" {
		fmt.Fprintf(&b, "ID=%d\nDO=%s\n", m.ID, m.Do)
	} else {
		fmt.Fprintf(&b, "RE=%d\n", m.ID)
	}
	if m.Err != "" {
		fmt.Fprintf(&b, "ERROR=%s\n", escape.Replace(m.Err))
	}
	for _, k := range slices.Sorted(maps.Keys(m.Fields)) {
		v := m.Fields[k]
		switch {
		case slices.Contains(reserved, k):
			return nil, fmt.Errorf("cannot send field %q: the frame of a message uses that key", k)
		case !validKey(k) || !validText(v):
			return nil, fmt.Errorf("cannot send field %q: keys are A-Z, 0-9 and _, values UTF-8 text without NUL", k)
		}
		fmt.Fprintf(&b, "%s=%s\n", k, escape.Replace(v))
	}
	if b.Len() > maxMessage {
		return nil, fmt.Errorf("cannot send %s: it takes %d bytes, at most %d fit", m.name(), b.Len(), maxMessage)
	}
	return b.Bytes(), nil
}

func validText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// errorText makes any error text fit to be sent: it may quote what a program
// wrote, in whatever encoding and length.
func errorText(s string) string {
	switch {
	case s == "":
		return "it failed without saying why" // an empty ERROR would mean success
	case len(s) > maxError:
		s = s[:maxError] + " [...]"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

// unescape is the reverse of escape; false when s has any other escape.
func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' {
			switch i++; {
			case i < len(s) && s[i] == '\\':
			case i < len(s) && s[i] == 'n':
				c = '\n'
			default:
				return "", false
			}
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// decode is strict: what it accepts encodes to the same lines again. The
// version is looked at before anything else, so that a peer of another version
// is told so whatever else has changed.
func decode(data []byte) (message, error) {
	m := message{Fields: Fields{}}
	if len(data) > maxMessage {
		return m, fmt.Errorf("cannot read a control message of %d bytes: at most %d are allowed", len(data), maxMessage)
	}
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return m, errors.New("cannot read a control message: it is not UTF-8 text")
	}
	body, ok := strings.CutSuffix(string(data), "\n")
	if !ok {
		return m, errors.New("cannot read a control message: the last line is not complete")
	}
	lines := strings.Split(body, "\n")
	version, ok := strings.CutPrefix(lines[0], "SEGUE=")
	if !ok {
		return m, fmt.Errorf("cannot read a control message: it begins with %q, not with SEGUE=%d", lines[0], ProtocolVersion)
	}
	if version != strconv.Itoa(ProtocolVersion) {
		return m, fmt.Errorf("cannot talk to this peer: it speaks version %q of the control wire, this side %d; upgrade the older of the two", version, ProtocolVersion)
	}
	frame := map[string]string{}
	for _, line := range lines[1:] {
		k, escaped, ok := strings.Cut(line, "=")
		v, whole := unescape(escaped)
		if !ok || !whole || !validKey(k) {
			return m, fmt.Errorf("cannot read control line %q: it is not KEY=VALUE", line)
		}
		to := m.Fields
		if slices.Contains(reserved, k) {
			to = frame
		}
		if _, twice := to[k]; twice || k == "SEGUE" {
			return m, fmt.Errorf("cannot read a control message: %s stands in it twice", k)
		}
		to[k] = v
	}
	return m, m.frame(frame)
}

// frame reads what is not a field.
func (m *message) frame(f map[string]string) error {
	number, request := f["ID"]
	answered, answer := f["RE"]
	verb, do := f["DO"]
	text, failed := f["ERROR"]
	switch {
	case request == answer || request != do || request && failed || failed && text == "":
		return errors.New("cannot read a control message: it must be a request (ID and DO) or an answer (RE, perhaps ERROR)")
	case do && !validKey(verb):
		return fmt.Errorf("cannot read a control message: %q is not a verb", verb)
	case answer:
		number = answered
	}
	m.Do, m.Err = Verb(verb), text
	var err error
	m.ID, err = strconv.ParseUint(number, 10, 64)
	if err != nil || strconv.FormatUint(m.ID, 10) != number || request && m.ID == 0 {
		return fmt.Errorf("cannot read a control message: %q is not a message number", number)
	}
	return nil
}

// validKey accepts what sd_notify(3) and the shell accept as a variable name.
func validKey(k string) bool {
	for i, c := range []byte(k) {
		if !(c >= 'A' && c <= 'Z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return k != ""
}
