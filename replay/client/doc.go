// Package client is a Go client that keeps its place: it subscribes with resume, iterates events,
// and reads history. It is for backends and for tests.
//
// [Client.Tail] follows channels for as long as it is ranged over. It connects by itself and comes
// back by itself, with the position of the last event it has yielded, so that the loop sees every
// later event of each channel once and in order, or is told by a [Gap] that it can't and why.
//
//	for e, err := range c.Tail(ctx, client.TailOptions{
//		Subscriptions: []client.Subscription{{Channel: "orders", After: kept}},
//	}) {
//		var gap *client.Gap
//		switch {
//		case errors.As(err, &gap):
//			refetch(gap.Channel) // the tail goes on after the gap
//			continue
//		case err != nil:
//			return err // the tail is over
//		}
//		handle(e)
//		keep(e.Position)
//	}
//
// [Client.Publish] returns when the server has stored the event, and sends it again, with the same
// idempotency key, where it can't know. [Client.History] and [Client.Read] read back.
//
// Signed with the app's secret are requests and the subscriptions of private and presence channels;
// the secret belongs on servers. With the key alone public channels can be followed.
package client
