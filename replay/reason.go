package replay

// Reason is why a client can't have what it missed, as the protocol spells it. The client is
// live from the seam all the same and fetches its state anew.
type Reason string

// The reasons.
const (
	Expired     Reason = "expired"     // the log no longer holds everything after the position
	Reset       Reason = "reset"       // the position belongs to a former life of the log
	Ahead       Reason = "ahead"       // the position lies beyond the seam
	TooFar      Reason = "too_far"     // more was missed than the limits allow
	Unavailable Reason = "unavailable" // the log can't be read right now
	Unsupported Reason = "unsupported" // the medium has no memory
	Invalid     Reason = "invalid"     // not a position that a server gave out
)
