package replay_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/replay"
	"github.com/prometheus/client_golang/prometheus"
)

// pageGot is a page in a form that compares well.
type pageGot struct {
	Serials        []uint64
	More           bool
	Next           uint64
	Oldest, Newest broker.Position
}

func viewPage(p replay.Page) pageGot {
	g := pageGot{More: p.HasMore, Next: p.Next.Serial, Oldest: p.Oldest, Newest: p.Newest}
	for _, e := range p.Items {
		g.Serials = append(g.Serials, e.Position.Serial)
	}
	return g
}

func TestPage(t *testing.T) {
	t.Parallel()
	odd := func(n int, e *broker.Event) { // odd events are ours
		if n%2 == 0 {
			e.Channel = "elsewhere"
		}
	}
	clients := func(n int, e *broker.Event) { e.Client = n%2 == 0 }
	type want struct {
		serials []uint64
		more    bool
		next    uint64
		oldest  int // default 1; −1: the log holds nothing
	}
	tests := map[string]struct {
		events        int // default 9
		edit          func(int, *broker.Event)
		forget        uint64
		q             replay.PageRequest
		before, after int // positions of events; 0: none
		want          want
		wantErr       *replay.PageError
	}{
		"all, newest first": {want: want{serials: []uint64{9, 8, 7, 6, 5, 4, 3, 2, 1}, next: 1}},
		"all, oldest first": {q: replay.PageRequest{OldestFirst: true}, want: want{serials: upto(9), next: 9}},
		"the newest":        {q: replay.PageRequest{Limit: 2}, want: want{serials: []uint64{9, 8}, more: true, next: 8}},
		"the oldest":        {q: replay.PageRequest{Limit: 2, OldestFirst: true}, want: want{serials: []uint64{1, 2}, more: true, next: 2}},
		"exactly all":       {q: replay.PageRequest{Limit: 9}, want: want{serials: []uint64{9, 8, 7, 6, 5, 4, 3, 2, 1}, next: 1}},
		"exactly all, oldest first": {
			q: replay.PageRequest{Limit: 9, OldestFirst: true}, want: want{serials: upto(9), next: 9},
		},
		"before":           {before: 4, want: want{serials: []uint64{3, 2, 1}, next: 1}},
		"before the first": {before: 1},
		"after":            {after: 7, q: replay.PageRequest{OldestFirst: true}, want: want{serials: []uint64{8, 9}, next: 9}},
		"after the last":   {after: 9, q: replay.PageRequest{OldestFirst: true}},
		"between":          {after: 2, before: 6, want: want{serials: []uint64{5, 4, 3}, next: 3}},
		"between, oldest first": {
			after: 2, before: 6, q: replay.PageRequest{OldestFirst: true, Limit: 2},
			want: want{serials: []uint64{3, 4}, more: true, next: 4},
		},
		"between the wrong way round": {after: 6, before: 2},
		"between neighbours":          {after: 5, before: 6},
		"one channel":                 {edit: odd, q: replay.PageRequest{Limit: 2}, want: want{serials: []uint64{9, 7}, more: true, next: 7}},
		"one channel to its end":      {edit: odd, q: replay.PageRequest{Limit: 5}, want: want{serials: []uint64{9, 7, 5, 3, 1}, next: 1}},
		"before an event of another channel": {
			edit: odd, before: 6, want: want{serials: []uint64{5, 3, 1}, next: 1},
		},
		"without client events": {edit: clients, q: replay.PageRequest{Limit: 3}, want: want{serials: []uint64{9, 7, 5}, more: true, next: 5}},
		"with client events": {
			edit: clients, q: replay.PageRequest{Limit: 3, ClientEvents: true},
			want: want{serials: []uint64{9, 8, 7}, more: true, next: 7},
		},
		"no more but client events": {
			edit: func(n int, e *broker.Event) { e.Client = n < 7 }, q: replay.PageRequest{Limit: 3},
			want: want{serials: []uint64{9, 8, 7}, next: 7},
		},
		"no more but client events, oldest first": {
			edit: func(n int, e *broker.Event) { e.Client = n > 3 }, q: replay.PageRequest{Limit: 3, OldestFirst: true},
			want: want{serials: []uint64{1, 2, 3}, next: 3},
		},
		"from":          {q: replay.PageRequest{From: moment(8)}, want: want{serials: []uint64{9, 8}, next: 8}},
		"to":            {q: replay.PageRequest{To: moment(2)}, want: want{serials: []uint64{2, 1}, next: 1}},
		"from and to":   {q: replay.PageRequest{From: moment(3), To: moment(5), OldestFirst: true}, want: want{serials: []uint64{3, 4, 5}, next: 5}},
		"of one moment": {q: replay.PageRequest{From: moment(3), To: moment(3)}, want: want{serials: []uint64{3}, next: 3}},
		"from and before": {
			before: 8, q: replay.PageRequest{From: moment(3), Limit: 2},
			want: want{serials: []uint64{7, 6}, more: true, next: 6},
		},
		"to, far back": {
			events: 400, q: replay.PageRequest{To: moment(200), Limit: 2},
			want: want{serials: []uint64{200, 199}, more: true, next: 199},
		},
		"to, though events are out of the order of their times": {
			events: 400, edit: func(n int, e *broker.Event) { e.Time = moment(n + n%2*20) },
			q:    replay.PageRequest{To: moment(200), Limit: 3},
			want: want{serials: []uint64{200, 198, 196}, more: true, next: 196},
		},
		"from later than everything":   {q: replay.PageRequest{From: moment(100)}},
		"to earlier than everything":   {q: replay.PageRequest{To: moment(-100)}},
		"of an empty log":              {events: -1},
		"of an empty log, from":        {events: -1, q: replay.PageRequest{From: moment(3), OldestFirst: true}},
		"default limit":                {events: 101, want: want{serials: reversed(upto(101)[1:]), more: true, next: 2}},
		"largest limit":                {events: 1_001, q: replay.PageRequest{Limit: 1_000, OldestFirst: true}, want: want{serials: upto(1_000), more: true, next: 1_000}},
		"some forgotten":               {forget: 4, want: want{serials: []uint64{9, 8, 7, 6, 5}, next: 5, oldest: 5}},
		"some forgotten, oldest first": {forget: 4, q: replay.PageRequest{OldestFirst: true}, want: want{serials: []uint64{5, 6, 7, 8, 9}, next: 9, oldest: 5}},
		"before what is forgotten":     {forget: 4, before: 3, want: want{oldest: 5}},
		"after what is just forgotten": {
			forget: 4, after: 4, q: replay.PageRequest{OldestFirst: true, Limit: 1},
			want: want{serials: []uint64{5}, more: true, next: 5, oldest: 5},
		},
		"after what is long forgotten": {
			forget: 4, after: 3, q: replay.PageRequest{OldestFirst: true},
			wantErr: &replay.PageError{Reason: replay.Expired, Field: "after"},
		},
		"all forgotten": {forget: 9, want: want{oldest: -1}},

		"limit below one":        {q: replay.PageRequest{Limit: -1}, wantErr: &replay.PageError{Reason: replay.Invalid, Field: "limit"}},
		"limit beyond reason":    {q: replay.PageRequest{Limit: 1_001}, wantErr: &replay.PageError{Reason: replay.Invalid, Field: "limit"}},
		"from later than to":     {q: replay.PageRequest{From: moment(3), To: moment(2)}, wantErr: &replay.PageError{Reason: replay.Invalid, Field: "from"}},
		"before what":            {q: replay.PageRequest{Before: "yesterday"}, wantErr: &replay.PageError{Reason: replay.Invalid, Field: "before"}},
		"after what":             {q: replay.PageRequest{After: "1-x-?"}, wantErr: &replay.PageError{Reason: replay.Invalid, Field: "after"}},
		"before the future":      {before: 10, wantErr: &replay.PageError{Reason: replay.Ahead, Field: "before"}},
		"after the future":       {after: 10, wantErr: &replay.PageError{Reason: replay.Ahead, Field: "after"}},
		"before in another life": {q: replay.PageRequest{Before: "1-other-3-0"}, wantErr: &replay.PageError{Reason: replay.Reset, Field: "before"}},
		"after in another life":  {q: replay.PageRequest{After: "1-other-3-0"}, wantErr: &replay.PageError{Reason: replay.Reset, Field: "after"}},
		"before another event at the same serial": {
			edit:   func(n int, e *broker.Event) { e.Time = e.Time.Add(time.Millisecond) },
			before: 3, wantErr: &replay.PageError{Reason: replay.Reset, Field: "before"},
		},
		"after another event at the same serial": {
			edit:  func(n int, e *broker.Event) { e.Time = e.Time.Add(time.Millisecond) },
			after: 3, wantErr: &replay.PageError{Reason: replay.Reset, Field: "after"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWays(t, func(t *testing.T, w way) {
				events := tt.events
				if events == 0 {
					events = 9
				}
				m := newRig(t, w)
				fill(t, m.Memory, 1, events, tt.edit)
				synctest.Wait()
				end := seam(t, m.Memory)
				q := tt.q
				q.App, q.Channel, q.Recent = app, ours, m.recent(t)
				if tt.before != 0 {
					q.Before = at(end, tt.before).String()
				}
				if tt.after != 0 {
					q.After = at(end, tt.after).String()
				}
				m.Forget(app, tt.forget)
				page, err := open(t, replay.Config{History: m}).Page(t.Context(), q)
				if tt.wantErr != nil {
					var have *replay.PageError
					if !errors.As(err, &have) || have.Reason != tt.wantErr.Reason || have.Field != tt.wantErr.Field {
						t.Errorf("error %v, want %v", err, tt.wantErr)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := pageGot{Serials: tt.want.serials, More: tt.want.more, Next: tt.want.next}
				if events > 0 && tt.want.oldest >= 0 {
					oldest, _ := m.At(t.Context(), app, uint64(max(1, tt.want.oldest)))
					newest, _ := m.At(t.Context(), app, uint64(events))
					want.Oldest, want.Newest = oldest.Position, newest.Position
				}
				if diff := cmp.Diff(want, viewPage(page)); diff != "" {
					t.Errorf("page (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func reversed(all []uint64) []uint64 {
	all = slices.Clone(all)
	slices.Reverse(all)
	return all
}

// However a channel is paged through, each event is on one page, in order.
func TestPaging(t *testing.T) {
	t.Parallel()
	inWays(t, func(t *testing.T, w way) {
		const events = 700
		m := newRig(t, w)
		fill(t, m.Memory, 1, events, func(n int, e *broker.Event) {
			if n%7 > 2 || n > 200 && n < 500 { // a long silence
				e.Channel = "elsewhere"
			}
			e.Client = n%5 == 0
		})
		synctest.Wait()
		r := open(t, replay.Config{History: m})
		var all []uint64
		for n := range uint64(events) {
			if n++; n%7 <= 2 && (n <= 200 || n >= 500) && n%5 != 0 {
				all = append(all, n)
			}
		}
		for _, oldestFirst := range []bool{false, true} {
			for _, limit := range []int{1, 7, 100, 1_000} {
				q := replay.PageRequest{App: app, Channel: ours, Limit: limit, OldestFirst: oldestFirst, Recent: m.recent(t)}
				var have []uint64
				for {
					page, err := r.Page(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					have = append(have, viewPage(page).Serials...)
					if !page.HasMore {
						break
					}
					if len(page.Items) != limit {
						t.Fatalf("%d events and more to come, want %d", len(page.Items), limit)
					}
					if q.Before = page.Next.String(); oldestFirst {
						q.Before, q.After = "", page.Next.String()
					}
				}
				if !oldestFirst {
					slices.Reverse(have)
				}
				if !slices.Equal(all, have) {
					t.Errorf("limit %d, oldest first %v: %d, want %d", limit, oldestFirst, have, all)
				}
			}
		}
	})
}

// The head moves while a page is read.
func TestForgettingDuringAPage(t *testing.T) {
	t.Parallel()
	const events = 500
	for name, tt := range map[string]struct {
		q       replay.PageRequest
		after   int
		on      uint64 // the event before which the log forgets
		want    pageGot
		wantErr replay.Reason
	}{
		"newest first, below the page": {
			q: replay.PageRequest{Limit: 50}, on: 460,
			want: pageGot{Serials: reversed(upto(events)[450:]), More: true, Next: 451},
		},
		"newest first, in the middle of the page": {
			q: replay.PageRequest{Limit: 450}, on: 460,
			want: pageGot{Serials: reversed(upto(events)[300:]), Next: 301},
		},
		"oldest first": {
			q: replay.PageRequest{OldestFirst: true, Limit: 400}, on: 50,
			want: pageGot{Serials: upto(events)[300:], Next: 500},
		},
		"oldest first, all of the page": {
			q: replay.PageRequest{OldestFirst: true, Limit: 60}, on: 50,
			want: pageGot{More: true, Next: 300},
		},
		"oldest first, after a position": {
			q: replay.PageRequest{OldestFirst: true, Limit: 400}, after: 20, on: 50,
			wantErr: replay.Expired,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := filled(t, events, nil)
			end := seam(t, m)
			w := &watched{History: m, onEvent: func(serial uint64) {
				if serial == tt.on {
					m.Forget(app, 300)
				}
			}}
			q := tt.q
			q.App, q.Channel = app, ours
			if tt.after > 0 {
				q.After = at(end, tt.after).String()
			}
			r := open(t, replay.Config{History: w})
			page, err := r.Page(t.Context(), q)
			if tt.wantErr != "" {
				var have *replay.PageError
				if !errors.As(err, &have) || have.Reason != tt.wantErr {
					t.Errorf("error %v, want %s", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Oldest, tt.want.Newest = at(end, 301), end
			if diff := cmp.Diff(tt.want, viewPage(page)); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
			if !page.HasMore {
				return
			}
			if q.Before = page.Next.String(); q.OldestFirst {
				q.Before, q.After = "", page.Next.String()
			}
			if _, err := r.Page(t.Context(), q); err != nil {
				t.Errorf("the next page: %v", err)
			}
		})
	}
}

// A page that would have to pass over very many client events is short, and goes on where it ended.
func TestPageOfClientEvents(t *testing.T) {
	t.Parallel()
	const events = 25_000
	m := filled(t, events, func(n int, e *broker.Event) { e.Client = n != 1 && n != 12_000 && n != events })
	for _, oldestFirst := range []bool{false, true} {
		h := &listedReads{History: m}
		r := open(t, replay.Config{History: h})
		q := replay.PageRequest{App: app, Channel: ours, OldestFirst: oldestFirst}
		var have []uint64
		pages := 0
		for more := true; more && pages < 20; pages++ {
			h.events = 0
			page, err := r.Page(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			have = append(have, viewPage(page).Serials...)
			if more = page.HasMore; more && page.Next.IsZero() {
				t.Fatal("more to come, but from where?")
			}
			if q.Before = page.Next.String(); oldestFirst {
				q.Before, q.After = "", page.Next.String()
			}
			if h.events > 20_000 {
				t.Errorf("%d events read for one page", h.events)
			}
		}
		slices.Sort(have)
		if diff := cmp.Diff([]uint64{1, 12_000, events}, have); diff != "" || pages > 4 {
			t.Errorf("oldest first %v: in %d pages (-want +got):\n%s", oldestFirst, pages, diff)
		}
	}
}

// listedReads counts the events that are read.
type listedReads struct {
	replay.History
	events int
}

func (l *listedReads) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		for e, err := range l.History.Range(ctx, app, ch, after, upto) {
			l.events++
			if !yield(e, err) {
				return
			}
		}
	}
}

func TestPageFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*brokertest.FaultyHistory){
		"the bounds":      func(f *brokertest.FaultyHistory) { f.FailBounds(1) },
		"the position":    func(f *brokertest.FaultyHistory) { f.FailAt(1) },
		"the time":        func(f *brokertest.FaultyHistory) { f.FailSince(1) },
		"the range":       func(f *brokertest.FaultyHistory) { f.FailRange(0) },
		"the range's end": func(f *brokertest.FaultyHistory) { f.FailRange(3) },
	} {
		for _, oldestFirst := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m := filled(t, 9, nil)
				f := &brokertest.FaultyHistory{History: m}
				fault(f)
				reg := prometheus.NewRegistry()
				r := open(t, replay.Config{History: f, Registerer: reg})
				q := replay.PageRequest{
					App: app, Channel: ours, OldestFirst: oldestFirst,
					Before: at(seam(t, m), 9).String(), From: moment(-9), To: moment(100),
				}
				_, err := r.Page(t.Context(), q)
				var have *replay.PageError
				if !errors.As(err, &have) || have.Reason != replay.Unavailable || !errors.Is(err, brokertest.ErrFault) {
					t.Errorf("error %v, want %s and the fault", err, replay.Unavailable)
				}
				if page, err := r.Page(t.Context(), q); err != nil || len(page.Items) != 8 {
					t.Errorf("when the fault is over: %d events, %v", len(page.Items), err)
				}
				want := map[string]float64{"playhead_pages_total unavailable": 1, "playhead_pages_total read": 1}
				if diff := cmp.Diff(want, counters(t, reg)); diff != "" {
					t.Errorf("counters (-want +got):\n%s", diff)
				}
			})
		}
	}
	t.Run("the client leaves", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := open(t, replay.Config{History: filled(t, 9, nil)}).Page(ctx, replay.PageRequest{App: app, Channel: ours})
		var have *replay.PageError
		if !errors.As(err, &have) || have.Reason != replay.Unavailable || !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %s and the context's", err, replay.Unavailable)
		}
	})
	t.Run("no memory", func(t *testing.T) {
		t.Parallel()
		_, err := open(t, replay.Config{}).Page(t.Context(), replay.PageRequest{App: app, Channel: ours, Limit: -1})
		var have *replay.PageError
		if !errors.As(err, &have) || have.Reason != replay.Unsupported {
			t.Errorf("error %v, want %s", err, replay.Unsupported)
		}
	})
}

func TestPageErrorTells(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*replay.PageError{
		"expired after":      {Reason: replay.Expired, Field: "after"},
		"invalid limit: odd": {Reason: replay.Invalid, Field: "limit", Err: errors.New("odd")},
		"unavailable: gone":  {Reason: replay.Unavailable, Err: errors.New("gone")},
		"unsupported":        {Reason: replay.Unsupported},
	} {
		if have := e.Error(); have != want {
			t.Errorf("%q, want %q", have, want)
		}
	}
}
