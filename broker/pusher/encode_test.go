package pusher

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// golden reads a frame of testdata, without the newline at the end of the file.
func golden(tb testing.TB, kind, name string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", kind, name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSuffix(string(b), "\n")
}

var place = broker.Position{Epoch: "E1", Serial: 48}

func TestServerFramesAreGolden(t *testing.T) {
	t.Parallel()
	const socket = "123456.7890123"
	ref := "a1"
	window, none := 24*time.Hour, time.Duration(0)
	event := func(e broker.Event, form broker.Form) []byte {
		return AppendDelivery(nil, &broker.Delivery{Event: &e}, form)
	}
	order := broker.Event{Name: "order.updated", Channel: "orders", Data: []byte(`{"id":7}`), ID: "b1f0", Position: place}
	typing := broker.Event{Name: "client-typing", Channel: "presence-foo", Data: []byte(`{"on":true}`), UserID: "10", ID: "b1f0", Position: place, Client: true}
	noMemory := order
	noMemory.Position = broker.Position{}
	notice := func(kind broker.NoticeKind, form broker.Form) []byte {
		return AppendDelivery(nil, &broker.Delivery{Notice: &broker.Notice{
			Kind: kind, Channel: "presence-foo", Member: broker.Member{UserID: "11", Info: []byte(`{"name":"B"}`)},
		}}, form)
	}
	told := func(n broker.Notice) []byte { return AppendDelivery(nil, &broker.Delivery{Notice: &n}, broker.Plain) }
	frames := map[string][]byte{
		"signin_success":                   AppendSignInSuccess(nil, `{"id":"12345","user_info":{"name":"Ada"},"watchlist":["67890"]}`),
		"error_watchlist":                  AppendError(nil, CodeWatchlistLimit, CodeWatchlistLimit.Text()),
		"cache_miss":                       AppendCacheMiss(nil, "cache-foo"),
		"watchlist_events":                 told(broker.Notice{Kind: broker.WatchedUsers, Online: []string{"67890"}, Offline: []string{"24680"}}),
		"watchlist_events_online":          told(broker.Notice{Kind: broker.WatchedUsers, Online: []string{"67890"}}),
		"watchlist_events_offline":         told(broker.Notice{Kind: broker.WatchedUsers, Offline: []string{"24680", "67890"}}),
		"subscription_count":               told(broker.Notice{Kind: broker.SubscriptionCount, Channel: "foo", Count: 3}),
		"connection_established":           AppendConnectionEstablished(nil, socket, 120*time.Second, nil),
		"connection_established_replay":    AppendConnectionEstablished(nil, socket, 120*time.Second, &window),
		"connection_established_no_memory": AppendConnectionEstablished(nil, socket, 120*time.Second, &none),
		"error":                            AppendError(nil, CodeNone, AlreadySubscribed("foo")),
		"error_code":                       AppendError(nil, CodeClientEventRate, CodeClientEventRate.Text()),
		"pong":                             AppendPong(nil),
		"ping":                             AppendPing(nil),
		"subscription_succeeded":           AppendSubscriptionSucceeded(nil, Answer{Channel: "foo"}),
		"subscription_succeeded_presence": AppendSubscriptionSucceeded(nil, Answer{Channel: "presence-foo", Members: []broker.Member{
			{UserID: "10", Info: []byte(`{"name":"A"}`)}, {UserID: "11"},
		}}),
		"subscription_succeeded_recovered": AppendSubscriptionSucceeded(nil, Answer{
			Channel: "private-orders", Position: place, Resumed: &Resumed{Recovered: true, Count: 3},
		}),
		"subscription_succeeded_gap": AppendSubscriptionSucceeded(nil, Answer{
			Channel: "private-orders", Position: place, Resumed: &Resumed{Reason: "expired"},
		}),
		"subscription_succeeded_rewound_expired": AppendSubscriptionSucceeded(nil, Answer{
			Channel: "orders", Position: place, Resumed: &Resumed{Reason: "expired", Count: 3},
		}),
		"subscription_error":      AppendSubscriptionError(nil, "private-foo", Unauthorized, "The connection is unauthorized."),
		"event":                   event(broker.Event{Name: "my-event", Channel: "foo", Data: []byte(`{"a":1}`), ID: "x", Position: place}, broker.Plain),
		"event_positioned":        event(order, broker.Positioned),
		"event_no_memory":         event(noMemory, broker.Positioned),
		"client_event":            event(typing, broker.Plain),
		"client_event_positioned": event(typing, broker.Positioned),
		"server_to_user":          event(broker.Event{Name: "hi", Channel: "#server-to-user-12345", Data: []byte(`{"n":1}`)}, broker.Plain),
		"member_added":            notice(broker.MemberAdded, broker.Plain),
		"member_removed":          notice(broker.MemberRemoved, broker.Plain),
		"replayed":                AppendReplayed(nil, "private-orders", 3, place),
		"gap":                     AppendGap(nil, "private-orders", "too_far", 0, place),
		"gap_no_memory":           AppendGap(nil, "private-orders", "unsupported", 0, broker.Position{}),
		"gap_rewound":             AppendGap(nil, "orders", "expired", 3, place),
		"history": AppendPage(nil, Page{
			Channel: "presence-foo", Ref: &ref, Items: []*broker.Event{pastEvent(1), pastEvent(0)}, HasMore: true, Next: pastEvent(0).Position,
		}, 1<<20),
		"history_empty": AppendPage(nil, Page{Channel: "orders"}, 1<<20),
		"history_error": AppendHistoryError(nil, "orders", &ref, "not_subscribed", NotSubscribed("orders")),
	}
	files, err := filepath.Glob("testdata/server/*.json")
	if err != nil || len(files) != len(frames) {
		t.Errorf("%d golden frames, %d encoded: %v", len(files), len(frames), err)
	}
	for name, got := range frames {
		if diff := cmp.Diff(golden(t, "server", name), string(got)); diff != "" {
			t.Errorf("%s (-golden +encoded):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(string(notice(broker.MemberAdded, broker.Plain)), string(notice(broker.MemberAdded, broker.Positioned))); diff != "" {
		t.Errorf("a notice depends on the form:\n%s", diff)
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	d := &broker.Delivery{Event: &broker.Event{Name: "n", Channel: "c", Data: []byte("d")}}
	if got, want := string(AppendDelivery([]byte("head"), d, broker.Plain)), `head{"event":"n","channel":"c","data":"d"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestActivityTimeoutIsAPositiveNumberOfSeconds(t *testing.T) {
	t.Parallel()
	for given, want := range map[time.Duration]string{
		0: "1", time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Minute: "60",
	} {
		got := string(AppendConnectionEstablished(nil, "1.2", given, nil))
		if !strings.Contains(got, `\"activity_timeout\":`+want+`}`) {
			t.Errorf("%v: %s, want %s s", given, got, want)
		}
	}
}

func TestEmptyPresenceIsAnObject(t *testing.T) {
	t.Parallel()
	got := string(AppendSubscriptionSucceeded(nil, Answer{Channel: "presence-cache-x"}))
	want := `{"event":"pusher_internal:subscription_succeeded","channel":"presence-cache-x","data":"{\"presence\":{\"count\":0,\"ids\":[],\"hash\":{}}}"}`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// twice decodes a frame and the string in its data.
func twice(t *testing.T, frame []byte, data any) map[string]any {
	t.Helper()
	var f map[string]any
	if err := json.Unmarshal(frame, &f); err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	if data != nil {
		inner, ok := f["data"].(string)
		if !ok {
			t.Fatalf("%s: data is no string", frame)
		}
		if err := json.Unmarshal([]byte(inner), data); err != nil {
			t.Fatalf("%s: %v", frame, err)
		}
	}
	return f
}

func TestOddTextSurvivesDoubleEncoding(t *testing.T) {
	t.Parallel()
	const odd = "a\"b\\c\nd\x01e</script>ü\u2028😀"
	info := json.RawMessage(` { "a" : [ "` + `\"\\` + `ü", true ] } `)

	var doc struct {
		Presence struct {
			Count int
			IDs   []string
			Hash  map[string]json.RawMessage
		}
	}
	twice(t, AppendSubscriptionSucceeded(nil, Answer{Channel: "presence-x", Members: []broker.Member{{UserID: odd, Info: info}}}), &doc)
	if doc.Presence.Count != 1 || doc.Presence.IDs[0] != odd {
		t.Errorf("presence document %+v", doc)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(info)), strings.TrimSpace(string(doc.Presence.Hash[odd]))); diff != "" {
		t.Errorf("user_info changed:\n%s", diff)
	}

	var member struct {
		UserID   string          `json:"user_id"`
		UserInfo json.RawMessage `json:"user_info"`
	}
	notice := &broker.Notice{Kind: broker.MemberAdded, Channel: "presence-x", Member: broker.Member{UserID: odd}}
	twice(t, AppendDelivery(nil, &broker.Delivery{Notice: notice}, broker.Plain), &member)
	if member.UserID != odd || string(member.UserInfo) != "null" {
		t.Errorf("member %+v", member)
	}

	var refused struct {
		Type, Error string
		Status      int
	}
	f := twice(t, AppendSubscriptionError(nil, odd, NameInvalid, odd), &refused)
	if f["channel"] != odd || refused.Error != odd || refused.Type != "InvalidChannel" || refused.Status != 4009 {
		t.Errorf("subscription error %+v in %v", refused, f)
	}

	f = twice(t, AppendError(nil, CodeNone, odd), nil)
	if diff := cmp.Diff(map[string]any{"code": nil, "message": odd}, f["data"]); diff != "" {
		t.Errorf("error data:\n%s", diff)
	}

	e := &broker.Event{Name: odd, Channel: odd, UserID: odd, ID: odd, Data: []byte(odd)}
	f = twice(t, AppendDelivery(nil, &broker.Delivery{Event: e}, broker.Positioned), nil)
	want := map[string]any{"event": odd, "channel": odd, "user_id": odd, "id": odd, "data": odd}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("event:\n%s", diff)
	}
}

