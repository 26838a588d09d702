package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/prometheus/client_golang/prometheus"
)

var credential = broker.Credential{Key: "key-1", Secret: "secret-1"}

// fixed is a set of apps that tests change.
type fixed struct {
	mu   sync.Mutex
	apps []*broker.App
}

func (f *fixed) All() []*broker.App {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.apps
}

func (f *fixed) set(endpoints ...broker.Endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apps = []*broker.App{{
		ID:           "shop",
		ClientEvents: true,
		Credentials:  []broker.Credential{credential, {Key: "key-2", Secret: "secret-2"}},
		Webhooks:     endpoints,
	}}
}

// post is one request that came to a receiver.
type post struct {
	at     time.Duration // since the harness began
	url    string
	header http.Header
	body   string
}

// events returns the body's events, each as "name channel user".
func (p post) events(t testing.TB) []string {
	t.Helper()
	var body struct {
		TimeMS int64 `json:"time_ms"`
		Events []struct {
			Name    string `json:"name"`
			Channel string `json:"channel"`
			UserID  string `json:"user_id"`
			Event   string `json:"event"`
		} `json:"events"`
	}
	if err := json.Unmarshal([]byte(p.body), &body); err != nil {
		t.Fatalf("body %s: %v", p.body, err)
	}
	var all []string
	for _, e := range body.Events {
		all = append(all, strings.TrimSpace(e.Name+" "+e.Channel+" "+e.UserID+e.Event))
	}
	return all
}

// receiver answers requests in place of the network.
type receiver struct {
	began time.Time

	mu     sync.Mutex
	posts  []post
	answer func(p post) int // the status; 0 hangs, -1 refuses the connection
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	p := post{at: time.Since(r.began), url: req.URL.String(), header: req.Header, body: string(body)}
	r.mu.Lock()
	r.posts = append(r.posts, p)
	answer := r.answer
	r.mu.Unlock()
	status := http.StatusOK
	if answer != nil {
		status = answer(p)
	}
	switch status {
	case 0:
		<-req.Context().Done()
		return nil, req.Context().Err()
	case -1:
		return nil, fmt.Errorf("connection refused")
	}
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Location": {"https://elsewhere.example/"}},
		Body:   io.NopCloser(bytes.NewReader(nil)), Request: req,
	}, nil
}

func (r *receiver) answers(f func(p post) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *receiver) all() []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]post(nil), r.posts...)
}

// harness is webhooks over a queue in memory, in a bubble of synctest.
type harness struct {
	t        *testing.T
	queue    *memory
	apps     *fixed
	receiver *receiver
	registry *prometheus.Registry
	logs     *bytes.Buffer
	w        *Webhooks
	stop     func() // ends Run and waits for it
}

var hook = broker.Endpoint{Name: "one", URL: "https://one.example/hook"}

func newHarness(t *testing.T, endpoints ...broker.Endpoint) *harness {
	h := &harness{t: t, queue: &memory{}, apps: &fixed{}, receiver: &receiver{began: time.Now()}, logs: &bytes.Buffer{}}
	h.apps.set(endpoints...)
	return h
}

// start runs webhooks over the harness's queue; what ran before must have been stopped.
func (h *harness) start(change ...func(*Config)) {
	h.t.Helper()
	h.registry = prometheus.NewRegistry()
	cfg := Config{
		Apps: h.apps, Queue: h.queue, Archive: h.queue, Source: h.queue,
		Transport: h.receiver, Registerer: h.registry,
		Logger: slog.New(slog.NewTextHandler(&locked{b: h.logs}, nil)),
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if h.w, err = New(cfg); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := h.w.Run(ctx); err != nil {
			h.t.Errorf("run: %v", err)
		}
	}()
	h.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	h.t.Cleanup(h.stop)
}

type locked struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (h *harness) notify(kind broker.NoticeKind, ch broker.Channel, user string) {
	h.w.Notify(&broker.Notice{
		App: "shop", Channel: ch, Kind: kind, Time: time.Now(),
		Member: broker.Member{UserID: user, Info: json.RawMessage(`{"secret":true}`)},
	})
}

// after lets time pass and everything that follows from it happen.
func (h *harness) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// told returns all events that came, in the order they did, over all requests.
func (h *harness) told() []string {
	h.t.Helper()
	all := []string{}
	for _, p := range h.receiver.all() {
		all = append(all, p.events(h.t)...)
	}
	return all
}

// left returns how many letters are in the queue.
func (h *harness) left() int {
	h.queue.mu.Lock()
	defer h.queue.mu.Unlock()
	n := 0
	for _, l := range h.queue.letters {
		n += len(l)
	}
	return n
}

func (h *harness) dead() []*broker.DeadLetter {
	h.queue.mu.Lock()
	defer h.queue.mu.Unlock()
	return append([]*broker.DeadLetter(nil), h.queue.dead...)
}

// metric returns the sum of a metric's values whose labels contain all of those given, as "name=value".
func (h *harness) metric(name string, labels ...string) float64 {
	h.t.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	next:
		for _, m := range f.GetMetric() {
			have := map[string]bool{}
			for _, l := range m.GetLabel() {
				have[l.GetName()+"="+l.GetValue()] = true
			}
			for _, l := range labels {
				if !have[l] {
					continue next
				}
			}
			found = true
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	if !found {
		return 0
	}
	return sum
}

// verify makes sure that a request is as the protocol wants it.
func verify(t testing.TB, p post) {
	t.Helper()
	if got := p.header["Content-Type"]; len(got) != 1 || got[0] != "application/json" {
		t.Errorf("content type %q", got)
	}
	if got := p.header.Get("X-Pusher-Key"); got != credential.Key {
		t.Errorf("key %q", got)
	}
	if got, want := p.header.Get("X-Pusher-Signature"), pusher.SignWebhook(credential, []byte(p.body)); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}
