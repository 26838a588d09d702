package presence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// recorder keeps the notices it is told, as "added 10 not 1.1", "occupied a", "count 3 of a".
type recorder struct {
	mu      sync.Mutex
	notices []string
	serials []uint64
}

func (r *recorder) Notify(n *broker.Notice) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notices = append(r.notices, describe(n))
	r.serials = append(r.serials, n.Serial)
	if n.Time.IsZero() || n.App == "" {
		r.notices = append(r.notices, fmt.Sprintf("without app or time: %+v", n))
	}
}

// take returns what was told since it was called last.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.notices
	r.notices = nil
	return n
}

func describe(n *broker.Notice) string {
	switch n.Kind {
	case broker.MemberAdded:
		return fmt.Sprintf("added %s not %s", n.Member.UserID, n.Exclude)
	case broker.MemberRemoved:
		return fmt.Sprintf("removed %s not %s", n.Member.UserID, n.Exclude)
	case broker.ChannelOccupied:
		return fmt.Sprint("occupied ", n.Channel)
	case broker.ChannelVacated:
		return fmt.Sprint("vacated ", n.Channel)
	case broker.SubscriptionCount:
		return fmt.Sprintf("count %d of %s", n.Count, n.Channel)
	}
	return fmt.Sprintf("unexpected %+v", n)
}

func seat(socket broker.SocketID, userID string) Entry {
	return Entry{App: "1", Channel: "presence-a", Socket: socket, Member: &broker.Member{UserID: userID}}
}

func open(t *testing.T) (*Registry, *recorder) {
	t.Helper()
	rec := &recorder{}
	r, err := New(Config{Notifier: rec})
	if err != nil {
		t.Fatal(err)
	}
	return r, rec
}

