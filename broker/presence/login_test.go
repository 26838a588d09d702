package presence

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// connection is a subscriber that keeps what it is told, as "+a +b -c".
type connection struct {
	mu      sync.Mutex
	notices []*broker.Notice
}

func (c *connection) Deliver(d *broker.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notices = append(c.notices, d.Notice)
}

func (*connection) Close(broker.Reason) {}

// take returns what was delivered since it was called last.
func (c *connection) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, n := range c.notices {
		var s []string
		for _, id := range n.Online {
			s = append(s, "+"+id)
		}
		for _, id := range n.Offline {
			s = append(s, "-"+id)
		}
		if n.Kind != broker.WatchedUsers || n.App == "" || n.Channel != "" || n.Time.IsZero() || n.Serial == 0 {
			s = append(s, fmt.Sprintf("unexpected %+v", n))
		}
		all = append(all, strings.Join(s, " "))
	}
	c.notices = nil
	return all
}

func (c *connection) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, c.take()); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

func TestWatchersHearOfFirstAndLastConnection(t *testing.T) {
	t.Parallel()
	r, told := open(t)
	var watcher, both connection
	w := r.SignIn("1", "watcher", &watcher)
	a := r.SignIn("1", "a", &connection{})
	w.Watch([]string{"a", "b", "a", "watcher"})
	watcher.want(t, "+a +watcher -b")

	b := r.SignIn("1", "b", &both)
	watcher.want(t, "+b")
	b.Watch([]string{"a"})
	both.want(t, "+a")
	a2 := r.SignIn("1", "a", &connection{})
	a.SignOut()
	r.SignIn("2", "b", &connection{}) // of another app
	watcher.want(t)
	a2.SignOut()
	watcher.want(t, "-a")
	both.want(t, "-a")
	a2.SignOut()
	b.SignOut()
	watcher.want(t, "-b")
	r.SignIn("1", "a", &connection{})
	watcher.want(t, "+a")
	both.want(t)

	w.SignOut()
	watcher.want(t) // not even of itself
	if len(told.notices) != 0 {
		t.Errorf("subscribers of channels were told %q", told.notices)
	}
}

func TestWatchReplacesTheFormerList(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	var c connection
	l := r.SignIn("1", "c", &c)
	l.Watch([]string{"a", "b"})
	c.want(t, "-a -b")
	l.Watch([]string{"b", "d"})
	c.want(t, "-b -d")
	a := r.SignIn("1", "a", &connection{})
	r.SignIn("1", "b", &connection{})
	c.want(t, "+b")
	a.SignOut()
	l.Watch(nil)
	c.want(t)
	r.SignIn("1", "d", &connection{})
	c.want(t)
	l.SignOut()
	l.Watch([]string{"b"})
	c.want(t)
}

func TestConnectionsOfAUser(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	join(t, r, seat("1.9", "a")) // a member of this id need not be signed in
	if got := r.Connections("1", "a"); got != nil {
		t.Errorf("connections of nobody: %v", got)
	}
	var all [4]connection
	var logins []*Login
	for i := range all {
		logins = append(logins, r.SignIn("1", "a", &all[i]))
	}
	r.SignIn("1", "b", &connection{}).Watch([]string{"a"})
	r.SignIn("2", "a", &connection{})
	check := func(want ...*connection) {
		t.Helper()
		got := r.Connections("1", "a")
		for _, c := range want {
			if !slices.Contains(got, broker.Subscriber(c)) {
				t.Errorf("connection %p is missing", c)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d connections, want %d", len(got), len(want))
		}
	}
	check(&all[0], &all[1], &all[2], &all[3])
	logins[1].SignOut()
	check(&all[0], &all[2], &all[3])
	logins[3].SignOut()
	check(&all[0], &all[2])
	logins[0].SignOut()
	logins[0].SignOut()
	check(&all[2])
	logins[2].SignOut()
	check()
}

// Nothing is kept of users who are neither online nor watched.
func TestUsersAreForgotten(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	a := r.SignIn("1", "a", &connection{})
	b := r.SignIn("1", "b", &connection{})
	a.Watch([]string{"a", "b", "c", "d"})
	b.Watch([]string{"d", "c", "b", "a"})
	b.Watch([]string{"e"})
	a.SignOut()
	if n := len(r.app("1").accounts); n != 2 {
		t.Errorf("%d users known, want b and e", n)
	}
	b.SignOut()
	if n := len(r.app("1").accounts); n != 0 {
		t.Errorf("%d users known, want none", n)
	}
}

// checked is a connection that checks that each notice after the first tells a change.
type checked struct {
	t      *testing.T
	login  *Login // the session's goroutine's
	mu     sync.Mutex
	online map[string]bool // guarded by mu; nil before the first notice
	serial uint64          // guarded by mu
}

func (c *checked) Deliver(d *broker.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := d.Notice
	if n.Serial <= c.serial {
		c.t.Errorf("serial %d after %d", n.Serial, c.serial)
	}
	c.serial = n.Serial
	if c.online == nil {
		c.online = map[string]bool{}
		for _, id := range n.Offline {
			c.online[id] = false
		}
		for _, id := range n.Online {
			c.online[id] = true
		}
		return
	}
	for online, ids := range map[bool][]string{true: n.Online, false: n.Offline} {
		for _, id := range ids {
			if was, watched := c.online[id]; !watched || was == online {
				c.t.Errorf("told that %s is online: %v; it was %v, watched %v", id, online, was, watched)
			}
			c.online[id] = online
		}
	}
}

func (*checked) Close(broker.Reason) {}

// forget begins anew, with the next notice. The caller is the one that causes it.
func (c *checked) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.online = nil
}

