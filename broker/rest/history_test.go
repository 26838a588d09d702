package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// past is a history that answers every question with the same.
type past struct {
	page  replay.Page
	err   error
	asked []replay.PageRequest
	until []time.Duration // how long each may take
}

func (p *past) Page(ctx context.Context, q replay.PageRequest) (replay.Page, error) {
	p.asked = append(p.asked, q)
	if end, ok := ctx.Deadline(); ok {
		p.until = append(p.until, time.Until(end))
	}
	return p.page, p.err
}

// withPast has the site on a medium with that past.
func withPast(p *past) func(*Config, *broker.App) {
	return func(c *Config, _ *broker.App) { c.History = p }
}

const historyPath = "/apps/3/channels/orders/history"

func TestHistoryQuestions(t *testing.T) {
	t.Parallel()
	for query, change := range map[string]func(*replay.PageRequest){
		"":                           func(*replay.PageRequest) {},
		"limit=1":                    func(q *replay.PageRequest) { q.Limit = 1 },
		"limit=1000":                 func(q *replay.PageRequest) { q.Limit = 1000 },
		"direction=newest_first":     func(*replay.PageRequest) {},
		"direction=oldest_first":     func(q *replay.PageRequest) { q.OldestFirst = true },
		"before=1-e-1-0":             func(q *replay.PageRequest) { q.Before = "1-e-1-0" },
		"after=1-e-1-0":              func(q *replay.PageRequest) { q.After = "1-e-1-0" },
		"before=1-e-9-0&after=1-e-1": func(q *replay.PageRequest) { q.Before, q.After = "1-e-9-0", "1-e-1" },
		"before=1-e-9-0&after=1-e-1-0&direction=oldest_first": func(q *replay.PageRequest) {
			q.Before, q.After, q.OldestFirst = "1-e-9-0", "1-e-1-0", true
		},
		"before=a%26b+c":            func(q *replay.PageRequest) { q.Before = "a&b c" },
		"start_time_ms=0":           func(q *replay.PageRequest) { q.From = time.UnixMilli(0) },
		"end_time_ms=1732350000123": func(q *replay.PageRequest) { q.To = time.UnixMilli(1732350000123) },
		"start_time_ms=5&end_time_ms=5": func(q *replay.PageRequest) {
			q.From, q.To = time.UnixMilli(5), time.UnixMilli(5)
		},
		"page=7&Limit=0&info=x": func(*replay.PageRequest) {},
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			p := &past{}
			s := open(t, withPast(p))
			if status, body := s.do(t, "GET", historyPath, query, ""); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
			want := replay.PageRequest{App: "3", Channel: "orders", ClientEvents: true}
			change(&want)
			if diff := cmp.Diff([]replay.PageRequest{want}, p.asked); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHistoryRefused(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"limit=":                          `Invalid limit: "" must be a number from 1 to 1000`,
		"limit=0":                         `Invalid limit: "0" must be a number from 1 to 1000`,
		"limit=-1":                        `Invalid limit: "-1" must be a number from 1 to 1000`,
		"limit=1001":                      `Invalid limit: "1001" must be a number from 1 to 1000`,
		"limit=ten":                       `Invalid limit: "ten" must be a number from 1 to 1000`,
		"limit=1.5":                       `Invalid limit: "1.5" must be a number from 1 to 1000`,
		"limit=99999999999999999999":      `Invalid limit: "99999999999999999999" must be a number from 1 to 1000`,
		"limit=5&limit=5":                 `Invalid limit: given more than once`,
		"direction=":                      `Invalid direction: "" must be newest_first or oldest_first`,
		"direction=x":                     `Invalid direction: "x" must be newest_first or oldest_first`,
		"direction=Newest_First":          `Invalid direction: "Newest_First" must be newest_first or oldest_first`,
		"before=":                         `Invalid before: empty; leave it out to set no bound`,
		"after=":                          `Invalid after: empty; leave it out to set no bound`,
		"after=1-e-1-0&after=1-e-1-0":     `Invalid after: given more than once`,
		"start_time_ms=abc":               `Invalid start_time_ms: "abc" must be a Unix time in milliseconds`,
		"start_time_ms=":                  `Invalid start_time_ms: "" must be a Unix time in milliseconds`,
		"start_time_ms=-1":                `Invalid start_time_ms: "-1" must be a Unix time in milliseconds`,
		"end_time_ms=1e12":                `Invalid end_time_ms: "1e12" must be a Unix time in milliseconds`,
		"end_time_ms=9223372036854775808": `Invalid end_time_ms: "9223372036854775808" must be a Unix time in milliseconds`,
		"start_time_ms=2&end_time_ms=1":   `Invalid start_time_ms: is after end_time_ms`,
		"end_time_ms=1&start_time_ms=2":   `Invalid start_time_ms: is after end_time_ms`,
		"direction=" + strings.Repeat("x", 3_000): `Invalid direction: "` + strings.Repeat("x", 100) + `" must be newest_first or oldest_first`,
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			p := &past{}
			s := open(t, withPast(p))
			if status, body := s.do(t, "GET", historyPath, query, ""); status != 400 || body != want {
				t.Errorf("%d %s\nwant 400 %s", status, body, want)
			}
			if p.asked != nil {
				t.Errorf("asked for %+v", p.asked)
			}
		})
	}
}

