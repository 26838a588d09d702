package broker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// tails is a log that counts its tails. Their end can be held up.
type tails struct {
	broker.Log
	hold chan struct{} // when not nil, tails end only after it is closed

	mu    sync.Mutex
	begun int // guarded by mu
	now   int // guarded by mu
	most  int // guarded by mu
}

func (l *tails) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	from, events, err := l.Log.Tail(ctx, app)
	if err != nil {
		return from, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun++
	l.now++
	l.most = max(l.most, l.now)
	return from, func(yield func(*broker.Event, error) bool) {
		defer func() {
			if l.hold != nil {
				<-l.hold
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.now--
		}()
		events(yield)
	}, nil
}

// want checks how many tails have begun and how many there are, once everything has come to rest.
func (l *tails) want(t *testing.T, when string, begun, now int) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun != begun || l.now != now {
		t.Errorf("%s: %d tails begun, %d there; want %d, %d", when, l.begun, l.now, begun, now)
	}
}

func TestFeedIsSharedAndLingers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ linger, lasts time.Duration }{
		"default":    {0, 30 * time.Second},
		"configured": {2 * time.Second, 2 * time.Second},
		"none":       {-1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := &tails{Log: &brokertest.Memory{}}
				n, stop := run(t, broker.Config{Log: log, Linger: tt.linger})
				log.want(t, "nobody there", 0, 0)
				var feeds [10]*broker.Feed
				var wg sync.WaitGroup
				for i := range feeds {
					wg.Go(func() { feeds[i], _ = n.Feed(t.Context(), app) })
				}
				wg.Wait()
				log.want(t, "ten sessions", 1, 1)
				for _, f := range feeds[1:] {
					if f != feeds[0] {
						t.Fatal("sessions of one app got different feeds")
					}
					f.Release()
				}
				time.Sleep(time.Hour)
				log.want(t, "one session left", 1, 1)
				feeds[0].Release()
				if tt.lasts > 0 {
					time.Sleep(tt.lasts - 1)
					log.want(t, "nobody there, lingering", 1, 1)
					again, err := n.Feed(t.Context(), app)
					if err != nil || again != feeds[0] {
						t.Fatalf("the feed that lingers wasn't taken up again: %v", err)
					}
					time.Sleep(time.Hour)
					log.want(t, "a session again", 1, 1)
					again.Release()
					time.Sleep(tt.lasts)
				}
				log.want(t, "nobody there for long enough", 1, 0)
				_, release := feed(t, n, app)
				_, releaseOther := feed(t, n, "other")
				log.want(t, "sessions of two apps", 3, 2)
				release()
				time.Sleep(tt.lasts)
				log.want(t, "a session of one", 3, 1)
				stop()
				log.want(t, "node ended", 3, 0)
				releaseOther()
			})
		})
	}
}

// The tail's durable consumer is named after the node: two at a time would share events.
func TestFeedWaitsForTheFormersEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &tails{Log: &brokertest.Memory{}, hold: make(chan struct{})}
		n, _ := run(t, broker.Config{Log: log, Linger: -1})
		_, release := feed(t, n, app)
		release()
		synctest.Wait()
		got := make(chan *broker.Feed, 1)
		go func() {
			f, err := n.Feed(t.Context(), app)
			if err != nil {
				t.Errorf("feed: %v", err)
			}
			got <- f
		}()
		log.want(t, "the former one is about to end", 1, 1)
		if len(got) != 0 {
			t.Error("a feed was given out while the former tail was still there")
		}
		close(log.hold)
		(<-got).Release()
		log.want(t, "both gone", 2, 0)
		if log.most != 1 {
			t.Errorf("%d tails of one app at the same time", log.most)
		}
	})
}

func TestBrokenTailSendsSessionsHome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Memory{}
		n, _ := run(t, broker.Config{Log: log})
		f, release := feed(t, n, app)
		open, s := subscribe(t, f, ch, "1.1")
		gated := &recorder{}
		if _, _, err := f.Subscribe("other", "1.2", gated); err != nil {
			t.Fatal(err)
		}
		elsewhere, _ := feed(t, n, "elsewhere")
		bystander, _ := subscribe(t, elsewhere, ch, "1.3")
		publish(t, n, ch, "1")
		open.want(t, "a session", "1")

		log.Break(app, errors.New("cut"))
		synctest.Wait()
		publish(t, n, ch, "2")
		for who, r := range map[string]*recorder{"open": open, "gated": gated} {
			if diff := cmp.Diff([]broker.Reason{broker.TailBroken}, r.closed()); diff != "" {
				t.Errorf("closed, %s (-want +got):\n%s", who, diff)
			}
		}
		if why := bystander.closed(); why != nil {
			t.Errorf("session of another app was closed: %v", why)
		}
		open.want(t, "a session that was sent home", "1")
		if _, _, err := f.Subscribe(ch, "1.4", &recorder{}); !errors.Is(err, broker.ErrBroken) {
			t.Errorf("subscribe to a broken feed: %v, want ErrBroken", err)
		}

		next, _ := feed(t, n, app) // before the sessions of the former one have left
		if next == f {
			t.Fatal("a broken feed was given out")
		}
		s.Close()
		release()
		back, _ := subscribe(t, next, ch, "1.1")
		publish(t, n, ch, "3")
		back.want(t, "a session that is back", "3")
	})
}

