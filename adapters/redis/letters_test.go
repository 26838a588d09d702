package redis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/adapters/redis/redistest"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

func newLetters(t testing.TB, client redis.ClientConfig, edit ...func(*redis.LettersConfig)) *redis.Letters {
	t.Helper()
	cfg := redis.LettersConfig{Client: newClient(t, client)}
	for _, e := range edit {
		e(&cfg)
	}
	l, err := redis.NewLetters(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, l)
	return l
}

func TestLettersContract(t *testing.T) {
	t.Parallel()
	for name, config := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := config(t)
			brokertest.TestLetters(t, func(t *testing.T, b brokertest.LettersBounds) (one, other brokertest.Letters) {
				bound := func(c *redis.LettersConfig) { c.MaxLetters, c.Window = b.MaxLetters, b.Window }
				return newLetters(t, client, bound), newLetters(t, client, bound)
			})
		})
	}
}

// A taker that vanished without a word is replaced within the takeover time, and what it held comes before
// anything later. Back again, it learns that it isn't the taker any more, and takes nothing out.
func TestLettersOfKilledTaker(t *testing.T) {
	t.Parallel()
	for name, config := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			short := func(c *redis.LettersConfig) { c.Takeover, c.Look = 2*time.Second, 100*time.Millisecond }
			first, other := newLetters(t, config(t), short), newLetters(t, config(t), short)
			app := broker.AppID(rand.Text())
			all := brokertest.SomeLetters(app, "one", 0, 25)
			brokertest.PutLetters(t, first, all[:10]...)
			ctx, cancel := context.WithCancel(soon(t))
			defer cancel()
			var lost []*broker.Letter
			vanished, back, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			go func() {
				var last error
				for letter, err := range first.Take(ctx, app, "one") {
					if last = err; err != nil {
						break
					}
					if lost = append(lost, letter); len(lost) == 6 {
						close(vanished) // from here on it isn't heard of
						<-back
					}
				}
				ended <- last
			}()
			<-vanished
			began := time.Now()
			k := brokertest.TakeLetters(t, other, app, "one")
			brokertest.PutLetters(t, other, all[10:]...)
			got := k.Next(t, 25)
			if diff := cmp.Diff(brokertest.LetterIDs(all), brokertest.LetterIDs(got)); diff != "" {
				t.Errorf("letters (-want +got):\n%s", diff)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("taken over after %v", took)
			}
			if err := first.Done(soon(t), lost[:6]...); err != nil {
				t.Error(err)
			}
			if backlog := backlogOf(t, other, app); backlog != 25 {
				t.Errorf("%d letters wait, want all 25: they were the other's to take out", backlog)
			}
			close(back)
			if err := <-ended; !errors.Is(err, broker.ErrUnavailable) {
				t.Errorf("the former taker ended with %v", err)
			}
		})
	}
}

func backlogOf(t testing.TB, l *redis.Letters, app broker.AppID) (n uint64) {
	t.Helper()
	backlog, err := l.Backlog(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range backlog {
		if b.App == app {
			n += b.Letters
		}
	}
	return n
}

// A restart of a Redis with an append-only file isn't seen from outside: each letter is given out once.
func TestLettersOverRestart(t *testing.T) {
	t.Parallel()
	server := redistest.Single(t, "--appendonly", "yes", "--appendfsync", "always")
	l := newLetters(t, singleConfig(server))
	all := brokertest.SomeLetters("shop", "one", 0, 20)
	brokertest.PutLetters(t, l, all[:10]...)
	k := brokertest.TakeLetters(t, l, "shop", "one")
	got := k.Next(t, 10)
	server.Kill()
	if err := l.Done(soon(t), got[0]); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("done while Redis is away: %v", err)
	}
	if _, err := l.Put(soon(t), all[10]); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("put while Redis is away: %v", err)
	}
	if _, err := l.Backlog(soon(t)); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("backlog while Redis is away: %v", err)
	}
	for _, err := range l.Dead(soon(t), "") {
		if !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("dead while Redis is away: %v", err)
		}
	}
	server.Start()
	eventually(t, "done", func() bool { return l.Done(soon(t), got[:3]...) == nil })
	eventually(t, "put", func() bool { _, err := l.Put(soon(t), all[10:]...); return err == nil })
	got = append(got, k.Next(t, 10)...)
	if diff := cmp.Diff(brokertest.LetterIDs(all), brokertest.LetterIDs(got)); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
	if n := backlogOf(t, l, "shop"); n != 17 {
		t.Errorf("%d letters wait, want 17", n)
	}
}

