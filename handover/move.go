package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MoveVersion is the version of the wire on which connections move from one
// generation to another. A message of another version is refused, and with it
// the whole move; the connections stay where they are.
const MoveVersion = 1

// What may be moved at once. More is an error of [ServerDeparture], which then
// has sent nothing.
const (
	MaxParcel = 64 << 20  // bytes of one parcel
	MaxBatch  = 128 << 20 // bytes of a message: all parcels of a batch, or what was written late to its connections
	MaxMoved  = 1<<16 - 1 // connections of one batch
)

// moveKind is what a message of the move is about.
type moveKind uint8

// The messages of the move; docs/PROTOCOL.md has their fields.
const (
	moveBatch   moveKind = 1 // connections, each a parcel and a descriptor
	moveVerdict moveKind = 2 // why each one is refused, or nothing
	moveGo      moveKind = 3 // they are the receiver's; what was written meanwhile
	moveLate    moveKind = 4 // what was written to one of them after that
	moveError   moveKind = 5 // the receiver's last word: why it goes no further
)

func (k moveKind) String() string {
	switch k {
	case moveBatch:
		return "BATCH"
	case moveVerdict:
		return "VERDICT"
	case moveGo:
		return "GO"
	case moveLate:
		return "LATE"
	case moveError:
		return "ERROR"
	}
	return fmt.Sprintf("message of kind %d", uint8(k))
}

// moveMessage is one message. It travels as one or more datagrams, which no
// other message comes between.
type moveMessage struct {
	kind   moveKind
	server string
	batch  uint64
	arg    uint32   // BATCH: 1 for all or none; LATE: twice the index of the connection, 1 more at its end
	items  [][]byte // parcels, reasons, late bytes
	files  []int    // BATCH: one for each parcel
}

// A datagram is a frame, then a piece of the message. What is still to come
// stands in every frame: a piece that is lost, or is too much, cannot go
// unnoticed, and there is no other end mark.
const (
	moveMagic  = "SM"
	frameSize  = 12       // magic, version, kind, u16 descriptors here, u16 to come, u32 bytes to come
	pieceSize  = 60 << 10 // a datagram above about 200 KB does not fit a default socket buffer
	pieceFiles = 250      // SCM_MAX_FD in unix(7) is 253
	headSize   = 18       // u64 batch, u32 arg, u32 items, u16 length of the name; then the name, and a u32 length of each item
	maxServer  = 255      // bytes of the name of a server
)

var errMoveName = fmt.Errorf("cannot move connections: the name of a server has between 1 and %d bytes", maxServer)

// encode returns what comes before the items, and the length of the whole.
func (m moveMessage) encode() (head []byte, size int, err error) {
	if m.kind != moveError && m.server == "" || len(m.server) > maxServer {
		return nil, 0, errMoveName
	}
	if len(m.items) > MaxMoved {
		return nil, 0, fmt.Errorf("cannot move %d connections at once: at most %d", len(m.items), MaxMoved)
	}
	head = make([]byte, 0, headSize+len(m.server)+4*len(m.items))
	head = binary.BigEndian.AppendUint64(head, m.batch)
	head = binary.BigEndian.AppendUint32(head, m.arg)
	head = binary.BigEndian.AppendUint32(head, uint32(len(m.items)))
	head = binary.BigEndian.AppendUint16(head, uint16(len(m.server)))
	head = append(head, m.server...)
	size = cap(head)
	for _, item := range m.items {
		if len(item) > MaxParcel {
			return nil, 0, fmt.Errorf("cannot move a connection with %d bytes: at most %d", len(item), MaxParcel)
		}
		head = binary.BigEndian.AppendUint32(head, uint32(len(item)))
		size += len(item)
	}
	if size > MaxBatch {
		return nil, 0, fmt.Errorf("cannot move %d connections with %d bytes in one message: at most %d", len(m.items), size, MaxBatch)
	}
	return head, size, nil
}

var errMoveMessage = errors.New("its lengths do not add up")

