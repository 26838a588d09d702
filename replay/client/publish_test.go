package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// What is stored is told, per channel, and a key stores once.
func TestPublish(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	c := h.client(nil)
	p := Publication{Channels: []broker.Channel{"a", "private-b"}, Event: "e", Data: `{"n":"<ü>"}`, IdempotencyKey: "key-1"}
	first, err := c.Publish(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for i, ch := range p.Channels {
		page, err := c.History(t.Context(), ch, HistoryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) != 1 || page.Items[0].Data != p.Data || page.Items[0].Name != "e" {
			t.Fatalf("%s holds %+v", ch, page.Items)
		}
		want := Stored{Channel: ch, ID: page.Items[0].ID, Position: page.Items[0].Position}
		if diff := cmp.Diff(want, first[i]); diff != "" {
			t.Error(diff)
		}
	}
	again, err := c.Publish(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range first {
		first[i].Duplicate = true
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Error(diff)
	}
	// Without a key of the caller's each publish is its own.
	one := Publication{Channels: []broker.Channel{"c"}, Event: "e"}
	for range 2 {
		if s, err := c.Publish(t.Context(), one); err != nil || s[0].Duplicate {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

// A log that is away, in both ways, and lines that die cost time; the event is stored once.
func TestPublishTriesAgain(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(h *harness){
		"not stored":      func(h *harness) { h.log.FailAppends(3, brokertest.NotStored) },
		"stored, unknown": func(h *harness) { h.log.FailAppends(3, brokertest.StoredAnyway) },
		"answer lost": func(h *harness) {
			h.lines.frail.Store(100)
			time.AfterFunc(20*time.Millisecond, func() { h.lines.frail.Store(0) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, setup{})
			c := h.client(nil)
			trouble(h)
			stored, err := c.Publish(t.Context(), Publication{Channels: []broker.Channel{"a"}, Event: "e", Data: "d"})
			if err != nil {
				t.Fatal(err)
			}
			h.lines.frail.Store(0)
			page, err := c.History(t.Context(), "a", HistoryOptions{})
			if err != nil || len(page.Items) != 1 || page.Items[0].Position != stored[0].Position {
				t.Errorf("%+v, %+v, %v", stored, page.Items, err)
			}
		})
	}
}

// roundTrip is a server that is a function.
type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string, header ...string) *http.Response {
	w := httptest.NewRecorder()
	for i := 0; i+1 < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	return w.Result()
}

// What is tried again, how often and for how long; all with one key.
func TestPublishPauses(t *testing.T) {
	t.Parallel()
	refused := func(status int, header ...string) func(int) (*http.Response, error) {
		return func(int) (*http.Response, error) { return answer(status, "reason\n", header...), nil }
	}
	for name, tt := range map[string]struct {
		answer      func(n int) (*http.Response, error) // to the attempt n, from 0
		edit        func(*Config)
		deadline    time.Duration
		err         string
		tries       int           // 0: several
		least, most time.Duration // all in all
	}{
		"at once":       {answer: func(int) (*http.Response, error) { return answer(200, "{}"), nil }, tries: 1},
		"refused":       {answer: refused(400), err: "400 Bad Request: reason", tries: 1},
		"bad signature": {answer: refused(401), err: "401 Unauthorized", tries: 1},
		"for a minute":  {answer: refused(503), err: "503 Service Unavailable: reason", least: 30 * time.Second, most: time.Minute},
		"never again":   {answer: refused(503), edit: func(c *Config) { c.RetryFor = -1 }, err: "503", tries: 1},
		"until then":    {answer: refused(503), deadline: 5 * time.Second, err: "503", least: time.Second, most: 5 * time.Second},
		"as long as told": {answer: func(n int) (*http.Response, error) {
			if n == 0 {
				return answer(429, "slowly", "Retry-After", "7"), nil
			}
			return answer(200, "{}"), nil
		}, tries: 2, least: 7 * time.Second, most: 7 * time.Second},
		"longer than we may": {answer: refused(503, "Retry-After", "600"), err: "503", tries: 1},
		"no line": {answer: func(n int) (*http.Response, error) {
			if n < 3 {
				return nil, errors.New("connection refused")
			}
			return answer(200, "{}"), nil
		}, tries: 4, least: time.Second, most: 4 * time.Second},
		"never a line": {answer: func(int) (*http.Response, error) { return nil, errors.New("connection refused") },
			err: "publish to http://127.0.0.1:6001: connection refused", least: 30 * time.Second, most: time.Minute},
		"too much":  {answer: func(int) (*http.Response, error) { return answer(200, strings.Repeat("x", 100)), nil }, edit: func(c *Config) { c.MaxMessageBytes = 50 }, err: "more than 50 bytes", tries: 1},
		"not JSON":  {answer: func(int) (*http.Response, error) { return answer(200, "<html>"), nil }, err: "read the answer", tries: 1},
		"no secret": {edit: func(c *Config) { c.Secret = "" }, err: "secret: required"},
		"no app":    {edit: func(c *Config) { c.AppID = "" }, err: "app id: required"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var bodies []string
				cfg := Config{AppID: "1", Key: "k", Secret: "s", HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					body, err := io.ReadAll(r.Body)
					if err != nil {
						return nil, err
					}
					bodies = append(bodies, string(body))
					return tt.answer(len(bodies) - 1)
				})}}
				if tt.edit != nil {
					tt.edit(&cfg)
				}
				c, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel func()
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				began := time.Now()
				_, err = c.Publish(ctx, Publication{Channels: []broker.Channel{"a"}, Event: "e"})
				took := time.Since(began)
				if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if tt.tries > 0 && len(bodies) != tt.tries || tt.answer != nil && len(bodies) == 0 {
					t.Errorf("%d attempts", len(bodies))
				}
				if took < tt.least || took > tt.most {
					t.Errorf("took %v", took)
				}
				for _, b := range bodies {
					if b != bodies[0] || !strings.Contains(b, `"idempotency_key":"`) {
						t.Errorf("sent %s and %s", bodies[0], b)
					}
				}
			})
		})
	}
}

