package streams_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
)

// printable is every printable ASCII character, and some again: as long as a backend's key may be.
var printable = func() string {
	var b strings.Builder
	for c := byte(' '); c <= '~'; c++ {
		b.WriteByte(c)
	}
	b.WriteString(b.String()[:128-b.Len()])
	return b.String()
}()

// keys are IDs as backends may choose them, or nodes make them.
var keys = map[string]string{
	"every printable character": printable,
	"backwards":                 reverse(printable),
	"as long as may be":         strings.Repeat("k", 128),
	"one":                       "1",
	"a space":                   " ",
	"spaces":                    "  a  b  ",
	"percent":                   "%",
	"looks escaped":             "%20%C2%B7",
	"quotes":                    `"'` + "`",
	"looks like a header":       "Nats-Msg-Id: x",
	"middle dot":                "key·channel",
	"only middle dots":          "··",
}

func reverse(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// An ID is what it is, whatever characters it has: told apart from others like it, found again when
// it is used a second time, and read back as it was.
func TestAnyID(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		one, other := r.streams(change), r.streams(change)
		var firsts []*broker.Event
		for _, id := range keys {
			e := event("app", "a")
			e.ID = id
			firsts = append(firsts, e)
		}
		half := len(firsts) / 2
		if err := one.Append(soon(t), firsts[:half]...); err != nil {
			t.Fatal(err)
		}
		appendAll(t, one, firsts[half:]...)
		end := uint64(len(firsts))
		same(t, "stored", firsts, stored(t, one, "app", "a", end))
		for i, first := range firsts {
			if first.Duplicate || first.Position.Serial != uint64(i)+1 {
				t.Errorf("%q: duplicate %v at %+v", first.ID, first.Duplicate, first.Position)
			}
			alone, among := event("app", "b"), event("app", "b")
			alone.ID, among.ID = first.ID, first.ID
			alone.Time, among.Time = first.Time.Add(5*time.Millisecond), first.Time.Add(9*time.Millisecond)
			appendAll(t, other, alone)
			if err := one.Append(soon(t), event("app", "b"), among, event("app", "b")); err != nil {
				t.Fatal(err)
			}
			for _, e := range []*broker.Event{alone, among} {
				if !e.Duplicate || e.Position != first.Position {
					t.Errorf("%q again: duplicate %v at %+v, the first at %+v", e.ID, e.Duplicate, e.Position, first.Position)
				}
			}
		}
		if _, newest, err := one.Bounds(soon(t), "app"); err != nil || newest.Serial != 3*end {
			t.Errorf("the stream ends at %d, %v, want %d", newest.Serial, err, 3*end)
		}
	})
}

// In one append the first of those with an ID counts, for all of them.
func TestDuplicatesOfOneAppend(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		s := r.streams(change)
		before := event("app", "a")
		appendAll(t, s, before)
		batch := make([]*broker.Event, 7)
		for i := range batch {
			batch[i] = event("app", broker.Channel(fmt.Sprint("ch-", i)))
		}
		batch[2].ID, batch[5].ID = batch[0].ID, batch[0].ID // twins of an event that is new
		batch[3].ID, batch[6].ID = before.ID, before.ID     // and of one that is there, in another channel
		batch[2].Time = batch[0].Time.Add(time.Millisecond)
		if err := s.Append(soon(t), batch...); err != nil {
			t.Fatal(err)
		}
		type result struct {
			Position  broker.Position
			Duplicate bool
		}
		at := func(serial uint64, e *broker.Event) broker.Position {
			return broker.Position{Epoch: before.Position.Epoch, Serial: serial, Time: e.Time.UnixMilli()}
		}
		want := []result{
			{at(2, batch[0]), false},
			{at(3, batch[1]), false},
			{at(2, batch[0]), true},
			{at(1, before), true},
			{at(4, batch[4]), false},
			{at(2, batch[0]), true},
			{at(1, before), true},
		}
		var have []result
		for _, e := range batch {
			have = append(have, result{e.Position, e.Duplicate})
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if _, newest, err := s.Bounds(soon(t), "app"); err != nil || newest.Serial != 4 {
			t.Errorf("the stream ends at %d, %v", newest.Serial, err)
		}
	})
}

// IDs outlive a server that is killed: what it had written is all there is.
func TestDuplicateOverAKill(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *rig, change func(*streams.Config)) {
		s := r.streams(change)
		single := event("app", "a")
		single.ID = printable
		batch := []*broker.Event{event("app", "a"), event("app", "b"), event("app", "a")}
		appendAll(t, s, single)
		if err := s.Append(soon(t), batch...); err != nil {
			t.Fatal(err)
		}
		killed := filepath.Join(t.TempDir(), "killed")
		copyDir(t, r.cfg.DataDir, killed) // as it is while the server runs
		r.stop()
		copyDir(t, killed, r.cfg.DataDir)
		r.start()
		firsts := append([]*broker.Event{single}, batch...)
		for _, first := range firsts {
			e := event("app", "c")
			e.ID, e.Time = first.ID, first.Time.Add(5*time.Millisecond)
			appendAll(t, s, e)
			if !e.Duplicate || e.Position != first.Position {
				t.Errorf("%q: duplicate %v at %+v, the first at %+v", e.ID, e.Duplicate, e.Position, first.Position)
			}
		}
		again := make([]*broker.Event, len(firsts))
		for i, first := range firsts {
			again[i] = event("app", "c")
			again[i].ID, again[i].Time = first.ID, first.Time.Add(7*time.Millisecond)
		}
		fresh := event("app", "c")
		if err := s.Append(soon(t), slices.Concat(again, []*broker.Event{fresh})...); err != nil {
			t.Fatal(err)
		}
		for i, first := range firsts {
			if !again[i].Duplicate || again[i].Position != first.Position {
				t.Errorf("%q among others: duplicate %v at %+v, the first at %+v", first.ID, again[i].Duplicate, again[i].Position, first.Position)
			}
		}
		if fresh.Duplicate || fresh.Position.Serial != 5 {
			t.Errorf("a new one: duplicate %v at %+v", fresh.Duplicate, fresh.Position)
		}
	})
}