// decodeMove is strict: what it accepts encodes to the same bytes. The items
// are parts of data.
func decodeMove(kind moveKind, data []byte) (moveMessage, error) {
	m := moveMessage{kind: kind}
	if len(data) < headSize {
		return m, errMoveMessage
	}
	m.batch = binary.BigEndian.Uint64(data)
	m.arg = binary.BigEndian.Uint32(data[8:])
	count := int64(binary.BigEndian.Uint32(data[12:]))
	name := int64(binary.BigEndian.Uint16(data[16:]))
	rest := data[headSize:]
	switch {
	case kind < moveBatch || kind > moveError:
		return m, fmt.Errorf("there is no %v", kind)
	case count > MaxMoved || name > maxServer || int64(len(rest)) < name+4*count:
		return m, errMoveMessage
	case name == 0 && kind != moveError:
		return m, errMoveName
	}
	m.server = string(rest[:name])
	lengths, rest := rest[name:name+4*count], rest[name+4*count:]
	m.items = make([][]byte, count)
	for i := range m.items {
		n := int64(binary.BigEndian.Uint32(lengths[4*i:]))
		if n > MaxParcel || n > int64(len(rest)) {
			return m, errMoveMessage
		}
		m.items[i], rest = rest[:n:n], rest[n:]
	}
	if len(rest) > 0 {
		return m, errMoveMessage
	}
	return m, nil
}

// frame begins a datagram of a message: files descriptors come with it,
// moreFiles and more bytes in later ones.
func (k moveKind) frame(b []byte, files, moreFiles, more int) []byte {
	b = append(b, moveMagic...)
	b = append(b, MoveVersion, byte(k))
	b = binary.BigEndian.AppendUint16(b, uint16(files))
	b = binary.BigEndian.AppendUint16(b, uint16(moreFiles))
	return binary.BigEndian.AppendUint32(b, uint32(more))
}

// moveAssembly puts the datagrams of a message together.
type moveAssembly struct {
	began     bool
	kind      moveKind
	data      []byte
	files     []int // owned, whatever add says
	more      int
	moreFiles int
}

// add takes one datagram with its descriptors and says whether the message is
// whole. After an error nothing more can be added. It keeps no part of datagram.
func (a *moveAssembly) add(datagram []byte, files []int) (whole bool, err error) {
	a.files = append(a.files, files...)
	if len(datagram) < len(moveMagic)+1 || string(datagram[:2]) != moveMagic {
		return false, errors.New("it is no message of a move")
	}
	if v := datagram[2]; v != MoveVersion {
		return false, fmt.Errorf("the other side speaks version %d of the move, this side %d", v, MoveVersion)
	}
	if len(datagram) < frameSize {
		return false, errMoveMessage
	}
	kind := moveKind(datagram[3])
	here := int(binary.BigEndian.Uint16(datagram[4:]))
	moreFiles := int(binary.BigEndian.Uint16(datagram[6:]))
	more := int64(binary.BigEndian.Uint32(datagram[8:]))
	piece := datagram[frameSize:]
	if here != len(files) {
		return false, fmt.Errorf("%d descriptors came with a datagram that was sent with %d", len(files), here)
	}
	if !a.began {
		total := more + int64(len(piece))
		if total > MaxBatch || here+moreFiles > MaxMoved {
			return false, fmt.Errorf("a message of %d bytes and %d descriptors is too large", total, here+moreFiles)
		}
		// At once: growing would leave copies of secrets behind. Memory is used only
		// as far as it is written.
		a.began, a.kind, a.data = true, kind, make([]byte, 0, total)
	} else if kind != a.kind || more+int64(len(piece)) != int64(a.more) || here+moreFiles != a.moreFiles {
		return false, errors.New("a piece of a message is missing")
	}
	if len(piece) == 0 && here == 0 {
		return false, errors.New("a datagram brings nothing")
	}
	a.data = append(a.data, piece...)
	a.more, a.moreFiles = int(more), moreFiles
	return more == 0 && moreFiles == 0, nil
}

// take returns the message that is whole, whose descriptors are the caller's
// unless there is an error, and makes ready for the next one.
func (a *moveAssembly) take() (moveMessage, error) {
	m, err := decodeMove(a.kind, a.data)
	want := 0
	if m.kind == moveBatch {
		want = len(m.items)
	}
	if err == nil && len(a.files) != want {
		err = fmt.Errorf("%d descriptors came with %d parcels", len(a.files), len(m.items))
	}
	if err != nil {
		return m, err
	}
	m.files = a.files
	*a = moveAssembly{}
	return m, nil
}

// drop closes the descriptors of a message that will not be whole.
func (a *moveAssembly) drop() {
	closeAll(a.files)
	clear(a.data)
	*a = moveAssembly{}
}