// A request for others to send is the one that Publish would send, but for what only a program needs.
func TestNewPublish(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	c := h.client(nil)
	req, err := c.NewPublish(t.Context(), Publication{Channels: []broker.Channel{"a"}, Event: "e", Data: "d"})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != "{}" {
		t.Errorf("%d %s %v", res.StatusCode, body, err)
	}
	for name, p := range map[string]Publication{
		"no channel": {Event: "e"},
		"not a text": {Channels: []broker.Channel{"a"}, Event: "e", Data: "\xff"},
		"not a name": {Channels: []broker.Channel{"a"}, Event: "\xff"},
	} {
		if _, err := c.NewPublish(t.Context(), p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The paths of apps, channels and prefixes that need escaping are signed as they are sent.
func TestRequestPaths(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		url     string
		app     broker.AppID
		channel broker.Channel
		want    string
	}{
		"plain":        {"http://h", "1", "a", "/apps/1/channels/a/history"},
		"with a slash": {"http://h/", "1", "a", "/apps/1/channels/a/history"},
		"prefix":       {"http://h/push%20er/", "1", "a", "/push%20er/apps/1/channels/a/history"},
		"odd":          {"http://h", "a/b", "a@b;c=d", "/apps/a%2Fb/channels/a@b;c=d/history"},
		"dots":         {"http://h", "1", "..", "/apps/1/channels/../history"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent *url.URL
			c, err := New(Config{URL: tt.url, AppID: tt.app, Key: "k", Secret: "s", HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				sent = r.URL
				return answer(200, "{}"), nil
			})}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.History(t.Context(), tt.channel, HistoryOptions{}); err != nil {
				t.Fatal(err)
			}
			got, err := url.PathUnescape(sent.EscapedPath())
			want, _ := url.PathUnescape(tt.want)
			if err != nil || got != want {
				t.Errorf("sent to %s, want %s", sent.EscapedPath(), tt.want)
			}
		})
	}
}

// Requests with odd names reach a real server, which checks their signatures.
func TestOddNames(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	c := h.client(nil)
	for _, ch := range []broker.Channel{"a@b;c=d,e", "private-A_1.2-=", "..."} {
		if _, err := c.History(t.Context(), ch, HistoryOptions{}); err != nil {
			t.Errorf("%s: %v", ch, err)
		}
	}
}