// A tail that ends without a word, against its contract, has a hole all the same.
func TestTailThatJustEndsIsBroken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &ending{Log: &brokertest.Memory{}, end: make(chan struct{})}
		n, _ := run(t, broker.Config{Log: log})
		f, _ := feed(t, n, app)
		r, _ := subscribe(t, f, ch, "1.1")
		close(log.end)
		synctest.Wait()
		if diff := cmp.Diff([]broker.Reason{broker.TailBroken}, r.closed()); diff != "" {
			t.Errorf("closed (-want +got):\n%s", diff)
		}
	})
}

// ending is a log whose tails end without a word.
type ending struct {
	broker.Log
	end chan struct{}
}

func (l *ending) Tail(context.Context, broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	return broker.Position{}, func(func(*broker.Event, error) bool) { <-l.end }, nil
}

func TestTailThatCannotStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Faulty{Log: &brokertest.Memory{}}
		log.FailTails(1)
		slow := &slow{Log: log, start: make(chan struct{})}
		n, _ := run(t, broker.Config{Log: slow})
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := n.Feed(t.Context(), app)
				errs <- err
			}()
		}
		synctest.Wait()
		close(slow.start)
		for range 3 {
			if err := <-errs; !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), string(app)) {
				t.Errorf("feed: %v, want ErrUnavailable and the app's name", err)
			}
		}
		f, _ := feed(t, n, app)
		r, _ := subscribe(t, f, ch, "1.1")
		publish(t, n, ch, "1")
		r.want(t, "a session, now that the tail could start", "1")
	})
}

// slow is a log whose tails start only when they are let.
type slow struct {
	broker.Log
	start chan struct{}
}

func (l *slow) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	select {
	case <-l.start:
		return l.Log.Tail(ctx, app)
	case <-ctx.Done():
		return broker.Position{}, nil, ctx.Err()
	}
}

func TestFeedThatIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &tails{Log: &brokertest.Memory{}}
		slow := &slow{Log: log, start: make(chan struct{})}
		n, _ := run(t, broker.Config{Log: slow})
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 1)
		go func() {
			_, err := n.Feed(ctx, app)
			errs <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("feed: %v, want its context's error", err)
		}
		close(slow.start)
		log.want(t, "started for nobody", 1, 1)
		time.Sleep(30 * time.Second)
		log.want(t, "after the linger time", 1, 0)
	})
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := run(t, broker.Config{Log: &brokertest.Memory{}})
		f, _ := feed(t, n, app)
		elsewhere, _ := feed(t, n, "elsewhere")
		var all [5]*recorder
		var subs [5]*broker.Subscription
		for i := range all {
			all[i], subs[i] = subscribe(t, f, ch, broker.SocketID(fmt.Sprint("1.", i)))
		}
		other, _ := subscribe(t, f, "other", "1.0")
		foreign, _ := subscribe(t, elsewhere, ch, "1.0")
		if got := subs[0].Channel(); got != ch {
			t.Errorf("channel %q, want %q", got, ch)
		}

		publish(t, n, ch, "1")
		publish(t, n, "other", "2")
		publish(t, n, "nobody's", "3")
		if err := n.Publish(t.Context(), &broker.Event{App: app, Channel: ch, ID: "4", Exclude: "1.1"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		n.Notify(&broker.Notice{App: app, Channel: ch, Serial: 1, Exclude: "1.2"})
		n.Notify(&broker.Notice{App: "nobody's", Channel: ch, Serial: 1})
		n.Notify(&broker.Notice{App: app, Channel: "nobody's", Serial: 2})
		for i, r := range all {
			want := []string{"1", "4", "#1"}
			switch i {
			case 1:
				want = []string{"1", "#1"}
			case 2:
				want = []string{"1", "4"}
			}
			r.want(t, fmt.Sprint("subscriber ", i), want...)
		}
		other.want(t, "a subscriber of another channel", "2")
		foreign.want(t, "a subscriber of another app")

		// The first, the middle and the last of those that are left go, and one of them twice.
		for _, i := range []int{0, 2, 4, 2} {
			subs[i].Close()
		}
		publish(t, n, ch, "5")
		synctest.Wait()
		n.Notify(&broker.Notice{App: app, Channel: ch, Serial: 3})
		all[0].want(t, "one that has left", "1", "4", "#1")
		all[1].want(t, "one that stayed", "1", "#1", "5", "#3")
		all[2].want(t, "one that has left", "1", "4")
		all[3].want(t, "one that stayed", "1", "4", "#1", "5", "#3")
		subs[1].Close()
		subs[3].Close()
		publish(t, n, ch, "6")
		synctest.Wait()
		back, _ := subscribe(t, f, ch, "1.1")
		publish(t, n, ch, "7")
		back.want(t, "one that is back", "7")
		all[3].want(t, "the last one that left", "1", "4", "#1", "5", "#3")
	})
}
