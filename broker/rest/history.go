package rest

import (
	"strconv"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/replay"
)

const (
	historyLimit = 1_000    // the most items of a page
	historyChunk = 64 << 10 // of an answer this much is written at a time, in bytes, and an item
)

// history reads back a page of a channel's past. The app's backend sees all of it, client events
// and who sent them too.
func (a *API) history(c call) ([]byte, error) {
	ch := broker.Channel(c.PathValue("channel"))
	if err := pusher.CheckChannel(ch, c.app.Limits); err != nil {
		return nil, err
	}
	q, err := readPage(c.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	if a.cfg.History == nil {
		return nil, &replay.PageError{Reason: replay.Unsupported}
	}
	q.App, q.Channel, q.ClientEvents = c.app.ID, ch, true
	ctx, cancel := a.bounded(c.Context())
	defer cancel()
	page, err := a.cfg.History.Page(ctx, q)
	if err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, 4<<10), `{"items":[`...)
	for i, e := range page.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = pusher.AppendItem(b, e)
		if len(b) < historyChunk {
			continue
		}
		// A page of large events is written while it is encoded: it is in memory once already.
		if c.write(b) != nil {
			return nil, nil
		}
		b = b[:0]
	}
	b = append(b, `],"has_more":`...)
	b = strconv.AppendBool(b, page.HasMore)
	b = append(b, `,"next":`...)
	if page.Next.IsZero() {
		b = append(b, "null"...)
	} else {
		b = append(page.Next.AppendText(append(b, '"')), '"')
	}
	b = appendEnd(append(b, `,"oldest":`...), page.Oldest)
	b = appendEnd(append(b, `,"newest":`...), page.Newest)
	return append(b, '}'), nil
}

// appendEnd adds one end of what the log holds, null when it holds nothing. Its time is null when it
// isn't known: the event there was forgotten just now.
func appendEnd(b []byte, p broker.Position) []byte {
	if p.IsZero() {
		return append(b, "null"...)
	}
	b = append(p.AppendText(append(b, `{"position":"`...)), `","time_ms":`...)
	if p.Time == 0 {
		return append(b, "null}"...)
	}
	return append(strconv.AppendInt(b, p.Time, 10), '}')
}

// readPage reads a query that asks for a page. What is given must be right: a position that a
// caller lost on the way would else let it read the same page for ever.
func readPage(raw string) (q replay.PageRequest, err error) {
	given := map[string]bool{}
	for name, value := range parameters(raw) {
		switch name {
		case "limit":
			q.Limit, err = readLimit(value)
		case "direction":
			q.OldestFirst, err = readDirection(value)
		case "before":
			q.Before, err = readPosition(name, value)
		case "after":
			q.After, err = readPosition(name, value)
		case "start_time_ms":
			q.From, err = readTime(name, value)
		case "end_time_ms":
			q.To, err = readTime(name, value)
		default:
			continue
		}
		if err == nil && given[name] {
			err = invalidf("Invalid %s: given more than once", name)
		}
		if err != nil {
			return q, err
		}
		given[name] = true
	}
	if !q.From.IsZero() && !q.To.IsZero() && q.From.After(q.To) {
		return q, invalidf("Invalid start_time_ms: is after end_time_ms")
	}
	return q, nil
}

func readLimit(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > historyLimit {
		return 0, invalidf("Invalid limit: %.100q must be a number from 1 to %d", value, historyLimit)
	}
	return n, nil
}

func readDirection(value string) (oldestFirst bool, err error) {
	switch value {
	case "newest_first":
		return false, nil
	case "oldest_first":
		return true, nil
	}
	return false, invalidf("Invalid direction: %.100q must be newest_first or oldest_first", value)
}

// readPosition takes a position as it is: whoever reads the page knows what it means.
func readPosition(name, value string) (string, error) {
	if value == "" {
		return "", invalidf("Invalid %s: empty; leave it out to set no bound", name)
	}
	return value, nil
}

func readTime(name, value string) (time.Time, error) {
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil || ms < 0 {
		return time.Time{}, invalidf("Invalid %s: %.100q must be a Unix time in milliseconds", name, value)
	}
	return time.UnixMilli(ms), nil
}
