package brokertest

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/playhead/playhead/broker"
)

// TestCache is the contract of [broker.Cache] as subtests of t. open is called once for each.
func TestCache(t *testing.T, open func(t *testing.T) Medium) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Medium){
		"NothingYet":             testLastNothing,
		"TheNewestOfItsChannel":  testLastNewest,
		"OnlyWhatBackendsSend":   testLastBackend,
		"BehindManyClientEvents": testLastDeep,
		"NeverBehindATail":       testLastFresh,
		"EndedContext":           testLastCanceled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := open(t)
			if m.Log == nil || m.Cache == nil {
				t.Fatal("the medium lacks a log or a cache")
			}
			test(t, m)
		})
	}
}

// wantLast checks the last event of a channel; nil wants none. What was appended must have come out
// of the app's tail before: no more than that is promised.
func wantLast(t *testing.T, m Medium, app broker.AppID, ch broker.Channel, want *broker.Event) {
	t.Helper()
	e, err := m.Cache.Last(bounded(t), app, ch)
	if err != nil {
		t.Fatalf("last of %s: %v", ch, err)
	}
	if want == nil {
		if e != nil {
			t.Errorf("last of %s: event %s, want none", ch, e.ID)
		}
		return
	}
	if e == nil {
		t.Errorf("last of %s: none, want event %s", ch, want.ID)
		return
	}
	sameEvents(t, fmt.Sprintf("last of %s", ch), arrived(m, want), []*broker.Event{e})
}

func testLastNothing(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	wantLast(t, m, mk.app, "a", nil) // of an app that was never used
	f := follow(t, m.Log, mk.app)
	wantLast(t, m, mk.app, "a", nil)
	f.all(t, m.Log, mk)
	wantLast(t, m, mk.app, "a", nil)
}

func testLastNewest(t *testing.T, m Medium) {
	mk, elsewhere := &maker{app: newApp()}, &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	channels := []broker.Channel{"cache-a", "cache-a.b", "cache-a.", "private-cache-=,;@_-"}
	for range 3 {
		last := map[broker.Channel]*broker.Event{}
		for _, ch := range channels {
			last[ch] = mk.event(ch)
			appendAll(t, m.Log, mk.event(ch), last[ch])
		}
		f.all(t, m.Log, mk)
		for ch, e := range last {
			wantLast(t, m, mk.app, ch, e)
		}
	}
	other := follow(t, m.Log, elsewhere.app)
	other.all(t, m.Log, elsewhere)
	wantLast(t, m, elsewhere.app, "cache-a", nil)
}

func testLastBackend(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	own := mk.event("cache-a")
	own.Client, own.Exclude, own.Name = true, "1.1", "client-x"
	appendAll(t, m.Log, own)
	f.all(t, m.Log, mk)
	wantLast(t, m, mk.app, "cache-a", nil)
	first, second := mk.event("cache-a"), again(own)
	second.ID += "-2"
	first.Exclude, first.Data = "1.2", []byte("\x00 binary \n")
	appendAll(t, m.Log, first, second)
	f.all(t, m.Log, mk)
	wantLast(t, m, mk.app, "cache-a", first)
}

func testLastDeep(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	events := mk.events("cache-a", 501)
	for _, e := range events[1:] {
		e.Client = true
	}
	for i := 0; i < len(events); i += 100 {
		appendOnce(t, m.Log, events[i:min(i+100, len(events))]...)
	}
	f.all(t, m.Log, mk)
	wantLast(t, m, mk.app, "cache-a", events[0])
}

func testLastFresh(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	f := follow(t, m.Log, mk.app)
	events := mk.events("cache-a", 200)
	ctx := bounded(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, e := range events {
			if err := m.Log.Append(ctx, e); err != nil {
				t.Errorf("append: %v", err)
				return
			}
		}
	})
	for range events {
		seen := f.next(t, 1)[0]
		last, err := m.Cache.Last(ctx, mk.app, "cache-a")
		if err != nil {
			t.Errorf("last: %v", err)
			break
		}
		if last == nil || number(last) < number(seen) {
			t.Errorf("the tail has given event %d, the last one is %v", number(seen), last)
			break
		}
	}
	wg.Wait()
}

// number is what an event's ID ends in.
func number(e *broker.Event) int {
	n, _ := strconv.Atoi(e.ID[strings.LastIndexByte(e.ID, '-')+1:])
	return n
}

func testLastCanceled(t *testing.T, m Medium) {
	mk := &maker{app: newApp()}
	appendAll(t, m.Log, mk.event("cache-a"))
	_, err := m.Cache.Last(canceled(t), mk.app, "cache-a")
	wantCanceled(t, "last", err)
}
