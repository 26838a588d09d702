package presence

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// crowd is a counted channel and who is in it.
type crowd struct {
	t    *testing.T
	r    *Registry
	told *recorder
	ch   broker.Channel
	n    int
}

// opened returns an empty crowd whose registry runs until the test's bubble ends.
func opened(t *testing.T) *crowd {
	r, told := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return &crowd{t: t, r: r, told: told, ch: "a"}
}

func (c *crowd) entry() Entry { return Entry{App: "1", Channel: c.ch, Socket: "1.1", Counted: true} }

// to lets connections come or go until there are n.
func (c *crowd) to(n int) {
	for ; c.n < n; c.n++ {
		join(c.t, c.r, c.entry())
	}
	for ; c.n > n; c.n-- {
		c.r.Leave(c.entry())
	}
}

// want checks what was told since it was called last, once everything has come to rest.
func (c *crowd) want(counts ...int) {
	c.t.Helper()
	synctest.Wait()
	var want []string
	for _, n := range counts {
		want = append(want, fmt.Sprintf("count %d of %s", n, c.ch))
	}
	if diff := cmp.Diff(want, c.told.take()); diff != "" {
		c.t.Errorf("after %d (-want +got):\n%s", c.n, diff)
	}
}

func TestSmallCountsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	r, told := open(t)
	c := &crowd{t: t, r: r, told: told, ch: "a"}
	var want []string
	for n := 1; n <= 100; n++ {
		want = append(want, fmt.Sprintf("count %d of a", n))
	}
	for n := 99; n >= 0; n-- {
		want = append(want, fmt.Sprintf("count %d of a", n))
	}
	c.to(100)
	join(t, r, Entry{App: "1", Channel: "other", Socket: "1.1"}) // not counted
	c.to(0)
	if diff := cmp.Diff(want, told.notices); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLargeCountsAreToldOnceInFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := opened(t)
		c.to(100)
		synctest.Wait()
		c.told.take()

		c.to(101)
		c.want(101) // the first at once
		c.to(150)
		c.want()
		time.Sleep(countPause - time.Nanosecond)
		c.want()
		time.Sleep(time.Nanosecond)
		c.want(150)

		c.to(140) // while activity lasts, at the end of each pause
		time.Sleep(2 * time.Second)
		c.to(160)
		time.Sleep(countPause - 2*time.Second)
		c.want(160)

		time.Sleep(time.Hour) // then nothing
		c.want()
		if n := len(c.r.pauses.list) + len(c.r.app("1").paused); n != 0 {
			t.Errorf("%d pauses are kept of a quiet channel", n)
		}
		c.to(161)
		c.want(161)
	})
}

// A channel that shrinks below the bound is told at once, and no stale number follows.
func TestCountsAroundTheBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := opened(t)
		c.to(102)
		synctest.Wait()
		c.told.take() // up to 101; 102 waits
		c.to(100)
		c.want(100)
		time.Sleep(countPause)
		c.want() // the number that waited is no longer one
		c.to(99)
		c.want(99)

		c.to(101)
		c.want(100, 101)
		for range 10 {
			c.to(100)
			c.to(101)
		}
		c.want(100, 100, 100, 100, 100, 100, 100, 100, 100, 100)
		time.Sleep(countPause)
		c.want(101)
	})
}

// A channel may empty, and fill again, during its pause.
func TestCountsOfAChannelThatWasVacated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := opened(t)
		c.to(103)
		c.to(0)
		synctest.Wait()
		c.told.take()
		c.to(104)
		synctest.Wait()
		c.told.take()
		time.Sleep(countPause)
		c.want(104)
		c.to(0)
		synctest.Wait()
		c.told.take()
		time.Sleep(time.Hour)
		c.want()
		if n := len(c.r.pauses.list) + len(c.r.app("1").paused); n != 0 {
			t.Errorf("%d pauses are kept of an empty channel", n)
		}
	})
}

// A connection that came under an app without counts may be the last change of a channel that has
// them: what is told at the end is the number of then.
func TestCountAtTheEndOfAPauseIsTheNumberOfThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := opened(t)
		c.to(110)
		synctest.Wait()
		c.told.take()
		for range 30 {
			e := c.entry()
			e.Counted = false
			c.r.Leave(e)
		}
		time.Sleep(countPause)
		c.want(80)
	})
}

// Each of several large channels has a pause of its own.
func TestPausesOfSeveralChannels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := opened(t)
		other := *c
		other.ch = "b"
		c.to(102)
		time.Sleep(2 * time.Second)
		other.to(102)
		synctest.Wait()
		c.told.take()
		time.Sleep(3 * time.Second)
		c.want(102)
		time.Sleep(2*time.Second - time.Nanosecond)
		other.want()
		time.Sleep(time.Nanosecond)
		other.want(102)
	})
}

// Many come and go at once: when all is quiet the last number told is the right one.
func TestCountsEndRight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := opened(t)
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				for j := range 50 {
					if _, err := c.r.Join(t.Context(), c.entry(), 0); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Duration(i*j) * time.Millisecond)
					if j%10 != 0 {
						c.r.Leave(c.entry())
					}
				}
			})
		}
		wg.Wait()
		time.Sleep(2 * countPause)
		synctest.Wait()
		told := c.told.take()
		if got := told[len(told)-1]; got != "count 200 of a" {
			t.Errorf("the last of %d: %s, want count 200", len(told), got)
		}
	})
}