// Users come, go and watch at random, from several goroutines. Whatever each connection was shown at
// first and told since is, when all is quiet, who is online; nothing was told twice or left out.
func TestWatchersKnowTheTruth(t *testing.T) {
	t.Parallel()
	const users, sessions, steps = 12, 8, 400
	r, _ := open(t)
	name := func(rng *rand.Rand) string { return fmt.Sprint(rng.IntN(users)) }
	left := make([][]*checked, sessions)
	seed := rand.Uint64()
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			var mine []*checked
			for range steps {
				switch at := rng.IntN(len(mine) + 1); {
				case at == len(mine) && len(mine) < 6:
					c := &checked{t: t}
					c.login = r.SignIn("1", name(rng), c)
					mine = append(mine, c)
				case at == len(mine):
				case rng.IntN(2) == 0:
					c := mine[at]
					var ids []string
					for range 1 + rng.IntN(users) {
						ids = append(ids, name(rng))
					}
					c.login.Watch(nil) // so that nothing comes before the first notice
					c.forget()
					c.login.Watch(ids)
				default:
					c := mine[at]
					mine = slices.Delete(mine, at, at+1)
					c.login.SignOut()
					serial := c.serial // of a connection that is told nothing any more
					r.Connections("1", "1")
					if c.serial != serial {
						t.Error("told after it had signed out")
					}
				}
			}
			left[i] = mine
		})
	}
	wg.Wait()
	truth := map[string]bool{}
	for id := range users {
		if len(r.Connections("1", fmt.Sprint(id))) > 0 {
			truth[fmt.Sprint(id)] = true
		}
	}
	signedIn := map[string]bool{}
	for _, c := range slices.Concat(left...) {
		signedIn[c.login.account.id] = true
		for id, online := range c.online {
			if online != truth[id] {
				t.Errorf("seed %d: a watcher has %s online: %v, which it is: %v", seed, id, online, truth[id])
			}
		}
	}
	if diff := cmp.Diff(signedIn, truth); diff != "" {
		t.Errorf("seed %d: signed in and online (-want +got):\n%s", seed, diff)
	}
	for _, c := range slices.Concat(left...) {
		c.login.SignOut()
	}
	if n := len(r.app("1").accounts); n != 0 {
		t.Errorf("seed %d: %d users known of whom nobody is left", seed, n)
	}
}

func BenchmarkSignInAndWatch(b *testing.B) {
	r, err := New(Config{Notifier: notifyFunc(func(*broker.Notice) {})})
	if err != nil {
		b.Fatal(err)
	}
	var ids []string
	for i := range 100 {
		ids = append(ids, fmt.Sprint(i))
	}
	b.ReportAllocs()
	for b.Loop() {
		l := r.SignIn("1", "x", &connection{})
		l.Watch(ids)
		l.SignOut()
	}
}
