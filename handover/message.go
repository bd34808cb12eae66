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

// Verb is what one side of a [Link] asks of the other.
type Verb string

// The verbs of the control wire; docs/PROTOCOL.md says what each one promises.
const (
	Hello   Verb = "HELLO"   // generation -> supervisor: who I am; the first message
	Ready   Verb = "READY"   // generation -> supervisor: setup is done and every check passed
	Account Verb = "ACCOUNT" // generation -> supervisor: how the leaving went, as JSON in REPORT
	Upgrade Verb = "UPGRADE" // generation -> supervisor: asked (SIGUSR2) to be replaced
	Trial   Verb = "TRIAL"   // gates are shut; probe connections may come
	Probe   Verb = "PROBE"   // one connection, passed along, for the socket SOCKET
	Check   Verb = "CHECK"   // run the checks; answered with the first failure
	Open    Verb = "OPEN"    // gates are open
	Pause   Verb = "PAUSE"   // gates are shut, reversibly
	Resume  Verb = "RESUME"  // gates are open again
	Drain   Verb = "DRAIN"   // a successor serves: leave without loss; answered at once, the end is the exit
	Reload  Verb = "RELOAD"  // configuration was read again
	Stop    Verb = "STOP"    // leave for good, nobody follows; answered at once, the end is the exit
)

// Fields are the arguments of a verb or of its answer. Keys are upper-case
// letters, digits and '_'; values any UTF-8 text without NUL.
type Fields map[string]string

// message is one datagram: a request (Do is set) or an answer to one.
type message struct {
	ID     uint64 // of the request
	Do     Verb   // "" in an answer
	Err    string // answers only: what could not be done
	Fields Fields
}

var (
	escape   = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	unescape = strings.NewReplacer(`\\`, `\`, `\n`, "\n")
)

// reserved keys belong to the frame, not to Fields.
var reserved = []string{"SEGUE", "ID", "RE", "DO", "ERROR"}

// encode writes KEY=VALUE lines, the frame first, fields sorted.
func (m message) encode() ([]byte, error) {
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
		if !validKey(k) || slices.Contains(reserved, k) || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return nil, fmt.Errorf("cannot send field %q: keys are A-Z, 0-9 and _, values UTF-8 text", k)
		}
		fmt.Fprintf(&b, "%s=%s\n", k, escape.Replace(v))
	}
	if b.Len() > maxMessage {
		return nil, fmt.Errorf("cannot send %s: %d bytes, at most %d fit", m.Do, b.Len(), maxMessage)
	}
	return b.Bytes(), nil
}

// decode is strict: what it accepts encodes to the same bytes but for the
// order of fields.
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
	var version, request, answer string
	for _, line := range strings.Split(body, "\n") {
		k, v, ok := strings.Cut(line, "=")
		if !ok || !validKey(k) {
			return m, fmt.Errorf("cannot read control line %q: it is not KEY=VALUE", line)
		}
		v = unescape.Replace(v)
		var dst *string
		switch k {
		case "SEGUE":
			dst = &version
		case "ID":
			dst = &request
		case "RE":
			dst = &answer
		case "DO":
			dst = (*string)(&m.Do)
		case "ERROR":
			dst = &m.Err
		default:
			if _, twice := m.Fields[k]; twice {
				return m, fmt.Errorf("cannot read a control message: %s stands in it twice", k)
			}
			m.Fields[k] = v
			continue
		}
		if *dst != "" || v == "" {
			return m, fmt.Errorf("cannot read a control message: %s is empty or stands in it twice", k)
		}
		*dst = v
	}
	if version != strconv.Itoa(ProtocolVersion) {
		return m, fmt.Errorf("cannot talk to this peer: it speaks version %q of the control wire, this side %d; upgrade the older of the two", version, ProtocolVersion)
	}
	id := request
	if (m.Do == "") != (request == "") || (request == "") == (answer == "") || m.Do != "" && m.Err != "" {
		return m, errors.New("cannot read a control message: it must be a request (ID and DO) or an answer (RE)")
	}
	if id == "" {
		id = answer
	}
	var err error
	if m.ID, err = strconv.ParseUint(id, 10, 64); err != nil {
		return m, fmt.Errorf("cannot read a control message: %q is not a message number", id)
	}
	if m.Do != "" && !validKey(string(m.Do)) {
		return m, fmt.Errorf("cannot read a control message: %q is not a verb", m.Do)
	}
	return m, nil
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
