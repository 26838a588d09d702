package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	library "github.com/pusher/pusher-http-go/v5"
)

// receiver is an application's backend that webhooks are posted to. It outlives the nodes that post.
type receiver struct {
	url string

	library *library.Client // verifies
	gone    <-chan struct{} // closed when the test ends: nobody is kept waiting then

	mu     sync.Mutex
	posts  []post             // guarded by mu; as they came
	answer func(post int) int // guarded by mu; the status that the nth post is answered with, from 0
	events []told             // guarded by mu; those of the posts that were answered 200
	faults []error            // guarded by mu; what is wrong with posts
}

// post is one request.
type post struct {
	header http.Header
	body   string
}

// told is one event of a webhook. All its members are strings, as the official libraries read them.
type told struct {
	Name     string `json:"name"`
	Channel  string `json:"channel"`
	Event    string `json:"event"`
	Data     string `json:"data"`
	SocketID string `json:"socket_id"`
	UserID   string `json:"user_id"`
}

// hang is no status: such a post isn't answered.
const hang = 0

// receive starts a receiver whose answers are 200 unless answer says otherwise.
func receive(tb testing.TB, answer func(post int) int) *receiver {
	tb.Helper()
	ending := make(chan struct{})
	r := &receiver{
		answer: answer, gone: ending,
		library: &library.Client{AppID: appID, Key: appKey, Secret: appSecret},
	}
	server := httptest.NewServer(r)
	r.url = server.URL
	tb.Cleanup(func() {
		close(ending)
		server.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, err := range r.faults {
			tb.Error(err)
		}
	})
	return r
}

// ServeHTTP implements [http.Handler].
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the node was killed amid its request
	}
	status := r.take(req.Header, body)
	if status == hang {
		select {
		case <-r.gone:
		case <-req.Context().Done():
		}
		return
	}
	w.WriteHeader(status)
}

// take keeps a post and returns the status of its answer.
func (r *receiver) take(header http.Header, body []byte) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	fault := func(format string, args ...any) { r.faults = append(r.faults, fmt.Errorf(format, args...)) }
	if _, err := r.library.Webhook(header, body); err != nil {
		fault("the official library says of %s %v: %w", body, header, err)
	}
	if got := header.Get("Content-Type"); got != "application/json" {
		fault("Content-Type is %q", got)
	}
	var content struct {
		TimeMS int64             `json:"time_ms"`
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(body, &content); err != nil || content.TimeMS == 0 || len(content.Events) == 0 {
		fault("body %s: %v", body, err)
	}
	r.posts = append(r.posts, post{header, string(body)})
	status := http.StatusOK
	if r.answer != nil {
		status = r.answer(len(r.posts) - 1)
	}
	if status != http.StatusOK {
		return status
	}
	for _, raw := range content.Events {
		var e told
		if err := json.Unmarshal(raw, &e); err != nil {
			fault("event %s: %w", raw, err)
		}
		r.events = append(r.events, e)
	}
	return status
}

// become changes the answers.
func (r *receiver) become(answer func(post int) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// accepted returns what was told and answered 200, in order.
func (r *receiver) accepted() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]told(nil), r.events...)
}

// all returns all posts, in order.
func (r *receiver) all() []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]post(nil), r.posts...)
}

