package pusher

import (
	"strconv"
	"time"
)

// Rewind is what a client that joins a channel wants of its past. Exactly one of the fields is set.
type Rewind struct {
	// Count is how many events: the last ones, 1 to [MostEvents].
	Count int

	// Back is how long before now the first of them may be; at least a millisecond. It comes as
	// seconds, fractions allowed.
	Back time.Duration

	// Since is the earliest time of the first of them, whole milliseconds, not before 1970.
	Since time.Time
}

// MostEvents is the most events that a client may ask for at once, by rewind or as history.
const MostEvents = 1_000

// mostSeconds keeps a rewind within a [time.Duration]. It is more than any log remembers, so a
// client that asks for more gets the same.
const mostSeconds = 100 * 366 * 24 * 60 * 60

// mostMillis is the latest time that a client may name: what JavaScript counts exactly.
const mostMillis = 1<<53 - 1

func readRewind(raw []byte) (*Rewind, error) {
	var raws [3][]byte
	if !members(raw, []string{"count", "seconds", "since_ms"}, raws[:]) {
		return nil, faultf(ErrResume, "Invalid parameter: data.rewind must be an object")
	}
	given := 0
	for _, raw := range raws {
		if raw != nil {
			given++
		}
	}
	if given != 1 {
		return nil, faultf(ErrResume, "Invalid parameter: data.rewind must have exactly one of count, seconds and since_ms")
	}
	var r Rewind
	switch {
	case raws[0] != nil:
		n, ok := whole(raws[0], 1, MostEvents)
		if !ok {
			return nil, faultf(ErrResume, "Invalid parameter: data.rewind.count must be an integer from 1 to %d", MostEvents)
		}
		r.Count = int(n)
	case raws[1] != nil:
		seconds, ok := positive(raws[1])
		if !ok {
			return nil, faultf(ErrResume, "Invalid parameter: data.rewind.seconds must be a number over 0")
		}
		r.Back = max(time.Millisecond, time.Duration(min(seconds, mostSeconds)*float64(time.Second)))
	default:
		ms, ok := whole(raws[2], 0, mostMillis)
		if !ok {
			return nil, faultf(ErrResume, "Invalid parameter: data.rewind.since_ms must be an integer, Unix time in milliseconds")
		}
		r.Since = time.UnixMilli(ms).UTC()
	}
	return &r, nil
}

// whole reads a JSON value that must be an integer, written without fraction or exponent, from
// least to most.
func whole(raw []byte, least, most int64) (int64, bool) {
	if !integer(raw) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return n, err == nil && least <= n && n <= most
}

// positive reads a JSON value that must be a number over 0; one that no float holds is the largest.
func positive(raw []byte) (float64, bool) {
	if c := raw[0]; c < '0' || c > '9' {
		return 0, false
	}
	n, _ := strconv.ParseFloat(string(raw), 64) // JSON's numbers are Go's; out of range is ±Inf
	return n, n > 0
}
