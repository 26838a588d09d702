package streams_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/streams"
)

func (r *rig) letters(s *streams.Streams, change ...func(*streams.LettersConfig)) *streams.Letters {
	r.t.Helper()
	cfg := streams.LettersConfig{Streams: s}
	for _, c := range change {
		c(&cfg)
	}
	l, err := streams.NewLetters(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func someLetters(endpoint string, from, n int) []*broker.Letter {
	letters := make([]*broker.Letter, n)
	for i := range letters {
		letters[i] = &broker.Letter{
			ID: fmt.Sprintf("%s-%d", endpoint, from+i), App: "shop.1", Endpoint: endpoint,
			Time: time.UnixMilli(1700000000000 + int64(i)).UTC(), Body: fmt.Appendf(nil, `{"n":%d}`, from+i),
		}
	}
	return letters
}

func put(t testing.TB, l *streams.Letters, letters ...*broker.Letter) {
	t.Helper()
	refused, err := l.Put(soon(t), letters...)
	if err != nil {
		t.Fatal(err)
	}
	if len(refused) > 0 {
		t.Fatalf("%d letters refused", len(refused))
	}
}

func ids(letters []*broker.Letter) []string {
	all := []string{}
	for _, l := range letters {
		all = append(all, l.ID)
	}
	return all
}

// taking is a taker in the background.
type taking struct {
	t       testing.TB
	letters chan *broker.Letter
	stop    context.CancelFunc
	done    chan error
}

func take(t testing.TB, l *streams.Letters, endpoint string) *taking {
	ctx, cancel := context.WithCancel(soon(t))
	k := &taking{t: t, letters: make(chan *broker.Letter), stop: cancel, done: make(chan error, 1)}
	go func() {
		var last error
		for letter, err := range l.Take(ctx, "shop.1", endpoint) {
			if err != nil {
				last = err
				break
			}
			select {
			case k.letters <- letter:
			case <-ctx.Done():
			}
		}
		k.done <- last
	}()
	t.Cleanup(cancel)
	return k
}

func (k *taking) next(n int) []*broker.Letter {
	k.t.Helper()
	var got []*broker.Letter
	timeout := time.After(25 * time.Second)
	for len(got) < n {
		select {
		case l := <-k.letters:
			got = append(got, l)
		case err := <-k.done:
			k.t.Fatalf("taker ended after %d of %d: %v", len(got), n, err)
		case <-timeout:
			k.t.Fatalf("%d of %d letters came", len(got), n)
		}
	}
	return got
}

// nothingBefore makes sure that the taker has nothing to give: a letter put now is what comes next.
func (k *taking) nothingBefore(l *streams.Letters, endpoint string) {
	k.t.Helper()
	mark := &broker.Letter{ID: "mark-" + time.Now().String(), App: "shop.1", Endpoint: endpoint, Body: []byte("{}"), Time: time.Now()}
	put(k.t, l, mark)
	if got := k.next(1); got[0].ID != mark.ID {
		k.t.Errorf("letter %s came, nothing was expected", got[0].ID)
	}
}

func TestLettersContract(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	streams1, streams2 := r.streams(interval), r.streams(interval)
	brokertest.TestLetters(t, func(t *testing.T, b brokertest.LettersBounds) (one, other brokertest.Letters) {
		// Bounds are the stream's, so that others need a server of their own.
		if b != (brokertest.LettersBounds{}) {
			r := newRig(t, time.Second)
			l := r.letters(r.streams(interval), func(c *streams.LettersConfig) {
				c.MaxLetters, c.Window = b.MaxLetters, b.Window
			})
			return l, l
		}
		return r.letters(streams1), r.letters(streams2)
	})
}

// A taker that vanished without a word is replaced within the takeover time, and what it held comes
// before anything later. While it lives, nobody else is given anything.
func TestLettersOfKilledTaker(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	var conns []*nats.Conn
	one := open(t, func() *nats.Conn {
		nc := r.connect()
		conns = append(conns, nc)
		return nc
	}, interval)
	short := func(c *streams.LettersConfig) { c.Takeover = 6 * time.Second }
	first := r.letters(one, short)
	put(t, first, someLetters("one", 0, 10)...)
	k := take(t, first, "one")
	k.next(6)

	other := r.letters(r.streams(interval), short)
	k2 := take(t, other, "one")
	put(t, other, someLetters("one", 10, 10)...)
	k.next(14) // the other waits
	select {
	case l := <-k2.letters:
		t.Fatalf("two takers: %s", l.ID)
	default:
	}
	for _, nc := range conns {
		r.line(nc).cut(true)
	}
	began := time.Now()
	put(t, other, someLetters("one", 20, 5)...)
	if diff := cmp.Diff(ids(someLetters("one", 0, 25)), ids(k2.next(25))); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("taken over after %v", took)
	}
	// The former comes back and learns that it isn't the taker any more.
	for _, nc := range conns {
		r.line(nc).mu.Lock()
		r.line(nc).dead = false
		r.line(nc).mu.Unlock()
	}
	select {
	case err := <-k.done:
		if !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("ended with %v", err)
		}
	case <-soon(t).Done():
		t.Error("two takers")
	}
}