func TestEncodingAllocatesOnce(t *testing.T) {
	d := delivery(256)
	for form, name := range map[broker.Form]string{broker.Plain: "plain", broker.Positioned: "positioned"} {
		if n := testing.AllocsPerRun(100, func() { AppendDelivery(nil, d, form) }); n > 1 {
			t.Errorf("%s: %v allocations, want 1", name, n)
		}
	}
}

// delivery makes an event whose data is a JSON document of about n bytes.
func delivery(n int) *broker.Delivery {
	const item = `{"id":7,"name":"a name","price":12.5},`
	data := "[" + strings.TrimSuffix(strings.Repeat(item, n/len(item)), ",") + "]"
	return &broker.Delivery{Event: &broker.Event{
		Name: "order.updated", Channel: "private-orders.42", Data: []byte(data),
		ID: "7F3K2MPQ5XVYATBDGH2345", Position: broker.Position{Epoch: "aB3dE6gH9", Serial: 123456789, Time: 1732350000123},
	}}
}

func BenchmarkAppendDelivery(b *testing.B) {
	for _, c := range []struct {
		name string
		data int
		form broker.Form
	}{
		{"plain/256B", 256, broker.Plain}, {"positioned/256B", 256, broker.Positioned}, {"plain/10kB", 10_000, broker.Plain},
	} {
		d := delivery(c.data)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				AppendDelivery(nil, d, c.form)
			}
		})
	}
}
