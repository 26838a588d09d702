package broker

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Epoch names one life of an app's stream. A stream that is deleted and made again has another
// epoch, so that positions of its former life are recognised. It is 1 to 32 letters and digits.
type Epoch string

// Position is a place in the log of one app: in which life of the stream, after which event.
//
// Think of a reader's bookmark: the epoch says which edition of the book, the serial which page
// was read last, and the time what stood on it. The time matters because after an unclean loss
// (a power cut that took unsynced events) a stream gives lost serials out again: a bookmark whose
// page now shows another event is noticed instead of trusted.
//
// Serials grow through the whole app; seen from one channel they have holes. The zero Position
// means "no memory": the medium keeps nothing to come back to.
type Position struct {
	Epoch  Epoch
	Serial uint64 // of the last event at or before this place; 0 before the first
	Time   int64  // that event's Time, Unix ms; 0 when there is none or it isn't known
}

// ErrPosition is returned by [ParsePosition] for a string no server gave out.
var ErrPosition = errors.New("not a position")

// maxPosition is the longest position on the wire, in bytes (replay-protocol §1).
const maxPosition = 128

// positionForm is the wire form: version, epoch, then serial and time in base 36.
var positionForm = regexp.MustCompile(`^1-([0-9A-Za-z]{1,32})-([0-9a-z]{1,13})-([0-9a-z]{1,13})$`)

// IsZero reports whether p is the position of a medium without memory.
func (p Position) IsZero() bool { return p == Position{} }

// String returns the wire form: opaque to clients, ASCII, at most 128 bytes, safe in a URL's
// query as it stands. The zero position is the empty string.
func (p Position) String() string {
	if p.IsZero() {
		return ""
	}
	return string(p.AppendText(make([]byte, 0, 64)))
}

// AppendText appends the wire form to b, for encoders that must not allocate.
func (p Position) AppendText(b []byte) []byte {
	b = append(b, "1-"...)
	b = append(b, p.Epoch...)
	b = append(b, '-')
	b = strconv.AppendUint(b, p.Serial, 36)
	b = append(b, '-')
	return strconv.AppendInt(b, p.Time, 36)
}

// ParsePosition reads a wire form back. Only what [Position.String] writes is accepted, so
// that a position has one spelling. Anything else is [ErrPosition].
func ParsePosition(s string) (Position, error) {
	if len(s) > maxPosition {
		return Position{}, fmt.Errorf("%w: longer than %d bytes", ErrPosition, maxPosition)
	}
	m := positionForm.FindStringSubmatch(s)
	if m == nil {
		return Position{}, fmt.Errorf("%w: unknown form", ErrPosition)
	}
	serial, err := strconv.ParseUint(m[2], 36, 64)
	if err != nil {
		return Position{}, fmt.Errorf("%w: serial out of range", ErrPosition)
	}
	at, err := strconv.ParseInt(m[3], 36, 64)
	if err != nil {
		return Position{}, fmt.Errorf("%w: time out of range", ErrPosition)
	}
	p := Position{Epoch: Epoch(strings.Clone(m[1])), Serial: serial, Time: at}
	if p.String() != s {
		return Position{}, fmt.Errorf("%w: unusual spelling", ErrPosition)
	}
	return p, nil
}