// A cut of the line or of messages isn't seen from outside: each letter is given out once.
func TestLettersOverCuts(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	var conns []*nats.Conn
	s := open(t, func() *nats.Conn {
		nc := r.connect()
		conns = append(conns, nc)
		return nc
	}, interval)
	l := r.letters(s)
	other := r.letters(r.streams(interval))
	put(t, other, someLetters("one", 0, 10)...)
	k := take(t, l, "one")
	got := k.next(10)
	if err := l.Done(soon(t), got[3:7]...); err != nil {
		t.Fatal(err)
	}
	r.line(conns[1]).cut(false)
	put(t, other, someLetters("one", 10, 10)...)
	got = append(got, k.next(10)...)
	r.line(conns[1]).deafen()
	put(t, other, someLetters("one", 20, 10)...)
	r.line(conns[1]).cut(false)
	got = append(got, k.next(10)...)
	if diff := cmp.Diff(ids(someLetters("one", 0, 30)), ids(got)); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
	backlog, err := other.Backlog(soon(t))
	if err != nil || len(backlog) != 1 || backlog[0].Letters != 26 {
		t.Errorf("backlog %v, want the 26 that are not done: %v", backlog, err)
	}
	for _, letter := range slices.Concat(got[:3], got[7:]) {
		eventually(t, "done", func() bool { return l.Done(soon(t), letter) == nil })
	}
	k.nothingBefore(other, "one")
}

// A letter that is lost on its way to the taker is missed at once, and comes before the later ones.
func TestLettersLostOnTheWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	l := r.letters(r.streams(interval))
	put(t, l, someLetters("one", 0, 1)...)
	k := take(t, l, "one")
	k.next(1)
	js := r.jetStream()
	handle, err := js.Stream(soon(t), "playhead_%webhooks")
	if err != nil {
		t.Fatal(err)
	}
	var consumer, pin string
	for info := range handle.ListConsumers(soon(t)).Info() {
		consumer, pin = info.Name, info.PriorityGroups[0].PinnedClientID
	}
	// Another request in the taker's name: what is sent to it, the taker doesn't get.
	nc := js.Conn()
	thief, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	request := fmt.Appendf(nil, `{"batch":1,"expires":20000000000,"group":"taker","id":%q}`, pin)
	if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.playhead_%webhooks."+consumer, thief.Subject, request); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(soon(t)); err != nil {
		t.Fatal(err)
	}
	put(t, l, someLetters("one", 1, 10)...)
	if diff := cmp.Diff(ids(someLetters("one", 1, 10)), ids(k.next(10))); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
	m, err := thief.NextMsgWithContext(soon(t))
	if err != nil || len(m.Data) == 0 {
		t.Errorf("nothing was lost: %v", err)
	}
}

// The server's restart keeps the letters; what was taken and not done is given out again.
func TestLettersOverRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	l := r.letters(r.streams())
	put(t, l, someLetters("one", 0, 5)...)
	k := take(t, l, "one")
	got := k.next(5)
	if err := l.Done(soon(t), got[0]); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.start()
	if err := <-k.done; err == nil {
		t.Error("the taker went on, though others may have been given its letters")
	}
	again := r.letters(r.streams())
	k = take(t, again, "one")
	if diff := cmp.Diff(ids(someLetters("one", 1, 4)), ids(k.next(4))); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
}

// An app may have any id; the letters' streams are not in its way.
func TestLettersBesideApps(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	s := r.streams(interval)
	l := r.letters(s)
	put(t, l, someLetters("one", 0, 1)...)
	for _, app := range []broker.AppID{"webhooks", "%webhooks", "webhooks-dead", "%webhooks-dead"} {
		appendAll(t, s, event(app, "a"))
	}
}

