// Package broker is the heart: the nouns everyone speaks in, the contract a log must keep,
// and the [Node] that appends and fans out.
//
// A publish travels one road. [Node.Publish] appends an [Event] to the log of its app; every
// node tails that log through a [Feed], which moves its cursor and fans the event out to the
// subscriptions of the event's channel. There is no shortcut, not even on the node that
// published: what is not in the log reaches nobody, and what is in the log reaches everybody
// in the log's order.
//
// A subscriber that returns with a [Position] finds the seam: registering a [Subscription] and
// reading the feed's cursor is one step under one lock, so everything up to [Subscription.Seam]
// can be replayed from the log and everything after it arrives live. The subscription's gate
// holds live deliveries until the replay is out.
//
// When order or completeness is in doubt the session is closed with a [Reason] that asks the
// client back; it brings its position and the log makes it whole.
package broker
