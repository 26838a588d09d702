package replay

import (
	"context"
	"iter"
	"time"

	"github.com/playhead/playhead/broker"
)

// History is a log that remembers. All methods are safe for concurrent use. A context that ends is
// an error of each.
//
// Implementation: package streams. It runs the suite in package brokertest.
type History interface {
	// Bounds returns the ends of the app's log: the epoch with the serial of the oldest event it
	// still holds (of a log that holds none: its last serial + 1), and the epoch with the serial of
	// the last event it stored, whether or not it still holds it (0 when there never was one).
	// Their Times may be 0. It is asked where it can't be stale; within an epoch neither goes back.
	Bounds(ctx context.Context, app broker.AppID) (oldest, newest broker.Position, err error)

	// Range yields the events of one channel, or of all where ch is empty, with serials in
	// (after, upto], oldest first: all that the log holds of them, or an error as its last word.
	// Breaking the loop ends the read. What the log forgets at its head while the range is read
	// may be missing without an error: whoever needs to know asks Bounds, and asks it afterwards.
	Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error]

	// At returns the event, of any channel, at a serial; nil when nothing stands there: it was
	// forgotten or never was.
	At(ctx context.Context, app broker.AppID, serial uint64) (*broker.Event, error)

	// Since returns a serial that is before every event taken at or after t: each event whose
	// Time is not before t has a greater one. It may be smaller than it need be, by what nodes'
	// clocks differ: whoever needs to know looks at the events' Time.
	Since(ctx context.Context, app broker.AppID, t time.Time) (serial uint64, err error)
}
