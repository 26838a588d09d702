package webhook

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
)

// Over real HTTP: what arrives carries a signature over exactly its bytes, retries are identical,
// redirects aren't followed.
func TestRealReceiver(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var posts []post
	requests := 0
	arrived := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil || req.Method != http.MethodPost || req.ContentLength != int64(len(body)) {
			t.Errorf("%s of %d bytes: %v", req.Method, req.ContentLength, err)
		}
		mu.Lock()
		posts = append(posts, post{url: req.URL.Path, header: req.Header, body: string(body)})
		requests++
		n := requests
		mu.Unlock()
		switch {
		case req.URL.Path == "/elsewhere":
			t.Error("a redirect was followed")
		case n == 1:
			http.Redirect(rw, req, "/elsewhere", http.StatusTemporaryRedirect)
		case n == 2:
			rw.WriteHeader(http.StatusInternalServerError)
		default:
			rw.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(rw, "thank you")
			arrived <- struct{}{}
		}
	}))
	t.Cleanup(server.Close)
	h := newHarness(t, broker.Endpoint{URL: server.URL + "/hook", Batch: true})
	h.start(func(c *Config) {
		c.Transport = nil
		c.RetryMin, c.RetryMax = time.Millisecond, 10*time.Millisecond
		c.BatchInterval = 50 * time.Millisecond
		c.Delay = 10 * time.Millisecond
	})
	kinds := []broker.NoticeKind{
		broker.ChannelOccupied, broker.ChannelVacated, broker.MemberAdded,
		broker.MemberRemoved, broker.CacheMiss, broker.SubscriptionCount,
	}
	for i, kind := range kinds {
		h.notify(kind, "presence-ünï", string(rune('a'+i)))
	}
	h.clientEvent("presence-x", "7", 1)
	told := map[string]bool{}
	timeout := time.After(20 * time.Second)
	for len(told) < len(kinds)+1 {
		select {
		case <-arrived:
		case <-timeout:
			t.Fatalf("told: %v", told)
		}
		mu.Lock()
		for _, p := range posts {
			for _, e := range p.events(t) {
				told[e] = true
			}
		}
		mu.Unlock()
	}
	h.stop()
	mu.Lock()
	defer mu.Unlock()
	for _, p := range posts {
		verify(t, p)
	}
	bodies := map[string]int{}
	for _, p := range posts {
		bodies[p.body]++
	}
	retried := 0
	for _, n := range bodies {
		retried += n - 1
	}
	if retried != 2 {
		t.Errorf("%d identical retries, want 2", retried)
	}
	if n := h.left(); n != 0 {
		t.Errorf("%d letters left", n)
	}
}
