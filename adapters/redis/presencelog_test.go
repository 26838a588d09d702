package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/adapters/redis/redistest"
	"github.com/playhead/playhead/broker"
)

// end is an end of a log as it stands in Redis.
type end struct{ serial, link, time string }

// presenceRig is a server with an app's log, which can lose what it had confirmed, as a failover does.
type presenceRig struct {
	t            testing.TB
	server       *redistest.Server
	stream, head string
}

func newPresenceRig(t testing.TB, l *redis.PresenceLog, s *redistest.Server, app broker.AppID) *presenceRig {
	return &presenceRig{t: t, server: s, stream: l.StreamKey(app), head: l.HeadKey(app)}
}

func (r *presenceRig) do(args ...string) []string {
	r.t.Helper()
	out, err := r.server.Do(args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Split(out, "\n")
}

// mark keeps what is there now.
func (r *presenceRig) mark() end {
	r.t.Helper()
	h := r.do("HMGET", r.head, "serial", "link", "time")
	return end{h[0], h[1], h[2]}
}

// lose takes away everything behind a mark.
func (r *presenceRig) lose(m end) {
	r.t.Helper()
	for _, id := range r.do("EVAL", `
local serial = tonumber(redis.call('HGET', KEYS[2], 'serial'))
local ids = {}
for s = tonumber(ARGV[1]) + 1, serial do redis.call('XDEL', KEYS[1], s .. '-0') end
redis.call('XSETID', KEYS[1], ARGV[1] .. '-0')
redis.call('HSET', KEYS[2], 'serial', ARGV[1], 'link', ARGV[2], 'time', ARGV[3])
return ids`, "2", r.stream, r.head, m.serial, m.link, m.time) {
		if id != "" && !strings.Contains(id, "empty") {
			r.t.Fatal(id)
		}
	}
}

// Redis loses what it has confirmed, or everything; whoever has read or appended it is told.
func TestLostEventsAreNoticed(t *testing.T) {
	t.Parallel()
	s := redistest.SharedSingle(t)
	for name, fault := range map[string]func(t *testing.T, r *presenceRig, other *redis.PresenceLog, app broker.AppID, m end){
		"the newest": func(_ *testing.T, r *presenceRig, _ *redis.PresenceLog, _ broker.AppID, m end) { r.lose(m) },
		"and others are in their places": func(t *testing.T, r *presenceRig, other *redis.PresenceLog, app broker.AppID, m end) {
			r.lose(m)
			appendAll(t, other, event(app, "a"), event(app, "a"))
		},
		"and more others than there were": func(t *testing.T, r *presenceRig, other *redis.PresenceLog, app broker.AppID, m end) {
			r.lose(m)
			var events []*broker.Event
			for range 10 {
				events = append(events, event(app, "a"))
			}
			if err := other.Append(soon(t), events...); err != nil {
				t.Fatal(err)
			}
		},
		"everything": func(_ *testing.T, r *presenceRig, _ *redis.PresenceLog, _ broker.AppID, _ end) {
			r.do("DEL", r.stream, r.head)
		},
		"the stream": func(_ *testing.T, r *presenceRig, other *redis.PresenceLog, app broker.AppID, _ end) {
			r.do("DEL", r.stream)
			appendAll(t, other, event(app, "a"))
		},
		"the head": func(_ *testing.T, r *presenceRig, _ *redis.PresenceLog, _ broker.AppID, _ end) {
			r.do("DEL", r.head)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := broker.AppID(t.Name())
			reader, other := newPresenceLog(t, singleConfig(s)), newPresenceLog(t, singleConfig(s))
			writer := newPresenceLog(t, singleConfig(s)) // has read less than it has appended
			r := newPresenceRig(t, reader, s, app)
			appendAll(t, reader, event(app, "a"))
			early := follow(t, other, app)
			mark := r.mark()
			_, untouched, err := writer.Tail(soon(t), app)
			if err != nil {
				t.Fatal(err)
			}
			f := follow(t, reader, app)
			appendAll(t, writer, event(app, "a"), event(app, "a"))
			eventually(t, "both events are read", func() bool { return len(f.seen()) == 2 && len(early.seen()) == 2 })
			fault(t, r, newPresenceLog(t, singleConfig(s)), app, mark)
			f.wantGap(t)
			if !strings.Contains(f.err.Error(), "has lost events") {
				t.Errorf("the tail's last word: %v", f.err)
			}
			early.wantGap(t)

			// Who has appended what is lost may not go on as if it were there, until it has been told.
			for range 2 {
				if err := writer.Append(soon(t), event(app, "a")); !errors.Is(err, broker.ErrUnavailable) {
					t.Fatalf("append behind what is lost: %v", err)
				}
			}
			for e, err := range untouched {
				if err != nil {
					if !errors.Is(err, broker.ErrUnavailable) {
						t.Errorf("the writer's tail: %v", err)
					}
					break
				}
				_ = e // what it hadn't read yet
			}
			again := follow(t, writer, app)
			appendAll(t, writer, event(app, "a"))
			eventually(t, "an event comes again", func() bool { return len(again.seen()) == 1 })
		})
	}
}

