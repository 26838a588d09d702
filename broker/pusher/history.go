package pusher

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
)

// History is what a playhead:history asks for: a page of a channel's past.
type History struct {
	Channel broker.Channel

	// Ref is what the client tells its questions apart by; nil when it doesn't.
	Ref *string

	// Limit is how many events a page may have, 1 to [MostEvents]; 100 when the client doesn't say.
	Limit int

	// Before and After are positions, not yet parsed; at most one of them isn't empty. With Before
	// the page goes back from there, with After forward, without both back from the end.
	Before, After string
}

const (
	defaultHistory = 100 // events of a page
	mostRef        = 128 // characters
)

// History reads the data of a playhead:history. The channel's name is not checked: of those a
// client is subscribed to, it is. Where an error concerns what stands beside the channel, that and
// the ref, if there is a proper one, are returned with it, for the answer to name.
// Errors: [ErrFrame] without a channel; [ErrHistory] with one.
func (f Frame) History() (History, error) {
	h := History{Limit: defaultHistory}
	var raws [5][]byte
	ch, err := f.channelData([]string{"channel", "ref", "limit", "before", "after"}, raws[:])
	if err != nil {
		return h, err
	}
	h.Channel = ch
	if raws[1] != nil {
		ref, ok := text(raws[1])
		if !ok || utf8.RuneCount(ref) > mostRef {
			return h, faultf(ErrHistory, "Invalid parameter: data.ref must be a string of at most %d characters", mostRef)
		}
		s := string(ref)
		h.Ref = &s
	}
	if raws[2] != nil {
		n, ok := whole(raws[2], 1, MostEvents)
		if !ok {
			return h, faultf(ErrHistory, "Invalid parameter: data.limit must be an integer from 1 to %d", MostEvents)
		}
		h.Limit = int(n)
	}
	if raws[3] != nil && raws[4] != nil {
		return h, faultf(ErrHistory, "Invalid parameter: data.before and data.after exclude each other")
	}
	for _, p := range []struct {
		name string
		raw  []byte
		to   *string
	}{{"before", raws[3], &h.Before}, {"after", raws[4], &h.After}} {
		if p.raw == nil {
			continue
		}
		position, ok := text(p.raw)
		if !ok || len(position) == 0 {
			return h, faultf(ErrHistory, "Invalid parameter: data.%s must be a position", p.name)
		}
		*p.to = string(position)
	}
	return h, nil
}

// Page is what a playhead:history is answered with.
type Page struct {
	Channel broker.Channel
	Ref     *string         // the question's
	Items   []*broker.Event // in the order asked for
	HasMore bool            // there are more behind the last one
	Next    broker.Position // where to go on; left out when it is zero

	// Begin is where the client's subscription began. To page back from there means what stands there
	// too, for it isn't live, while to go on from Next doesn't. So where they are the same place Next is
	// spelled without its time.
	Begin broker.Position
}

// AppendPage adds the answer to a playhead:history. It gives as many items as fit into most bytes,
// the first one whatever its size; when that isn't all of them there are more, and the next page
// begins behind the last one given.
func AppendPage(b []byte, p Page, most int) []byte {
	room := 256
	for _, e := range p.Items {
		room += 256 + len(e.Data)*9/8
	}
	data := appendRef(make([]byte, 0, min(room, most)), p.Ref)
	data = append(data, `"items":[`...)
	// The frame is as large as its data once that is quoted, and what stands around it.
	size := quotedBytes(data) + len(p.Channel) + 256
	for i, e := range p.Items {
		start := len(data)
		if i > 0 {
			data = append(data, ',')
		}
		data = AppendItem(data, e)
		size += quotedBytes(data[start:])
		if i > 0 && size > most {
			data = data[:start]
			p.HasMore, p.Next = true, p.Items[i-1].Position
			break
		}
	}
	data = append(data, `],"has_more":`...)
	data = strconv.AppendBool(data, p.HasMore)
	if p.Next == p.Begin {
		p.Next.Time = 0
	}
	if !p.Next.IsZero() {
		data = append(data, `,"next":"`...)
		data = p.Next.AppendText(data)
		data = append(data, '"')
	}
	data = append(data, '}')
	return appendFrame(slices.Grow(b, size), EventHistory, p.Channel, data)
}

// AppendHistoryError adds the answer to a playhead:history that can't be had: the reason, one of
// replay-protocol's words, and a sentence about it.
func AppendHistoryError(b []byte, ch broker.Channel, ref *string, reason, message string) []byte {
	data := appendRef(make([]byte, 0, 128+len(message)), ref)
	data = append(data, `"error":{"reason":`...)
	data = appendString(data, reason)
	data = append(data, `,"message":`...)
	data = appendString(data, message)
	data = append(data, "}}"...)
	return appendFrame(b, EventHistory, ch, data)
}

// appendRef begins an answer with its question's ref.
func appendRef(b []byte, ref *string) []byte {
	b = append(b, '{')
	if ref == nil {
		return b
	}
	b = append(b, `"ref":`...)
	b = appendString(b, *ref)
	return append(b, ',')
}

// quotedBytes returns what b, in which control characters are escaped already, takes within a JSON
// string.
func quotedBytes(b []byte) int {
	return len(b) + bytes.Count(b, []byte{'"'}) + bytes.Count(b, []byte{'\\'})
}

// AppendItem adds one item of a channel's history, a JSON object: what the event was, where it
// stands and when it was published. It is the same over HTTP and over WebSocket.
func AppendItem(b []byte, e *broker.Event) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, e.ID)
	b = append(b, `,"event":`...)
	b = appendString(b, e.Name)
	b = append(b, `,"data":`...)
	b = appendQuoted(b, e.Data)
	b = appendPosition(b, e.Position)
	b = append(b, `,"time_ms":`...)
	b = strconv.AppendInt(b, e.Time.UnixMilli(), 10)
	if e.UserID != "" {
		b = append(b, `,"user_id":`...)
		b = appendString(b, e.UserID)
	}
	return append(b, '}')
}