func TestHistoryOfABadChannel(t *testing.T) {
	t.Parallel()
	p := &past{}
	s := open(t, withPast(p))
	status, body := s.do(t, "GET", "/apps/3/channels/a%20b/history", "", "")
	if status != 400 || body != `Invalid channel name 'a b': character ' ' is not allowed` || p.asked != nil {
		t.Errorf("%d %s, asked for %v", status, body, p.asked)
	}
}

func TestHistoryAnswers(t *testing.T) {
	t.Parallel()
	at := func(serial uint64, ms int64) broker.Position {
		return broker.Position{Epoch: "e", Serial: serial, Time: ms}
	}
	event := func(serial uint64, user string) *broker.Event {
		ms := int64(1_700_000_000_000 + serial)
		return &broker.Event{
			App: "3", Channel: "orders", ID: fmt.Sprint("id\"", serial), Name: "order.updated", Data: []byte("{\"a\":\"é\n\"}"),
			UserID: user, Client: user != "", Time: time.UnixMilli(ms), Position: at(serial, ms),
		}
	}
	for name, v := range map[string]struct {
		page replay.Page
		want string
	}{
		"a page": {
			replay.Page{
				Items: []*broker.Event{event(3, "u"), event(2, "")}, HasMore: true, Next: at(2, 1_700_000_000_002),
				Oldest: at(1, 1_700_000_000_001), Newest: at(4, 1_700_000_000_004),
			},
			`{"items":[` +
				`{"id":"id\"3","event":"order.updated","data":"{\"a\":\"é\n\"}","position":"1-e-3-loyw3v2b","time_ms":1700000000003,"user_id":"u"},` +
				`{"id":"id\"2","event":"order.updated","data":"{\"a\":\"é\n\"}","position":"1-e-2-loyw3v2a","time_ms":1700000000002}],` +
				`"has_more":true,"next":"1-e-2-loyw3v2a",` +
				`"oldest":{"position":"1-e-1-loyw3v29","time_ms":1700000000001},"newest":{"position":"1-e-4-loyw3v2c","time_ms":1700000000004}}`,
		},
		"none of this channel": {
			replay.Page{Oldest: at(1, 0), Newest: at(1, 5)},
			`{"items":[],"has_more":false,"next":null,"oldest":{"position":"1-e-1-0","time_ms":null},"newest":{"position":"1-e-1-5","time_ms":5}}`,
		},
		"nothing yet, but more": {
			replay.Page{HasMore: true, Next: at(7, 0), Oldest: at(1, 5), Newest: at(9, 5)},
			`{"items":[],"has_more":true,"next":"1-e-7-0","oldest":{"position":"1-e-1-5","time_ms":5},"newest":{"position":"1-e-9-5","time_ms":5}}`,
		},
		"an empty log": {
			replay.Page{},
			`{"items":[],"has_more":false,"next":null,"oldest":null,"newest":null}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, withPast(&past{page: v.page}))
			w := s.send(s.request(t, "GET", historyPath, "", ""))
			if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%d, Content-Type %q", w.Code, w.Header().Get("Content-Type"))
			}
			if diff := cmp.Diff(v.want, w.Body.String()); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// Every reason why there is no page has a status, and a text that names it.
func TestHistoryErrors(t *testing.T) {
	t.Parallel()
	inside := errors.New("the secret inside")
	for name, v := range map[string]struct {
		err     error
		counted int
		want    int
		text    string
		retry   string
		logged  string
	}{
		"before is no position": {&replay.PageError{Reason: replay.Invalid, Field: "before", Err: broker.ErrPosition}, 400, 400, "Invalid before: not a position that this server gave out", "", ""},
		"after is no position":  {&replay.PageError{Reason: replay.Invalid, Field: "after"}, 400, 400, "Invalid after: not a position that this server gave out", "", ""},
		"reset":                 {&replay.PageError{Reason: replay.Reset, Field: "before"}, 410, 410, "reset: the position in before is not of", "", ""},
		"reset while it was read": {
			&replay.PageError{Reason: replay.Reset}, 410, 410, "reset: the position is not of", "", "",
		},
		"ahead":          {&replay.PageError{Reason: replay.Ahead, Field: "after"}, 410, 410, "ahead: the position in after lies", "", ""},
		"expired":        {&replay.PageError{Reason: replay.Expired, Field: "after"}, 410, 410, "expired: the log no longer holds everything after the position in after", "", ""},
		"unsupported":    {&replay.PageError{Reason: replay.Unsupported}, 501, 501, "unsupported: ", "", ""},
		"unavailable":    {&replay.PageError{Reason: replay.Unavailable, Err: inside}, 503, 503, "The channel's history can't be read now", "1", "level=WARN"},
		"too slow":       {&replay.PageError{Reason: replay.Unavailable, Err: fmt.Errorf("read: %w", context.DeadlineExceeded)}, 503, 503, "The channel's history can't be read now", "1", "level=WARN"},
		"log down":       {&replay.PageError{Reason: replay.Unavailable, Err: broker.ErrUnavailable}, 503, 503, "The channel's history can't be read now", "1", "level=WARN"},
		"caller left":    {&replay.PageError{Reason: replay.Unavailable, Err: fmt.Errorf("read: %w", context.Canceled)}, 499, 503, "The request was given up.", "1", ""},
		"an odd reason":  {&replay.PageError{Reason: replay.TooFar, Err: inside}, 500, 500, "Internal server error", "", "level=ERROR"},
		"something else": {inside, 500, 500, "Internal server error", "", "level=ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logged bytes.Buffer
			s := open(t, withPast(&past{err: v.err}), func(c *Config, _ *broker.App) {
				c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			})
			w := s.send(s.request(t, "GET", historyPath, "", ""))
			if w.Code != v.want || !strings.HasPrefix(w.Body.String(), v.text) || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("%d %s\nwant %d %s…", w.Code, w.Body, v.want, v.text)
			}
			if got := w.Header().Get("Content-Type"); got != "text/plain; charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
			if got := w.Header().Get("Retry-After"); got != v.retry {
				t.Errorf("Retry-After %q, want %q", got, v.retry)
			}
			if !strings.Contains(logged.String(), v.logged) || v.logged == "" && logged.Len() > 0 {
				t.Errorf("logged %q, want %q", &logged, v.logged)
			}
			if got := testutil.ToFloat64(s.api.metrics.requests.WithLabelValues("history", strconv.Itoa(v.counted))); got != 1 {
				t.Errorf("%v requests counted with status %d, want 1", got, v.counted)
			}
		})
	}
}

func TestHistoryWithoutMemoryIs501(t *testing.T) {
	t.Parallel()
	s := open(t)
	if status, body := s.do(t, "GET", historyPath, "", ""); status != 501 || !strings.HasPrefix(body, "unsupported: the medium of this server has no memory") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := s.do(t, "GET", historyPath, "limit=0", ""); status != 400 {
		t.Errorf("a bad question: %d %s, want 400", status, body)
	}
}

func TestHistoryIsForItsOwner(t *testing.T) {
	t.Parallel()
	p := &past{}
	s := open(t, withPast(p))
	if w := s.send(httptest.NewRequest(http.MethodGet, historyPath, nil)); w.Code != 401 {
		t.Errorf("unsigned: %d", w.Code)
	}
	if w := s.send(httptest.NewRequest(http.MethodPost, historyPath, nil)); w.Code != 405 || w.Header().Get("Allow") != "GET" {
		t.Errorf("POST: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	if p.asked != nil {
		t.Errorf("asked for %+v", p.asked)
	}
}

// pieces is a writer that takes note of the size of each write, and fails from the n-th on.
type pieces struct {
	sink
	bytes.Buffer
	sizes []int
	fails int // −1: never
}

func (p *pieces) Write(b []byte) (int, error) {
	p.sizes = append(p.sizes, len(b))
	if p.fails >= 0 && len(p.sizes) > p.fails {
		return 0, errors.New("gone")
	}
	return p.Buffer.Write(b)
}

// full is the largest page that the defaults allow.
func full() replay.Page {
	var page replay.Page
	for i := range 1000 {
		page.Items = append(page.Items, &broker.Event{
			ID: fmt.Sprint(i), Name: "n", Data: bytes.Repeat([]byte{'"'}, 10_240), Position: broker.Position{Epoch: "e", Serial: uint64(i + 1)},
		})
	}
	return page
}

// A large answer isn't in memory a second time.
func TestLargeHistoryIsWrittenInPieces(t *testing.T) {
	t.Parallel()
	s := open(t, withPast(&past{page: full()}))
	w := &pieces{sink: sink{header: http.Header{}}, fails: -1}
	s.api.ServeHTTP(w, s.request(t, "GET", historyPath, "limit=1000", ""))
	for i, size := range w.sizes {
		if size > historyChunk+2*10_240+200 {
			t.Fatalf("write %d has %d bytes", i, size)
		}
	}
	if len(w.sizes) < 100 || w.status != 0 || w.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d writes, status %d, Content-Type %q", len(w.sizes), w.status, w.header.Get("Content-Type"))
	}
	var answer struct {
		Items []struct{ ID, Data string }
	}
	if err := json.Unmarshal(w.Bytes(), &answer); err != nil || len(answer.Items) != 1000 {
		t.Fatalf("%d items, error %v", len(answer.Items), err)
	}
	for i, item := range answer.Items {
		if item.ID != fmt.Sprint(i) || item.Data != strings.Repeat(`"`, 10_240) {
			t.Fatalf("item %d has id %q and %d bytes", i, item.ID, len(item.Data))
		}
	}
}

func TestCallerThatLeavesInTheMiddleOfHistory(t *testing.T) {
	t.Parallel()
	s := open(t, withPast(&past{page: full()}))
	w := &pieces{sink: sink{header: http.Header{}}, fails: 2}
	s.api.ServeHTTP(w, s.request(t, "GET", historyPath, "limit=1000", ""))
	if n := len(w.sizes); n != 3 || w.status != 0 {
		t.Errorf("%d writes and status %d, want none after the third, which failed", n, w.status)
	}
}
