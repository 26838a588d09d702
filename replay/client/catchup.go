package client

import (
	"context"
	"errors"
)

// A page of catching up has at most so many events.
const (
	mostPage  = 1_000
	leastPage = 10
)

// catchUp reads from the history what is more than the server replays, until it is less: whoever
// comes back then is replayed the rest. It yields as it reads, a page at a time, for as long as the
// loop and the publishers take.
func (t *tail) catchUp(ctx context.Context) error {
	for _, p := range t.stays {
		if !p.behind {
			continue
		}
		read := 0
		for e, err := range t.client.Read(ctx, p.Channel, HistoryOptions{Limit: t.page, OldestFirst: true, After: p.position}) {
			var status *StatusError
			switch {
			case errors.As(err, &status) && !status.temporary():
				p.owe(status.Reason)
			case err != nil:
				t.page = max(leastPage, t.page/4) // a line that is slow or breaks often may carry less
				return err
			default:
				read++
				p.position = e.Position
				if p.admit(e.ID, e.Position, false) && !t.yield(e, nil) {
					return errStopped
				}
				continue
			}
			break
		}
		if read == 0 && p.owed == "" {
			p.owe(TooFar) // it isn't events of this channel's that keep the server from replaying
		}
		p.behind, t.page = false, mostPage
	}
	return nil
}

// owe gives up on what is missing: the tail goes on from the channel's next answer, and tells why.
func (p *stay) owe(why Reason) {
	if why == "" {
		why = TooFar // there is a history, but not for us: what the server said first holds
	}
	p.owed, p.position, p.behind = why, "", false
}
