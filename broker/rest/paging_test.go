package rest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/replay"
)

// onMemory has the site publish to a log and read it back, for real.
func onMemory(t *testing.T, memory *brokertest.Memory) *site {
	t.Helper()
	r, err := replay.New(replay.Config{History: memory, Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return open(t, onLog(t, memory), func(c *Config, _ *broker.App) { c.History = r })
}

// answered is an answer about history.
type answered struct {
	Items []struct {
		ID, Event, Data, Position string
		TimeMS                    int64  `json:"time_ms"`
		UserID                    string `json:"user_id"`
	}
	HasMore        bool    `json:"has_more"`
	Next           *string `json:"next"`
	Oldest, Newest *struct {
		Position string
		TimeMS   int64 `json:"time_ms"`
	}
}

// ids are those of the answer's items.
func (a answered) ids() []string {
	var ids []string
	for _, item := range a.Items {
		ids = append(ids, item.ID)
	}
	return ids
}

// read asks for history.
func (s *site) read(t *testing.T, query string) answered {
	t.Helper()
	status, body := s.do(t, "GET", historyPath, query, "")
	var a answered
	if err := json.Unmarshal([]byte(body), &a); status != 200 || err != nil {
		t.Fatalf("%s: %d %s, error %v", query, status, body, err)
	}
	return a
}

// all pages through history until there is no more.
func (s *site) all(t *testing.T, query, bound string) []string {
	t.Helper()
	var ids []string
	a := s.read(t, query)
	ids = append(ids, a.ids()...)
	for a.HasMore {
		a = s.read(t, query+"&"+bound+"="+*a.Next)
		ids = append(ids, a.ids()...)
	}
	if last := s.read(t, query+"&"+bound+"="+*a.Next); len(last.Items) != 0 || last.HasMore || last.Next != nil {
		t.Errorf("behind the last page: %+v, want nothing", last)
	}
	return ids
}

// What was published is read back as it was, page by page, in both directions.
func TestPaging(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := &brokertest.Memory{}
		s := onMemory(t, memory)
		began := time.Now()
		var oldest []string
		for i := range 25 {
			id := fmt.Sprint("id-", i)
			oldest = append(oldest, id)
			for _, ch := range []string{"orders", "elsewhere"} {
				body := fmt.Sprintf(`{"name":"n%d","channel":"%s","data":"{\"n\":%d}","idempotency_key":"%s"}`, i, ch, i, id+strings.Repeat("x", len(ch)-len("orders")))
				if status, answer := s.do(t, "POST", "/apps/3/events", "", body); status != 200 {
					t.Fatalf("%d %s", status, answer)
				}
			}
			time.Sleep(time.Second)
		}
		newest := slices.Clone(oldest)
		slices.Reverse(newest)
		at := func(i int) int64 { return began.Add(time.Duration(i) * time.Second).UnixMilli() }
		for name, v := range map[string]struct {
			query, bound string
			want         []string
		}{
			"newest first":           {"limit=10", "before", newest},
			"newest first, in fives": {"limit=5&direction=newest_first", "before", newest},
			"newest first, at once":  {"", "before", newest},
			"oldest first":           {"limit=10&direction=oldest_first", "after", oldest},
			"oldest first, in fives": {"limit=5&direction=oldest_first", "after", oldest},
			"of a time, newest":      {fmt.Sprintf("limit=2&start_time_ms=%d&end_time_ms=%d", at(3), at(7)), "before", newest[17:22]},
			"of a time, oldest":      {fmt.Sprintf("limit=2&direction=oldest_first&start_time_ms=%d&end_time_ms=%d", at(3), at(7)), "after", oldest[3:8]},
			"since a time":           {fmt.Sprintf("limit=2&direction=oldest_first&start_time_ms=%d", at(20)), "after", oldest[20:]},
			"until a time":           {fmt.Sprintf("limit=2&end_time_ms=%d", at(4)), "before", newest[20:]},
		} {
			if diff := cmp.Diff(v.want, s.all(t, v.query, v.bound)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}

		a := s.read(t, "limit=1&direction=oldest_first")
		item := a.Items[0]
		if item.Event != "n0" || item.Data != `{"n":0}` || item.TimeMS != at(0) || item.UserID != "" {
			t.Errorf("item %+v", item)
		}
		if a.Oldest == nil || a.Oldest.Position != item.Position || a.Oldest.TimeMS != at(0) ||
			a.Newest == nil || a.Newest.TimeMS != at(24) || *a.Next != item.Position {
			t.Errorf("ends %+v and %+v, next %v", a.Oldest, a.Newest, a.Next)
		}

		// Both bounds, whichever comes first.
		from, to := s.read(t, "limit=3&direction=oldest_first").Items[2], s.read(t, "limit=3").Items[2]
		for direction, want := range map[string][]string{"oldest_first": oldest[3:22], "newest_first": newest[3:22]} {
			got := s.read(t, "direction="+direction+"&after="+from.Position+"&before="+to.Position)
			if diff := cmp.Diff(want, got.ids()); diff != "" {
				t.Errorf("between two positions, %s (-want +got):\n%s", direction, diff)
			}
		}
	})
}

// Backends see client events, and who sent them.
func TestHistoryHasClientEvents(t *testing.T) {
	t.Parallel()
	memory := &brokertest.Memory{}
	s := onMemory(t, memory)
	e := &broker.Event{App: "3", Channel: "orders", ID: "i", Name: "client-typing", Data: []byte("{}"), UserID: "u\"1", Client: true, Time: time.UnixMilli(7).UTC()}
	if err := memory.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	a := s.read(t, "")
	if len(a.Items) != 1 || a.Items[0].Event != "client-typing" || a.Items[0].UserID != `u"1` || a.Items[0].TimeMS != 7 {
		t.Errorf("items %+v", a.Items)
	}
}

// A channel that nothing was published to has an empty past, and so has an app without any event.
func TestHistoryOfNothing(t *testing.T) {
	t.Parallel()
	memory := &brokertest.Memory{}
	s := onMemory(t, memory)
	if status, body := s.do(t, "GET", historyPath, "", ""); status != 200 || body != `{"items":[],"has_more":false,"next":null,"oldest":null,"newest":null}` {
		t.Errorf("an empty log: %d %s", status, body)
	}
	if err := memory.Append(t.Context(), &broker.Event{App: "3", Channel: "elsewhere", ID: "i", Time: time.UnixMilli(7).UTC()}); err != nil {
		t.Fatal(err)
	}
	if a := s.read(t, ""); len(a.Items) != 0 || a.HasMore || a.Next != nil || a.Oldest == nil || a.Newest == nil {
		t.Errorf("a quiet channel: %+v", a)
	}
}

// Positions that are none, or no longer, get the right status and word.
func TestHistoryOfOddPositions(t *testing.T) {
	t.Parallel()
	memory := &brokertest.Memory{}
	s := onMemory(t, memory)
	publish := func(app broker.AppID) string {
		t.Helper()
		e := &broker.Event{App: app, Channel: "orders", ID: "i" + fmt.Sprint(time.Now().UnixNano()), Time: time.Now().UTC()}
		if err := memory.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		return e.Position.String()
	}
	other := publish("4")
	var positions []string
	for range 5 {
		positions = append(positions, publish("3"))
	}
	last, err := broker.ParsePosition(positions[4])
	if err != nil {
		t.Fatal(err)
	}
	beyond := last
	beyond.Serial += 10
	reused := last
	reused.Time--
	memory.Forget("3", 2)
	for name, v := range map[string]struct {
		query, position string
		status          int
		text            string // the answer's beginning
	}{
		"held":                      {"after", positions[2], 200, ""},
		"just forgotten":            {"after", positions[1], 200, ""}, // all that came after is still there
		"forgotten":                 {"after", positions[0], 410, "expired: the log no longer holds everything after the position in after"},
		"forgotten, going back":     {"before", positions[0], 200, ""},
		"of another app":            {"after", other, 410, "reset: the position in after is not of this app's log as it is now"},
		"of another app, back":      {"before", other, 410, "reset: the position in before"},
		"serial given out again":    {"before", reused.String(), 410, "reset: the position in before"},
		"beyond the end":            {"after", beyond.String(), 410, "ahead: the position in after lies beyond the end of the log"},
		"beyond the end, back":      {"before", beyond.String(), 410, "ahead: the position in before"},
		"cut off":                   {"before", positions[4][:10], 400, "Invalid before: not a position that this server gave out"},
		"something appended":        {"after", positions[4] + "x-", 400, "Invalid after: not a position that this server gave out"},
		"nonsense":                  {"after", "yesterday", 400, "Invalid after: not a position that this server gave out"},
		"of absurd length":          {"before", strings.Repeat("1-", 5_000), 400, "Invalid before: not a position that this server gave out"},
		"a serial of absurd length": {"before", "1-e-" + strings.Repeat("z", 13) + "-1", 400, "Invalid before: not a position that this server gave out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, body := s.do(t, "GET", historyPath, v.query+"="+v.position, "")
			if status != v.status || !strings.HasPrefix(body, v.text) || len(body) > 1000 && status != 200 {
				t.Errorf("%d %s\nwant %d %s…", status, body, v.status, v.text)
			}
		})
	}
}

// A log that can't be read is 503, and nothing of the inside is told.
func TestHistoryOfALogThatFails(t *testing.T) {
	t.Parallel()
	history := &brokertest.FaultyHistory{History: &brokertest.Memory{}}
	r, err := replay.New(replay.Config{History: history, Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, func(c *Config, _ *broker.App) { c.History = r })
	history.FailBounds(1)
	if status, body := s.do(t, "GET", historyPath, "", ""); status != 503 || strings.Contains(body, "fault") {
		t.Errorf("%d %s, want 503", status, body)
	}
	if status, body := s.do(t, "GET", historyPath, "", ""); status != 200 {
		t.Errorf("after it: %d %s, want 200", status, body)
	}
}

func TestHistoryTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &past{}
		s := open(t, withPast(p))
		s.read(t, "")
		if diff := cmp.Diff([]time.Duration{15 * time.Second}, p.until); diff != "" {
			t.Errorf("time to read (-want +got):\n%s", diff)
		}
	})
}
