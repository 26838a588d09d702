package broker

// Subscriber is a connection as the node sees it.
type Subscriber interface {
	// Deliver takes one delivery for the connection, in the order of the calls. It never
	// blocks and may be called from any goroutine while locks of the node are held: it
	// queues and returns. Deliveries of one channel come from one goroutine at a time.
	Deliver(d *Delivery)

	// Close ends the session for the reason; it returns at once, never blocks, and may be
	// called any number of times. Deliveries after it are dropped.
	Close(why Reason)
}

// Reason is why a session is ended by the server. It is a metric label and the text of the
// close frame's cause; the close code is chosen by the door that serves the session.
type Reason string

// Why sessions are ended, whichever door serves them.
const (
	TailBroken   Reason = "tail_broken"   // the app's log can't be, or is no longer, followed
	AppRetired   Reason = "app_retired"   // the app was removed or disabled
	GateOverflow Reason = "gate_overflow" // more was held during a replay than the gate may hold
	Terminated   Reason = "terminated"    // a backend ended all connections of the user
	Evicted      Reason = "evicted"       // the other nodes took this one for dead, or it lost sight of them
	PresenceLost Reason = "presence_lost" // who is where can't be told to, or heard from, the other nodes
)