func TestLettersConfig(t *testing.T) {
	t.Parallel()
	if _, err := streams.NewLetters(streams.LettersConfig{}); err == nil {
		t.Error("letters without streams")
	}
	r := newRig(t, time.Second)
	s := r.streams(interval)
	for name, change := range map[string]func(*streams.LettersConfig){
		"max age":     func(c *streams.LettersConfig) { c.MaxAge = -1 },
		"max bytes":   func(c *streams.LettersConfig) { c.MaxBytes = -1 },
		"max letters": func(c *streams.LettersConfig) { c.MaxLetters = -1 },
		"dead age":    func(c *streams.LettersConfig) { c.DeadAge = -1 },
		"dead bytes":  func(c *streams.LettersConfig) { c.DeadBytes = -1 },
		"window":      func(c *streams.LettersConfig) { c.Window = -1 },
		"takeover":    func(c *streams.LettersConfig) { c.Takeover = time.Second },
	} {
		cfg := streams.LettersConfig{Streams: s}
		change(&cfg)
		if _, err := streams.NewLetters(cfg); err == nil {
			t.Errorf("bad %s accepted", name)
		}
	}
}

// Several nodes and three servers, whose leaders change: every letter is given out, in order, and again
// only when its taker was replaced; client events likewise.
func TestLettersCluster(t *testing.T) {
	c := newCluster(t) // not parallel: see newCluster
	const n = 600
	short := func(cfg *streams.LettersConfig) { cfg.Takeover = 6 * time.Second }
	rig := &rig{t: t}
	writer := c.node(0, interval)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	type given struct {
		taker string
		id    string
	}
	seen, followed := make(chan given, 10*n), make(chan string, 10*n)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	ended := [3]int{}
	since := time.Now()
	for node := range 3 {
		l := rig.letters(c.node(node, interval), short)
		running.Go(func() {
			for ctx.Err() == nil {
				for letter, err := range l.Take(ctx, "shop.1", "one") {
					if err != nil {
						ended[node]++
						break
					}
					seen <- given{fmt.Sprint(node, " ", ended[node]), letter.ID}
					_ = l.Done(ctx, letter) // else it comes again
				}
			}
		})
		running.Go(func() {
			for ctx.Err() == nil {
				for events, err := range l.Follow(ctx, "shop", since) {
					if err != nil {
						break
					}
					for _, e := range events {
						followed <- e.ID
					}
				}
			}
		})
	}
	js, err := jetstream.New(c.connect(1))
	if err != nil {
		t.Fatal(err)
	}
	l := rig.letters(writer, short)
	var wantEvents []string
	for i := 0; i < n; i += 3 {
		put(t, l, someLetters("one", i, 3)...)
		if i%10 == 0 {
			e := clientEvents(1)
			appendAll(t, writer, e...)
			wantEvents = append(wantEvents, e[0].ID)
		}
		switch i {
		case 150:
			stepDown(t, js, "playhead_%webhooks")
		case 300:
			stepDownConsumer(t, js, "playhead_%webhooks")
		case 450:
			stepDown(t, js, "playhead_shop")
			stepDownConsumer(t, js, "playhead_shop")
		}
	}
	var first []string
	times := map[string]int{}
	by := map[given]bool{}
	for len(times) < n {
		select {
		case g := <-seen:
			if by[g] {
				t.Errorf("letter %s given out again to taker %s", g.id, g.taker)
			}
			by[g] = true
			if times[g.id]++; times[g.id] == 1 {
				first = append(first, g.id)
			}
		case <-ctx.Done():
			t.Fatalf("%d of %d letters", len(times), n)
		}
	}
	if diff := cmp.Diff(ids(someLetters("one", 0, n)), first); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
	got := map[string]bool{}
	var order []string
	for len(got) < len(wantEvents) {
		select {
		case id := <-followed:
			if !got[id] {
				order = append(order, id)
			}
			got[id] = true
		case <-ctx.Done():
			t.Fatalf("%d of %d client events", len(got), len(wantEvents))
		}
	}
	if diff := cmp.Diff(wantEvents, order); diff != "" {
		t.Errorf("client events (-want +got):\n%s", diff)
	}
	eventually(t, "the queue is empty", func() bool {
		backlog, err := l.Backlog(soon(t))
		return err == nil && len(backlog) == 0
	})
	cancel()
	running.Wait()
	again := 0
	for _, k := range times {
		again += k - 1
	}
	t.Logf("takers replaced: %v, letters given out again: %d", ended, again)
}

// stepDownConsumer makes the leaders of a stream's consumers give up.
func stepDownConsumer(t *testing.T, js jetstream.JetStream, stream string) {
	t.Helper()
	handle, err := js.Stream(soon(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	for name := range handle.ConsumerNames(soon(t)).Name() {
		_, err := js.Conn().Request("$JS.API.CONSUMER.LEADER.STEPDOWN."+stream+"."+name, nil, 2*time.Second)
		if err != nil && !errors.Is(err, nats.ErrTimeout) {
			t.Error(err)
		}
	}
}
