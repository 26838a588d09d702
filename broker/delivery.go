package broker

import "sync/atomic"

// Form is a wire form of a delivery: connections of one form get the same bytes.
type Form int

// The wire forms.
const (
	Plain      Form = iota // as Pusher sends it
	Positioned             // with the event's id and position, for connections that opted in
	forms
)

// Delivery is one event or one notice on its way to subscribers; exactly one of the two is set.
// It is shared by all of them and safe for concurrent use.
type Delivery struct {
	Event  *Event
	Notice *Notice

	encoded [forms]atomic.Pointer[[]byte]
}

// Encoded returns the delivery's bytes in a form, calling encode when they are asked for first.
// Encoding once per form instead of once per subscriber is what makes wide fan-out cheap. Two
// callers at the same instant may both encode; both get equal bytes. Nobody may change them.
func (d *Delivery) Encoded(form Form, encode func(*Delivery, Form) []byte) []byte {
	if b := d.encoded[form].Load(); b != nil {
		return *b
	}
	b := encode(d, form)
	if !d.encoded[form].CompareAndSwap(nil, &b) {
		return *d.encoded[form].Load()
	}
	return b
}

// exclude returns the connection that must not get the delivery, if any.
func (d *Delivery) exclude() SocketID {
	if d.Event != nil {
		return d.Event.Exclude
	}
	return d.Notice.Exclude
}

// size estimates what the delivery takes while a gate holds it, in bytes.
func (d *Delivery) size() int {
	if d.Event != nil {
		return len(d.Event.Data) + len(d.Event.Name) + deliveryOverhead
	}
	return len(d.Notice.Member.Info) + deliveryOverhead
}

// deliveryOverhead is the size of a Delivery and its Event without the payload, rounded up.
const deliveryOverhead = 256