// A tail of a log with memory outlives its connection and its server, as long as the log is there.
func TestPresenceTailGoesOn(t *testing.T) {
	t.Parallel()
	s := redistest.Single(t, "--appendonly", "yes", "--appendfsync", "always")
	l := newPresenceLog(t, singleConfig(s))
	f := follow(t, l, "1")
	var want []string
	next := func() {
		t.Helper()
		e := event("1", "a")
		eventually(t, "the event is appended", func() bool { return l.Append(soon(t), e) == nil })
		want = append(want, e.ID)
		eventually(t, "the event is read", func() bool { return len(f.seen()) >= len(want) })
	}
	next()
	for _, fault := range []func(){
		func() {
			if _, err := s.Do("CLIENT", "KILL", "TYPE", "normal"); err != nil && !strings.Contains(err.Error(), "closed") {
				t.Fatal(err)
			}
		},
		func() { s.Kill(); s.Start() },
		func() { s.Pause(); s.Resume() },
	} {
		fault()
		next()
	}
	if got := f.seen(); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("read %v, want %v", got, want)
	}
}

// The log forgets by age and by size, at its head, but never its newest event.
func TestPresenceLogForgets(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*redis.PresenceLogConfig){
		"by age":  func(c *redis.PresenceLogConfig) { c.MaxAge = time.Millisecond },
		"by size": func(c *redis.PresenceLogConfig) { c.MaxBytes = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newPresenceLog(t, kinds["Single"](t), edit)
			app := broker.AppID(t.Name())
			f := follow(t, l, app)
			var last *broker.Event
			for n := range 200 {
				last = event(app, broker.Channel(fmt.Sprint("a-", n)))
				appendAll(t, l, last)
				eventually(t, "the event is read", func() bool { return len(f.seen()) == n+1 })
			}
			eventually(t, "only the newest is left", func() bool {
				if name == "by age" {
					last = event(app, "a")
					appendAll(t, l, last)
				}
				oldest, newest, err := l.Bounds(soon(t), app)
				if err != nil {
					t.Fatal(err)
				}
				return oldest.Serial >= newest.Serial-2 && newest == last.Position
			})
			if e, err := l.Last(soon(t), app, last.Channel); err != nil || e == nil || e.ID != last.ID {
				t.Errorf("last: %v, %v", e, err)
			}
			if e, err := l.Last(soon(t), app, "a-0"); err != nil || e != nil {
				t.Errorf("last of a channel that was forgotten: %v, %v", e, err)
			}
		})
	}
}

// A range of what is gone, or was never there, is an error and not empty.
func TestPresenceRangeIsCompleteOrAnError(t *testing.T) {
	t.Parallel()
	s := redistest.SharedSingle(t)
	l := newPresenceLog(t, singleConfig(s))
	for name, damage := range map[string]func(r *presenceRig){
		"the end":    func(r *presenceRig) { r.lose(end{"150", strings.Repeat("0", 40), "0"}) },
		"the middle": func(r *presenceRig) { r.do("XDEL", r.stream, "120-0") },
		"everything": func(r *presenceRig) { r.do("DEL", r.stream, r.head) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := broker.AppID(t.Name())
			for range 200 {
				appendAll(t, l, event(app, "a"))
			}
			damage(newPresenceRig(t, l, s, app))
			var last error
			for _, err := range l.Range(soon(t), app, "", 0, 200) {
				last = err
			}
			if !errors.Is(last, broker.ErrUnavailable) {
				t.Errorf("the range's last word: %v", last)
			}
		})
	}
}

func TestPresenceLogConfigIsChecked(t *testing.T) {
	t.Parallel()
	c := newClient(t, redis.ClientConfig{})
	for want, cfg := range map[string]redis.PresenceLogConfig{
		"client: required": {},
		"max age":          {Client: c, MaxAge: -1},
		"max bytes":        {Client: c, MaxBytes: -1},
		"duplicates":       {Client: c, Duplicates: -1},
	} {
		if _, err := redis.NewPresenceLog(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	for want, cfg := range map[string]redis.Config{
		"client: required": {},
		"cache ttl":        {Client: c, CacheTTL: -1},
		"heartbeat":        {Client: c, Heartbeat: -1},
		"timeout":          {Client: c, Timeout: time.Second},
		"queue bytes":      {Client: c, QueueBytes: -1},
	} {
		if _, err := redis.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

// A cached event is gone after its time.
func TestCacheForgets(t *testing.T) {
	t.Parallel()
	for name, config := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMedium(t, config(t), func(c *redis.Config) { c.CacheTTL = 50 * time.Millisecond })
			app := broker.AppID(t.Name())
			appendAll(t, m, event(app, "cache-a"))
			eventually(t, "the event is gone", func() bool {
				e, err := m.Last(context.Background(), app, "cache-a")
				return err == nil && e == nil
			})
		})
	}
}
