package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// Both ways, in pages of several sizes, between all kinds of bounds: each event once and in order.
func TestRead(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	c := h.client(nil)
	var all []*broker.Event
	for i := range 25 {
		all = append(all, h.publish("a", "e", fmt.Sprint(i)))
		h.publish("b", "e", "")
	}
	at := func(i int) Position { return Position(all[i].Position.String()) }
	for name, tt := range map[string]struct {
		opts        HistoryOptions
		first, last int // in the order read
	}{
		"newest first":   {HistoryOptions{}, 24, 0},
		"oldest first":   {HistoryOptions{OldestFirst: true}, 0, 24},
		"before":         {HistoryOptions{Before: at(10)}, 9, 0},
		"after":          {HistoryOptions{OldestFirst: true, After: at(10)}, 11, 24},
		"back to":        {HistoryOptions{After: at(10)}, 24, 11},
		"between":        {HistoryOptions{OldestFirst: true, After: at(3), Before: at(9)}, 4, 8},
		"between, back":  {HistoryOptions{After: at(3), Before: at(9)}, 8, 4},
		"of a time":      {HistoryOptions{From: all[0].Time, To: time.Now().Add(time.Hour)}, 24, 0},
		"since long ago": {HistoryOptions{OldestFirst: true, From: time.UnixMilli(1)}, 0, 24},
	} {
		for _, limit := range []int{0, 1, 7, 1_000} {
			t.Run(fmt.Sprint(name, " by ", limit), func(t *testing.T) {
				t.Parallel()
				opts := tt.opts
				opts.Limit = limit
				step := 1
				if tt.last < tt.first {
					step = -1
				}
				seq := c.Read(t.Context(), "a", opts)
				for range 2 { // each loop begins at the beginning
					next := tt.first
					for e, err := range seq {
						if err != nil {
							t.Fatal(err)
						}
						if next < 0 || next >= len(all) || next == tt.last+step {
							t.Fatalf("one too many: %+v", e)
						}
						want := Event{Channel: "a", ID: all[next].ID, Name: "e", Data: fmt.Sprint(next), Position: at(next), Time: all[next].Time}
						if diff := cmp.Diff(want, e); diff != "" {
							t.Fatal(diff)
						}
						next += step
					}
					if next != tt.last+step {
						t.Errorf("ended before %d", next)
					}
				}
			})
		}
	}
	// Leaving the loop ends the reading.
	for range c.Read(t.Context(), "a", HistoryOptions{Limit: 2}) {
		break
	}
	page, err := c.History(t.Context(), "a", HistoryOptions{Limit: 3})
	if err != nil || !page.HasMore || page.Next != at(22) || page.Oldest.Position != at(0) || !page.Oldest.Time.Equal(all[0].Time) || page.Newest.Position == "" {
		t.Errorf("page %+v, %v", page, err)
	}
	page, err = c.History(t.Context(), "nothing", HistoryOptions{})
	if err != nil || page.HasMore || page.Next != "" || len(page.Items) != 0 {
		t.Errorf("page of an empty channel %+v, %v", page, err)
	}
}

// Why there is no history is told in the protocol's words.
func TestHistoryRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		setup  setup
		opts   func(h *harness) HistoryOptions
		status int
		reason Reason
	}{
		"expired": {opts: func(h *harness) HistoryOptions {
			at := h.publish("a", "e", "").Position
			h.memory.Forget("1", h.publish("a", "e", "").Position.Serial)
			h.publish("a", "e", "")
			return HistoryOptions{OldestFirst: true, After: Position(at.String())}
		}, status: http.StatusGone, reason: Expired},
		"reset": {opts: func(h *harness) HistoryOptions {
			at := h.publish("a", "e", "").Position
			h.memory.Reset("1")
			return HistoryOptions{Before: Position(at.String())}
		}, status: http.StatusGone, reason: Reset},
		"unsupported": {setup: setup{amnesia: true}, opts: func(*harness) HistoryOptions { return HistoryOptions{} },
			status: http.StatusNotImplemented, reason: Unsupported},
		"a bad position": {opts: func(*harness) HistoryOptions { return HistoryOptions{After: "x"} }, status: http.StatusBadRequest},
		"a bad limit":    {opts: func(*harness) HistoryOptions { return HistoryOptions{Limit: 1_001} }, status: http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, tt.setup)
			c := h.client(nil)
			opts := tt.opts(h)
			var got []error
			for _, err := range c.Read(t.Context(), "a", opts) {
				got = append(got, err)
			}
			var status *StatusError
			if len(got) != 1 || !errors.As(got[0], &status) || status.Status != tt.status || tt.reason != "" && status.Reason != tt.reason {
				t.Errorf("%v, want one %d %s", got, tt.status, tt.reason)
			}
		})
	}
}

// A server that says there is more, and not where, isn't asked for ever.
func TestReadEnds(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"items":[],"has_more":true,"next":null}`, `{"items":[],"has_more":true,"next":"P"}`} {
		asked := 0
		c, err := New(Config{AppID: "1", Key: "k", Secret: "s", HTTPClient: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			asked++
			return answer(200, body), nil
		})}})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range c.Read(t.Context(), "a", HistoryOptions{}) {
			if err == nil || !strings.Contains(err.Error(), "doesn't say where") || asked > 2 {
				t.Errorf("%v after %d pages", err, asked)
			}
		}
	}
}