// TestWebhooksOverKill: a client event that is stored is told, whenever the node is killed. What a
// subscriber has heard is stored; webhooks for it may not even be in the queue when the kill comes.
func TestWebhooksOverKill(t *testing.T) {
	t.Parallel()
	r := receive(t, nil)
	n := startNode(t, nodeConfig{
		Config: fmt.Sprintf(`
default_app:
  limits: {client_events_per_second: 1000000}
  webhooks:
    - {url: "%s", events: [client_events], batch: true}
`, r.url),
		Env: []string{"SHUTDOWN_DRAIN=none"},
	})
	const channel = "private-chat"
	heard := map[string]bool{}
	untold := 0
	next := 0
	for round := range 6 {
		began := next
		if refusing := round%2 == 1; refusing {
			// Nothing of this round is told before the kill, for sure.
			r.become(func(int) int { return http.StatusServiceUnavailable })
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		sender, listener := mustDial(t, n, false), mustDial(t, n, false)
		sender.mustSubscribe(t, channel, nil)
		listener.mustSubscribe(t, channel, nil)
		var sending sync.WaitGroup
		sending.Go(func() {
			for ; ; next++ {
				text := fmt.Sprintf(`{"event":"client-n","channel":%q,"data":"%d"}`, channel, next)
				if sender.send(ctx, text) != nil {
					return // killed
				}
			}
		})
		last := 20 + rand.IntN(300)
		for i := 0; ; i++ {
			if i == last {
				n.kill()
			}
			f, err := listener.read(ctx)
			if err != nil && i < last {
				t.Errorf("round %d: after %d events: %v", round, i, err)
			}
			if err != nil {
				break
			}
			heard[f.text()] = true
		}
		if n.running() {
			n.kill()
		}
		sending.Wait()
		cancel()
		next++ // the last may have been stored
		told := map[string]bool{}
		for _, e := range r.accepted() {
			told[e.Data] = true
		}
		for i := began; i < next; i++ {
			if data := strconv.Itoa(i); heard[data] && !told[data] {
				untold++
			}
		}
		r.become(nil)
		n.start()
	}
	if untold == 0 {
		t.Error("no kill came between an event and its webhook")
	}
	t.Logf("%d events heard, of which %d were not told when a kill came", len(heard), untold)
	await(t, "all is told", func() bool {
		told := map[string]bool{}
		for _, e := range r.accepted() {
			told[e.Data] = true
		}
		for data := range heard {
			if !told[data] {
				return false
			}
		}
		return true
	})
	// Told in the order in which it happened, each for the first time.
	before, first := -1, map[int]bool{}
	for _, e := range r.accepted() {
		i, err := strconv.Atoi(e.Data)
		if err != nil || e.Name != "client_event" || e.Channel != channel || e.Event != "client-n" || e.SocketID == "" || e.UserID != "" {
			t.Fatalf("told %+v", e)
		}
		if first[i] {
			continue
		}
		first[i] = true
		if i < before {
			t.Errorf("%d is told after %d", i, before)
		}
		before = i
	}
}

// TestWebhooksRetry: what isn't accepted comes again, byte for byte, and not once more after that.
func TestWebhooksRetry(t *testing.T) {
	t.Parallel()
	r := receive(t, func(post int) int { return []int{500, 302, 200, 200, 200}[min(post, 4)] })
	n := startNode(t, nodeConfig{
		Config: fmt.Sprintf(`{default_app: {webhooks: [{url: "%s", events: [channel_occupied]}]}}`, r.url),
		Env:    []string{"SHUTDOWN_DRAIN=none"},
	})
	c := mustDial(t, n, false)
	c.mustSubscribe(t, "news", nil)
	await(t, "the event is told", func() bool { return len(r.accepted()) == 1 })
	c.mustSubscribe(t, "other", nil)
	await(t, "a later event is told", func() bool { return len(r.accepted()) == 2 })
	posts := r.all()
	if len(posts) != 4 {
		t.Fatalf("%d posts: %+v", len(posts), posts)
	}
	for _, again := range posts[1:3] {
		if again.body != posts[0].body || again.header.Get("X-Pusher-Signature") != posts[0].header.Get("X-Pusher-Signature") {
			t.Errorf("first %+v, then %+v", posts[0], again)
		}
	}
	if !strings.Contains(posts[0].body, `"events":[{"name":"channel_occupied","channel":"news"}]`) {
		t.Errorf("body %s", posts[0].body)
	}
}

// TestWebhooksHang: an endpoint that never answers delays neither another endpoint nor an event nor
// the node's end.
func TestWebhooksHang(t *testing.T) {
	t.Parallel()
	hanging, healthy := receive(t, func(int) int { return hang }), receive(t, nil)
	n := startNode(t, nodeConfig{
		Config: fmt.Sprintf(`
default_app:
  limits: {client_events_per_second: 1000000}
  webhooks:
    - {url: "%s/hanging"}
    - {url: "%s/healthy"}
`, hanging.url, healthy.url),
		Env: []string{"SHUTDOWN_DRAIN=none"},
	})
	c, sender := mustDial(t, n, false), mustDial(t, n, false)
	c.mustSubscribe(t, "private-chat", nil)
	sender.mustSubscribe(t, "private-chat", nil)
	await(t, "a request hangs", func() bool { return len(hanging.all()) > 0 })
	const events = 200
	for i := range events {
		sender.mustSend(t, fmt.Sprintf(`{"event":"client-n","channel":"private-chat","data":"%d"}`, i))
	}
	for i := range events {
		if f := c.mustRead(t); f.text() != strconv.Itoa(i) {
			t.Fatalf("event %d is %+v", i, f)
		}
	}
	for i := range 50 {
		c.mustSubscribe(t, fmt.Sprint("news-", i), nil)
	}
	await(t, "the healthy endpoint is told everything", func() bool {
		return len(healthy.accepted()) == 1+events+50
	})
	if got := len(hanging.accepted()); got != 0 {
		t.Fatalf("the hanging endpoint has answered %d times", got)
	}
	c.conn.CloseNow()
	sender.conn.CloseNow()
	began := time.Now()
	n.stop()
	t.Logf("stopped after %v", time.Since(began))
}