func join(t *testing.T, r *Registry, e Entry) Snapshot {
	t.Helper()
	s, err := r.Join(t.Context(), e, 100)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSeveralConnectionsOfOneUserAreOneMember(t *testing.T) {
	t.Parallel()
	r, rec := open(t)
	join(t, r, seat("1.1", "10"))
	join(t, r, seat("1.2", "10"))
	s := join(t, r, seat("1.3", "11"))
	if got := len(s.Members); got != 2 {
		t.Errorf("members in the snapshot: %d, want 2", got)
	}
	if s.Serial != 2 {
		t.Errorf("snapshot at serial %d, want 2: both additions are in it", s.Serial)
	}
	r.Leave(seat("1.1", "10"))
	r.Leave(seat("1.2", "10"))
	want := []string{"added 10 not 1.1", "added 11 not 1.3", "removed 10 not 1.2"}
	if diff := cmp.Diff(want, rec.notices); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
	if got := r.Users("1", "presence-a"); !slices.Equal(got, []string{"11"}) {
		t.Errorf("users: %q", got)
	}
}

func TestNewestInfoStands(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	old, young := seat("1.1", "10"), seat("1.2", "10")
	old.Member.Info, young.Member.Info = []byte(`"old"`), []byte(`"young"`)
	join(t, r, old)
	s := join(t, r, young)
	if got := string(s.Members[0].Info); got != `"young"` {
		t.Errorf("info %s, want the newest connection's", got)
	}
}

func TestLimitCountsUsers(t *testing.T) {
	t.Parallel()
	r, rec := open(t)
	for _, e := range []Entry{seat("1.1", "10"), seat("1.2", "11")} {
		if _, err := r.Join(t.Context(), e, 2); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Join(t.Context(), seat("1.3", "12"), 2); !errors.Is(err, ErrFull) {
		t.Errorf("third user: %v, want ErrFull", err)
	}
	if _, err := r.Join(t.Context(), seat("1.4", "10"), 2); err != nil {
		t.Errorf("second connection of a present user: %v", err)
	}
	if len(rec.notices) != 2 {
		t.Errorf("notices: %q, want the two admitted users", rec.notices)
	}
	if o := r.Occupancy("1", "presence-a"); o.Subscriptions != 3 || o.Users != 2 {
		t.Errorf("occupancy %+v, want 3 subscriptions of 2 users", o)
	}
}

func TestOccupiedListsByPrefixAndForgetsTheEmpty(t *testing.T) {
	t.Parallel()
	r, rec := open(t)
	b := Entry{App: "1", Channel: "b", Socket: "1.1"}
	join(t, r, b)
	join(t, r, seat("1.1", "10"))
	join(t, r, Entry{App: "2", Channel: "elsewhere", Socket: "1.9"})
	want := []Occupancy{{Channel: "b", Subscriptions: 1}, {Channel: "presence-a", Subscriptions: 1, Users: 1}}
	if diff := cmp.Diff(want, r.Occupied("1", "")); diff != "" {
		t.Errorf("occupied (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], r.Occupied("1", "presence-")); diff != "" {
		t.Errorf("occupied with prefix (-want +got):\n%s", diff)
	}
	r.Leave(b)
	r.Leave(b)
	if got := r.Occupied("1", "b"); got != nil {
		t.Errorf("occupied after leaving: %+v", got)
	}
	if len(rec.notices) != 1 {
		t.Errorf("notices %q: a channel without presence has no members to tell of", rec.notices)
	}
}

// The observer is told everything, each channel's life as one order with what happens in it.
func TestObserver(t *testing.T) {
	t.Parallel()
	told, seen := &recorder{}, &recorder{}
	r, err := New(Config{Notifier: told, Observer: seen})
	if err != nil {
		t.Fatal(err)
	}
	counted := Entry{App: "1", Channel: "a", Socket: "1.1", Counted: true}
	own := Entry{App: "1", Channel: "#server-to-user-7", Socket: "1.1", Unlisted: true}
	plain := Entry{App: "1", Channel: "b", Socket: "1.1"}
	for _, e := range []Entry{counted, own, plain, seat("1.1", "10"), seat("1.2", "10")} {
		join(t, r, e)
	}
	for _, e := range []Entry{seat("1.1", "10"), seat("1.2", "10"), plain, own, counted} {
		r.Leave(e)
	}
	want := []string{
		"occupied a", "count 1 of a",
		"occupied b",
		"occupied presence-a", "added 10 not 1.1",
		"removed 10 not 1.2", "vacated presence-a",
		"vacated b",
		"count 0 of a", "vacated a",
	}
	if diff := cmp.Diff(want, seen.notices); diff != "" {
		t.Errorf("the observer was told (-want +got):\n%s", diff)
	}
	want = slices.DeleteFunc(want, func(s string) bool {
		return strings.HasPrefix(s, "occupied") || strings.HasPrefix(s, "vacated")
	})
	if diff := cmp.Diff(want, told.notices); diff != "" {
		t.Errorf("subscribers were told (-want +got):\n%s", diff)
	}
	if !slices.IsSorted(seen.serials) || seen.serials[0] == 0 || len(slices.Compact(seen.serials)) != len(seen.notices) {
		t.Errorf("serials %v: not growing", seen.serials)
	}
}

func TestUnlistedChannelsAreCountedButNotListed(t *testing.T) {
	t.Parallel()
	r, rec := open(t)
	e := Entry{App: "1", Channel: "#server-to-user-7", Socket: "1.1", Unlisted: true}
	join(t, r, e)
	if got := r.Occupied("1", ""); got != nil {
		t.Errorf("occupied: %+v", got)
	}
	if o := r.Occupancy("1", e.Channel); o.Subscriptions != 1 {
		t.Errorf("occupancy %+v, want 1 subscription", o)
	}
	r.Leave(e)
	if len(rec.notices) != 0 {
		t.Errorf("notices %q", rec.notices)
	}
}

// A snapshot of members leaves out the notices it contains; a plain join has no snapshot, so that
// nothing may be left out: the joiner's own count is among what its gate holds.
func TestOnlySnapshotsLeaveNoticesOut(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	join(t, r, Entry{App: "1", Channel: "a", Socket: "1.1", Counted: true})
	if s := join(t, r, Entry{App: "1", Channel: "a", Socket: "1.2", Counted: true}); s.Serial != 0 || s.Members != nil {
		t.Errorf("%+v of a channel without members", s)
	}
	if s := join(t, r, seat("1.2", "10")); s.Serial != 3 {
		t.Errorf("serial %d, want 3: two counts and an addition came before", s.Serial)
	}
}

// Everybody who joins must be able to compute the membership from its snapshot and the notices
// with later serials.
func TestSnapshotPlusLaterNoticesIsTheMembership(t *testing.T) {
	t.Parallel()
	const users = 200
	var mu sync.Mutex
	var told []*broker.Notice
	r, err := New(Config{Notifier: notifyFunc(func(n *broker.Notice) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, n)
	})})
	if err != nil {
		t.Fatal(err)
	}
	snapshots := make([]Snapshot, users)
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			e := seat(broker.SocketID(fmt.Sprint("1.", i)), fmt.Sprint(i%50))
			s, err := r.Join(t.Context(), e, users)
			if err != nil {
				t.Error(err)
			}
			snapshots[i] = s
			if i%3 == 0 {
				r.Leave(e)
			}
		})
	}
	wg.Wait()
	want := map[string]bool{}
	for _, id := range r.Users("1", "presence-a") {
		want[id] = true
	}
	for i, n := range told {
		if n.Serial != uint64(i+1) {
			t.Fatalf("notice %d has serial %d: told out of order", i, n.Serial)
		}
	}
	for _, s := range snapshots {
		have := map[string]bool{}
		for _, m := range s.Members {
			have[m.UserID] = true
		}
		for _, n := range told[s.Serial:] {
			switch n.Kind {
			case broker.MemberAdded:
				if have[n.Member.UserID] {
					t.Fatalf("user %s announced twice", n.Member.UserID)
				}
				have[n.Member.UserID] = true
			case broker.MemberRemoved:
				delete(have, n.Member.UserID)
			}
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Fatalf("membership from serial %d on (-want +got):\n%s", s.Serial, diff)
		}
	}
}

type notifyFunc func(*broker.Notice)

func (f notifyFunc) Notify(n *broker.Notice) { f(n) }