// A Redis that comes back empty has lost its letters; the takers begin again with what is put then.
func TestLettersOfForgetfulRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Single(t)
	l := newLetters(t, singleConfig(server))
	brokertest.PutLetters(t, l, brokertest.SomeLetters("shop", "one", 0, 3)...)
	k := brokertest.TakeLetters(t, l, "shop", "one")
	k.Next(t, 3)
	server.Kill()
	server.Start()
	if err := k.Err(t); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("ended with %v", err)
	}
	again := brokertest.SomeLetters("shop", "one", 0, 4)
	brokertest.PutLetters(t, l, again...)
	got := brokertest.TakeLetters(t, l, "shop", "one").Next(t, 4)
	if diff := cmp.Diff(brokertest.LetterIDs(again), brokertest.LetterIDs(got)); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
}

// A queue that has gone back to an earlier state, as a replica may when it takes over, has letters before
// the one taken last. The taker notices, and the next begins with them.
func TestLettersOfEarlierState(t *testing.T) {
	t.Parallel()
	client := singleConfig(redistest.SharedSingle(t))
	l := newLetters(t, client, func(c *redis.LettersConfig) { c.Look = 50 * time.Millisecond })
	app := broker.AppID(rand.Text())
	all := brokertest.SomeLetters(app, "one", 0, 4)
	brokertest.PutLetters(t, l, all[:3]...)
	k := brokertest.TakeLetters(t, l, app, "one")
	got := k.Next(t, 3)
	// What was done is there again; to Redis it is as if it had never been.
	if err := redis.Restore(soon(t), l, all[3]); err != nil {
		t.Fatal(err)
	}
	if err := k.Err(t); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("ended with %v", err)
	}
	if err := l.Done(soon(t), got...); err != nil {
		t.Error(err)
	}
	if n := len(brokertest.TakeLetters(t, l, app, "one").Next(t, 4)); n != 4 {
		t.Errorf("%d letters", n)
	}
}

// A master of a cluster dies while letters are put and taken. Each that was put is given out, unless Redis
// itself has lost it, and in order: a letter that wasn't given out before never comes after a later one.
func TestLettersOverClusterFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	t.Parallel()
	nodes := redistest.Cluster(t)
	l := newLetters(t, clusterConfig(nodes), func(c *redis.LettersConfig) { c.Takeover, c.Look = 5*time.Second, 200*time.Millisecond })
	taker := newLetters(t, clusterConfig(nodes), func(c *redis.LettersConfig) { c.Takeover, c.Look = 5*time.Second, 200*time.Millisecond })
	const n = 600
	ctx, cancel := context.WithCancel(soon(t))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	seen := make(chan string, 10*n)
	wg.Go(func() {
		for ctx.Err() == nil {
			for letter, err := range taker.Take(ctx, "shop", "one") {
				if err != nil {
					break
				}
				seen <- letter.ID
				_ = taker.Done(ctx, letter) // else it comes again
			}
		}
	})
	for i, letter := range brokertest.SomeLetters("shop", "one", 0, n) {
		eventually(t, "put "+letter.ID, func() bool {
			_, err := l.Put(soon(t), letter)
			return err == nil
		})
		if i == n/2 {
			nodes.Master(redis.LettersKey(l, "shop")).Kill()
		}
	}
	eventually(t, "all that is there is taken", func() bool {
		backlog, err := l.Backlog(soon(t))
		return err == nil && len(backlog) == 0
	})
	cancel()
	wg.Wait()
	close(seen)
	times, newest, again := map[string]int{}, -1, 0
	for id := range seen {
		var number int
		if _, err := fmt.Sscanf(id, "shop-one-%d", &number); err != nil {
			t.Fatal(err)
		}
		if times[id]++; times[id] > 1 {
			again++
			continue
		}
		if number < newest {
			t.Errorf("letter %d came first after %d", number, newest)
		}
		newest = number
	}
	// Redis answers before its replica knows: what it took in the last moment may be gone.
	if lost := n - len(times); lost > 5 {
		t.Errorf("%d of %d letters lost", lost, n)
	} else {
		t.Logf("lost by Redis: %d, given out again: %d", lost, again)
	}
	if newest != n-1 {
		t.Errorf("the newest is %d, want %d", newest, n-1)
	}
}

