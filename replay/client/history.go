package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/playhead/playhead/broker"
)

// HistoryOptions choose what of a channel's past is read.
type HistoryOptions struct {
	// Limit is how many events a page has at most, 1 to 1,000. Default: the server's, 100.
	Limit int

	// OldestFirst reads forward. Default: the newest comes first.
	OldestFirst bool

	// Before and After leave out the event at a position and what lies on the other side of it.
	// Default: no bound.
	Before, After Position

	// From and To bound the time of the events, both inclusive. Default: no bound.
	From, To time.Time
}

// Page is a page of a channel's past.
type Page struct {
	Items   []Event // in the order asked for
	HasMore bool

	// Next asks for the next page: as Before when the newest come first, as After when the
	// oldest do. Empty when the page is.
	Next Position

	// Oldest and Newest are the ends of what the app's log holds, all channels taken together;
	// zero when it holds nothing.
	Oldest, Newest Mark
}

// Mark is a position and the time of the event there.
type Mark struct {
	Position Position
	Time     time.Time
}

// mark is a Mark on the wire.
type mark struct {
	Position Position `json:"position"`
	Time     int64    `json:"time_ms"`
}

func (m mark) read() Mark {
	if m.Position == "" {
		return Mark{}
	}
	return Mark{Position: m.Position, Time: unixMilli(m.Time)}
}

func unixMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// History reads one page of a channel's past. Where the server didn't answer, or said that it can't
// read now, it tries again. Errors: [StatusError], with the reason when the log doesn't reach as far
// as a position (410), has another life (410), or has no memory (501); the last attempt's.
func (c *Client) History(ctx context.Context, ch broker.Channel, opts HistoryOptions) (Page, error) {
	body, err := c.ask(ctx, http.MethodGet, "/channels/"+url.PathEscape(string(ch))+"/history", opts.query(), nil)
	if err != nil {
		return Page{}, fmt.Errorf("read the history of %s: %w", ch, err)
	}
	var raw struct {
		Items []struct {
			ID       string   `json:"id"`
			Event    string   `json:"event"`
			Data     string   `json:"data"`
			Position Position `json:"position"`
			Time     int64    `json:"time_ms"`
			UserID   string   `json:"user_id"`
		} `json:"items"`
		HasMore bool     `json:"has_more"`
		Next    Position `json:"next"`
		Oldest  mark     `json:"oldest"`
		Newest  mark     `json:"newest"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return Page{}, fmt.Errorf("read the history of %s: read the answer: %w", ch, err)
	}
	page := Page{HasMore: raw.HasMore, Next: raw.Next, Oldest: raw.Oldest.read(), Newest: raw.Newest.read()}
	for _, i := range raw.Items {
		page.Items = append(page.Items, Event{
			Channel: ch, ID: i.ID, Name: i.Event, Data: i.Data, UserID: i.UserID,
			Position: i.Position, Time: unixMilli(i.Time),
		})
	}
	return page, nil
}

// query spells the options out.
func (o *HistoryOptions) query() url.Values {
	q := url.Values{}
	if o.Limit != 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.OldestFirst {
		q.Set("direction", "oldest_first")
	} else {
		q.Set("direction", "newest_first")
	}
	for _, p := range []struct {
		name string
		at   Position
	}{{"before", o.Before}, {"after", o.After}} {
		if p.at != "" {
			q.Set(p.name, string(p.at))
		}
	}
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"start_time_ms", o.From}, {"end_time_ms", o.To}} {
		if !t.at.IsZero() {
			q.Set(t.name, strconv.FormatInt(t.at.UnixMilli(), 10))
		}
	}
	return q
}

// Read reads a channel's past page by page, Limit events at a time, and yields event after event,
// until there are no more. An error, one of [Client.History]'s, is its last word.
//
// Forward, it ends where the log ends when the last page is read, with every event from After on
// yielded once. Backward, events published meanwhile are not seen.
func (c *Client) Read(ctx context.Context, ch broker.Channel, opts HistoryOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		opts := opts // each loop begins at the beginning
		for {
			page, err := c.History(ctx, ch, opts)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, e := range page.Items {
				if !yield(e, nil) {
					return
				}
			}
			// A server that has more and doesn't say where would be asked the same for ever.
			if !page.HasMore {
				return
			}
			at := &opts.Before
			if opts.OldestFirst {
				at = &opts.After
			}
			if page.Next == "" || page.Next == *at {
				yield(Event{}, fmt.Errorf("read the history of %s: the server has more after %q, and doesn't say where", ch, *at))
				return
			}
			*at = page.Next
		}
	}
}
