package streams_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/broker/webhook"
	"github.com/playhead/playhead/streams"
)

var (
	_ webhook.Queue   = (*streams.Letters)(nil)
	_ webhook.Archive = (*streams.Letters)(nil)
	_ webhook.Source  = (*streams.Letters)(nil)
)

// backend is an app's backend: it checks signatures and notes what it is told.
type backend struct {
	*httptest.Server
	mu     sync.Mutex
	told   []string
	status int // what it answers; 0 hangs
}

func newBackend(t *testing.T) *backend {
	b := &backend{status: http.StatusOK}
	ended := make(chan struct{})
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		if want := pusher.SignWebhook(hookApp("").Credentials[0], body); req.Header.Get(pusher.HeaderSignature) != want {
			t.Errorf("signature %s, want %s", req.Header.Get(pusher.HeaderSignature), want)
		}
		var hook struct {
			Events []struct{ Name, Channel, Event string }
		}
		if err := json.Unmarshal(body, &hook); err != nil {
			t.Errorf("body %s: %v", body, err)
		}
		b.mu.Lock()
		status := b.status
		for _, e := range hook.Events {
			b.told = append(b.told, strings.TrimSpace(e.Name+" "+e.Channel+" "+e.Event))
		}
		b.mu.Unlock()
		if status == 0 {
			select {
			case <-req.Context().Done():
			case <-ended:
			}
			return
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(func() {
		close(ended)
		b.Close()
	})
	return b
}

func (b *backend) answers(status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status, b.told = status, nil
}

func (b *backend) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.told)
}

func hookApp(url string) *broker.App {
	return &broker.App{
		ID: "shop", ClientEvents: true, Credentials: []broker.Credential{{Key: "k", Secret: "s"}},
		Webhooks: []broker.Endpoint{{URL: url, Batch: true}},
	}
}

type hookApps []*broker.App

func (a hookApps) All() []*broker.App { return a }

// tell runs webhooks over letters.
func tell(t *testing.T, l *streams.Letters, url string) (w *webhook.Webhooks, stop func()) {
	t.Helper()
	w, err := webhook.New(webhook.Config{
		Apps: hookApps{hookApp(url)}, Queue: l, Archive: l, Source: l,
		BatchInterval: 10 * time.Millisecond, Delay: 100 * time.Millisecond,
		RetryMin: 10 * time.Millisecond, RetryMax: 100 * time.Millisecond,
		Timeout: time.Second, Sweep: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return w, stop
}

// Everything that was told or stored arrives, over a restart of the webhooks and one of the server.
func TestWebhooksOverRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	b := newBackend(t)
	b.answers(http.StatusInternalServerError)
	s := r.streams()
	w, stop := tell(t, r.letters(s), b.URL)
	var want []string
	for i := range 20 {
		w.Notify(&broker.Notice{App: "shop", Channel: broker.Channel(fmt.Sprintf("c%d", i)), Kind: broker.ChannelOccupied})
		want = append(want, fmt.Sprintf("channel_occupied c%d", i))
		e := event("shop", "private-a")
		e.Client, e.Name = true, fmt.Sprintf("client-%d", i)
		appendAll(t, s, e)
		want = append(want, "client_event private-a client-"+fmt.Sprint(i))
	}
	eventually(t, "the backend refuses", func() bool { return len(b.all()) > 0 })
	stop()
	e := event("shop", "private-a")
	e.Client, e.Name = true, "client-20"
	appendAll(t, s, e)
	want = append(want, "client_event private-a client-20")
	r.stop()
	r.start()
	b.answers(http.StatusOK)
	l := r.letters(r.streams())
	tell(t, l, b.URL)
	eventually(t, "everything arrives", func() bool { return len(b.all()) >= len(want) })
	got := b.all()
	var clients []string
	for _, e := range got {
		if strings.HasPrefix(e, "client_event") {
			clients = append(clients, e)
		}
	}
	if !slices.IsSortedFunc(clients, func(a, b string) int { return len(a) - len(b) }) {
		t.Errorf("order of the channel: %v", clients)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	eventually(t, "the queue is empty", func() bool {
		backlog, err := l.Backlog(soon(t))
		return err == nil && len(backlog) == 0
	})
}

// A node that vanishes with a request under way, and letters taken, loses none: another one sends them.
func TestWebhooksOfKilledNode(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	b := newBackend(t)
	b.answers(0)
	var conns []*nats.Conn
	one := open(t, func() *nats.Conn {
		nc := r.connect()
		conns = append(conns, nc)
		return nc
	}, interval)
	short := func(c *streams.LettersConfig) { c.Takeover = 6 * time.Second }
	w, _ := tell(t, r.letters(one, short), b.URL)
	for i := range 30 {
		w.Notify(&broker.Notice{App: "shop", Channel: "presence-a", Kind: broker.MemberAdded, Member: broker.Member{UserID: fmt.Sprint(i)}})
	}
	eventually(t, "a request is under way", func() bool { return len(b.all()) > 0 })
	for _, nc := range conns {
		r.line(nc).cut(true)
	}
	b.answers(http.StatusOK)
	s := r.streams(interval)
	other := r.letters(s, short)
	tell(t, other, b.URL)
	eventually(t, "the other node delivers", func() bool {
		backlog, err := other.Backlog(soon(t))
		return err == nil && len(backlog) == 0
	})
	if n := len(b.all()); n < 30 {
		t.Errorf("%d events of 30", n)
	}
}

// A storm that all go and come back in says nothing, and a big one arrives whole.
func TestWebhooksStorm(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	b := newBackend(t)
	l := r.letters(r.streams(interval))
	w, err := webhook.New(webhook.Config{Apps: hookApps{hookApp(b.URL)}, Queue: l, Archive: l, Delay: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	const n = 3000
	for _, kind := range []broker.NoticeKind{broker.ChannelVacated, broker.ChannelOccupied} {
		for i := range n {
			w.Notify(&broker.Notice{App: "shop", Channel: broker.Channel(fmt.Sprintf("c%d", i)), Kind: kind})
		}
	}
	for i := range n {
		w.Notify(&broker.Notice{App: "shop", Channel: broker.Channel(fmt.Sprintf("d%d", i)), Kind: broker.ChannelOccupied})
	}
	eventually(t, "all is told", func() bool { return len(b.all()) >= n })
	for _, e := range b.all() {
		if !strings.HasPrefix(e, "channel_occupied d") {
			t.Fatalf("told: %s", e)
		}
	}
	eventually(t, "the queue is empty", func() bool {
		backlog, err := l.Backlog(soon(t))
		return err == nil && len(backlog) == 0
	})
	if got := len(b.all()); got != n {
		t.Errorf("%d events, want %d", got, n)
	}
}
