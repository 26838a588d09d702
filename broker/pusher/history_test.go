package pusher

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// pastEvent is the n-th event of a history: an event, then a client event, in turn.
func pastEvent(n int) *broker.Event {
	at := time.UnixMilli(1732350000123 + int64(n)).UTC()
	e := &broker.Event{
		ID: "b1f" + string(rune('0'+n%10)), Name: "order.updated", Data: []byte(`{"id":7}`), Time: at,
		Position: broker.Position{Epoch: "E1", Serial: 48 + uint64(n), Time: at.UnixMilli()},
	}
	if n%2 == 1 {
		e.Name, e.Data, e.UserID = "client-typing", []byte(`{"on":true}`), "10"
	}
	return e
}

func TestHistory(t *testing.T) {
	t.Parallel()
	ref := func(s string) *string { return &s }
	long := strings.Repeat("ü", 128)
	for message, want := range map[string]History{
		golden(t, "client", "history"):                                           {Channel: "orders", Ref: ref("a1"), Limit: 50, Before: "1-E1-1c-0"},
		golden(t, "client", "history_after"):                                     {Channel: "orders", Limit: 100, After: "1-E1-1c-0"},
		`{"event":"playhead:history","data":"{\"channel\":\"c\",\"ref\":\"\"}"}`: {Channel: "c", Ref: ref(""), Limit: 100},
		`{"event":"playhead:history","data":{"channel":"c","ref":null,"limit":null,"before":null,"after":null,"from":5}}`: {Channel: "c", Limit: 100},
		`{"event":"playhead:history","data":{"channel":"c","limit":1,"before":null,"after":"what","ref":"\"\n"}}`:         {Channel: "c", Ref: ref("\"\n"), Limit: 1, After: "what"},
		`{"event":"playhead:history","data":{"channel":"c","limit":1000,"ref":"` + long + `"}}`:                           {Channel: "c", Ref: &long, Limit: 1000},
	} {
		f := decoded(t, message)
		got, err := f.History()
		if string(f.Event) != EventHistory || err != nil {
			t.Errorf("%s: %s, %v", message, f.Event, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", message, diff)
		}
	}
}

func TestHistoryRefuses(t *testing.T) {
	t.Parallel()
	const limit = "Invalid parameter: data.limit must be an integer from 1 to 1000"
	const ref = "Invalid parameter: data.ref must be a string of at most 128 characters"
	for _, c := range []struct {
		data    string
		is      error
		text    string
		channel broker.Channel
		ref     string // the one returned, "-" for none
	}{
		{`null`, ErrFrame, "Missing parameter: data.channel", "", "-"},
		{`{"ref":"a"}`, ErrFrame, "Missing parameter: data.channel", "", "-"},
		{`{"ref":"a","channel":["c"]}`, ErrFrame, "Invalid parameter: data.channel must be a string", "", "-"},
		{`"x"`, ErrFrame, "Invalid parameter: data must be an object", "", "-"},
		{`{"channel":"c","ref":5}`, ErrHistory, ref, "c", "-"},
		{`{"channel":"c","ref":"` + strings.Repeat("ü", 129) + `"}`, ErrHistory, ref, "c", "-"},
		{`{"channel":"c","ref":"a","limit":0}`, ErrHistory, limit, "c", "a"},
		{`{"channel":"c","ref":"a","limit":-1}`, ErrHistory, limit, "c", "a"},
		{`{"channel":"c","ref":"a","limit":1001}`, ErrHistory, limit, "c", "a"},
		{`{"channel":"c","ref":"a","limit":99999999999999999999}`, ErrHistory, limit, "c", "a"},
		{`{"channel":"c","ref":"a","limit":1.5}`, ErrHistory, limit, "c", "a"},
		{`{"channel":"c","ref":"a","limit":1e2}`, ErrHistory, limit, "c", "a"},
		{`{"channel":"c","ref":"a","limit":"50"}`, ErrHistory, limit, "c", "a"},
		{`{"channel":"c","ref":"a","limit":{}}`, ErrHistory, limit, "c", "a"},
		{`{"channel":"c","ref":"a","before":5}`, ErrHistory, "Invalid parameter: data.before must be a position", "c", "a"},
		{`{"channel":"c","ref":"a","before":""}`, ErrHistory, "Invalid parameter: data.before must be a position", "c", "a"},
		{`{"channel":"c","ref":"a","after":{}}`, ErrHistory, "Invalid parameter: data.after must be a position", "c", "a"},
		{`{"channel":"c","before":"p","after":"p"}`, ErrHistory, "Invalid parameter: data.before and data.after exclude each other", "c", "-"},
	} {
		got, err := decoded(t, `{"event":"playhead:history","data":`+c.data+`}`).History()
		gotRef := "-"
		if got.Ref != nil {
			gotRef = *got.Ref
		}
		if !errors.Is(err, c.is) || err.Error() != c.text || got.Channel != c.channel || gotRef != c.ref {
			t.Errorf("%s: channel %q, ref %q, %v; want %q, %q, %s", c.data, got.Channel, gotRef, err, c.channel, c.ref, c.text)
		}
	}
}

// answer is what a client reads of a playhead:history.
type answer struct {
	Ref   *string
	Items []struct {
		ID, Event, Data, Position string
		TimeMS                    int64 `json:"time_ms"`
		UserID                    *string
	}
	HasMore bool `json:"has_more"`
	Next    string
}

// An answer is never over the bound, however much its content is escaped, nor much shorter when there
// is more to give; what it leaves out comes next.
func TestPageIsBounded(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"plain":    strings.Repeat("x", 500),
		"quotes":   strings.Repeat(`"`, 500),
		"slashes":  strings.Repeat(`\`, 500),
		"controls": strings.Repeat("\x01", 500),
		"not text": strings.Repeat("\xff", 500),
		"empty":    "",
	} {
		var items []*broker.Event
		for n := range 50 {
			e := pastEvent(n)
			e.Data = []byte(data)
			items = append(items, e)
		}
		for _, most := range []int{20_000, 60_000, 1 << 20} {
			p := Page{Channel: "orders", Items: items, Next: items[49].Position}
			frame := AppendPage(nil, p, most)
			var got answer
			twice(t, frame, &got)
			n := len(got.Items)
			if len(frame) > most || n == 0 {
				t.Errorf("%s: %d items in %d bytes, at most %d are allowed", name, n, len(frame), most)
				continue
			}
			if whole := n == len(items); got.HasMore == whole || got.Next != items[n-1].Position.String() || !whole && len(frame) < most/2 {
				t.Errorf("%s: %d of %d items in %d of %d bytes, has_more %v, next %s", name, n, len(items), len(frame), most, got.HasMore, got.Next)
			}
		}
	}
}

// One that is too large by itself is given all the same: otherwise nobody got past it.
func TestPageGivesAtLeastOne(t *testing.T) {
	t.Parallel()
	large, small := pastEvent(1), pastEvent(0)
	large.Data = []byte(strings.Repeat("x", 10_000))
	var got answer
	twice(t, AppendPage(nil, Page{Channel: "orders", Items: []*broker.Event{large, small}, Next: small.Position}, 1000), &got)
	if len(got.Items) != 1 || got.Items[0].ID != large.ID || !got.HasMore || got.Next != large.Position.String() {
		t.Errorf("%d items, has_more %v, next %s", len(got.Items), got.HasMore, got.Next)
	}
}

// Where a page ends at the place at which the subscription began, going on from there is spelled
// differently from asking for what was before the subscription.
func TestNextIsNotTheBegin(t *testing.T) {
	t.Parallel()
	begin := pastEvent(0).Position
	noTime := begin
	noTime.Time = 0
	for _, test := range []struct {
		page Page
		most int
		want broker.Position
	}{
		{Page{Items: []*broker.Event{pastEvent(0)}, Next: begin, Begin: begin}, 1 << 20, noTime},
		{Page{Items: []*broker.Event{pastEvent(0), pastEvent(1)}, Next: pastEvent(1).Position, Begin: begin}, 1, noTime}, // cut
		{Page{Items: []*broker.Event{pastEvent(0)}, Next: begin, Begin: noTime}, 1 << 20, begin},
		{Page{Items: []*broker.Event{pastEvent(0)}, Next: begin}, 1 << 20, begin},
		{Page{}, 1 << 20, broker.Position{}},
	} {
		var got answer
		twice(t, AppendPage(nil, test.page, test.most), &got)
		if got.Next != test.want.String() {
			t.Errorf("next %q, want %q", got.Next, test.want)
		}
	}
}

func TestAppendItem(t *testing.T) {
	t.Parallel()
	const odd = "a\"b\\c\nd\x01e</script>ü\u2028"
	e := &broker.Event{ID: odd, Name: odd, Data: []byte(odd), UserID: odd, Time: time.UnixMilli(5)}
	var got map[string]any
	if err := json.Unmarshal(AppendItem(nil, e), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"id": odd, "event": odd, "data": odd, "user_id": odd, "time_ms": 5.0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("item (-want +got):\n%s", diff)
	}
}

func BenchmarkAppendPage(b *testing.B) {
	p := Page{Channel: "private-orders.42"}
	for range 100 {
		p.Items = append(p.Items, delivery(256).Event)
	}
	b.ReportAllocs()
	for b.Loop() {
		AppendPage(nil, p, 1<<20)
	}
}