// Dead letters over their bound are forgotten, the oldest first.
func TestDeadLettersAreBounded(t *testing.T) {
	t.Parallel()
	client := singleConfig(redistest.Single(t))
	l := newLetters(t, client, func(c *redis.LettersConfig) { c.DeadBytes = 2000 })
	all := brokertest.SomeLetters("shop", "one", 0, 50)
	brokertest.PutLetters(t, l, all...)
	got := brokertest.TakeLetters(t, l, "shop", "one").Next(t, 50)
	for _, letter := range got {
		if err := l.Bury(soon(t), "no", letter); err != nil {
			t.Fatal(err)
		}
	}
	var left []*broker.Letter
	for d, err := range l.Dead(soon(t), "") {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, &d.Letter)
	}
	if len(left) < 5 || len(left) > 20 || left[len(left)-1].ID != all[49].ID || left[0].ID != all[50-len(left)].ID {
		t.Errorf("left of the dead: %v", brokertest.LetterIDs(left))
	}
}

// What waits for one endpoint is bounded in bytes, and what was done makes room.
func TestLettersAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	l := newLetters(t, singleConfig(redistest.SharedSingle(t)), func(c *redis.LettersConfig) { c.MaxBytes = 1000 })
	app := broker.AppID(rand.Text())
	big := func(n int) *broker.Letter {
		return &broker.Letter{ID: fmt.Sprint(app, n), App: app, Endpoint: "one", Body: make([]byte, 300), Time: time.UnixMilli(0)}
	}
	refused, err := l.Put(soon(t), big(0), big(1), big(2))
	if err != nil || len(refused) != 1 {
		t.Fatalf("%d refused: %v", len(refused), err)
	}
	k := brokertest.TakeLetters(t, l, app, "one")
	for n := 2; n < 10; n++ {
		if err := l.Done(soon(t), k.Next(t, 1)...); err != nil {
			t.Fatal(err)
		}
		brokertest.PutLetters(t, l, big(n))
	}
}

func TestLettersConfig(t *testing.T) {
	t.Parallel()
	if _, err := redis.NewLetters(redis.LettersConfig{}); err == nil {
		t.Error("letters without a client")
	}
	client := newClient(t, redis.ClientConfig{})
	for name, change := range map[string]func(*redis.LettersConfig){
		"max age":     func(c *redis.LettersConfig) { c.MaxAge = -1 },
		"max bytes":   func(c *redis.LettersConfig) { c.MaxBytes = -1 },
		"max letters": func(c *redis.LettersConfig) { c.MaxLetters = -1 },
		"dead age":    func(c *redis.LettersConfig) { c.DeadAge = -1 },
		"dead bytes":  func(c *redis.LettersConfig) { c.DeadBytes = -1 },
		"window":      func(c *redis.LettersConfig) { c.Window = -1 },
		"look":        func(c *redis.LettersConfig) { c.Look = -1 },
		"takeover":    func(c *redis.LettersConfig) { c.Takeover = time.Millisecond },
	} {
		cfg := redis.LettersConfig{Client: client}
		change(&cfg)
		if _, err := redis.NewLetters(cfg); err == nil {
			t.Errorf("bad %s accepted", name)
		}
	}
}
