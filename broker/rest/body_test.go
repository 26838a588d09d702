package rest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// The body's buffer is used again; an event must not change with it.
func TestEventsOutliveTheBody(t *testing.T) {
	t.Parallel()
	s := open(t)
	const rounds = 50
	for i := range rounds {
		letter := string(rune('a' + i%26))
		data := strings.Repeat(letter, 100)
		if i%2 == 0 {
			data = fmt.Sprintf(`[%q]`, data) // no string, but carried as one
		} else {
			data = fmt.Sprintf("%q", data)
		}
		body := fmt.Sprintf(`{"name":"%[1]s","channel":"%[1]s","data":%[2]s,"socket_id":"%[3]d.1"}`, letter, data, i)
		if status, answer := s.do(t, "POST", "/apps/3/events", "", body); status != 200 {
			t.Fatalf("%d %s", status, answer)
		}
	}
	for i, events := range s.node.calls {
		letter := string(rune('a' + i%26))
		data := strings.Repeat(letter, 100)
		if i%2 == 0 {
			data = fmt.Sprintf(`[%q]`, data)
		}
		want := []publish{{broker.Channel(letter), letter, data, broker.SocketID(fmt.Sprintf("%d.1", i))}}
		if diff := cmp.Diff(want, publishes(events)); diff != "" {
			t.Fatalf("event %d (-want +got):\n%s", i, diff)
		}
	}
}

// A body's size is bounded before it is read, and while, when its size isn't announced.
func TestBodySize(t *testing.T) {
	t.Parallel()
	const most = 20_000
	pad := func(size int) string {
		empty := `{"name":"n","channel":"c","data":"","pad":""}`
		return strings.Replace(empty, `"pad":"`, `"pad":"`+strings.Repeat("x", size-len(empty)), 1)
	}
	for name, v := range map[string]struct {
		size     int
		announce bool
		want     int
		read     int // at most
	}{
		"at the limit":              {most, true, 200, most},
		"at the limit, unannounced": {most, false, 200, most},
		"over it":                   {most + 1, true, 413, 0},
		"over it, unannounced":      {most + 1, false, 413, most + 1},
		"huge":                      {100 * most, true, 413, 0},
		"huge, unannounced":         {100 * most, false, 413, 3 * most},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, func(c *Config, _ *broker.App) { c.MaxBodyBytes = most })
			body := &counter{Reader: strings.NewReader(pad(v.size))}
			r := s.request(t, "POST", "/apps/3/events", "", pad(v.size))
			r.Body = http.MaxBytesReader(nil, body, 1<<30) // hides the reader's size
			if r.ContentLength = -1; v.announce {
				r.ContentLength = int64(v.size)
			}
			w := s.send(r)
			if w.Code != v.want {
				t.Errorf("%d %.200s, want %d", w.Code, w.Body, v.want)
			}
			if body.read > v.read {
				t.Errorf("%d bytes were read, want at most %d", body.read, v.read)
			}
			if v.want == 413 && w.Header().Get("Connection") != "close" {
				t.Error("the connection stays open for the rest of the body")
			}
		})
	}
}

// counter is a body that counts what is read of it.
type counter struct {
	*strings.Reader
	read int
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.read += n
	return n, err
}

func (c *counter) Close() error { return nil }

// Checklist 105 and 113, by way of net/http's server and client.
func TestOverARealConnection(t *testing.T) {
	t.Parallel()
	s := open(t)
	server := httptest.NewServer(s.api)
	defer server.Close()
	r := s.request(t, "POST", "/apps/3/events", "", `{"name":"n","channels":["presence-a","b"],"data":"d","info":"user_count,subscription_count"}`)
	for range 2 { // the second on the same connection
		body := strings.NewReader(`{"name":"n","channels":["presence-a","b"],"data":"d","info":"user_count,subscription_count"}`)
		answer, err := server.Client().Post(server.URL+r.URL.RequestURI(), "", body)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]map[string]map[string]int
		err = json.NewDecoder(answer.Body).Decode(&got)
		if err := answer.Body.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", answer.Status, err)
		}
		want := map[string]map[string]map[string]int{"channels": {
			"presence-a": {"user_count": 0, "subscription_count": 0},
			"b":          {"subscription_count": 0},
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answer (-want +got):\n%s", diff)
		}
	}
}

// raw sends bytes to a server and returns its answer to the end.
func raw(t *testing.T, server *httptest.Server, request string) string {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestTruncatedBodyIsNotPublished(t *testing.T) {
	t.Parallel()
	s := open(t)
	server := httptest.NewServer(s.api)
	defer server.Close()
	target := s.request(t, "POST", "/apps/3/events", "", plainBody).URL.RequestURI()
	head := "POST " + target + " HTTP/1.1\r\nHost: x\r\n"
	for name, rest := range map[string]string{
		"by length":                   fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(plainBody)+1, plainBody),
		"by chunks":                   fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(plainBody), plainBody),
		"in the middle of the object": fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(plainBody), plainBody[:20]),
	} {
		if answer := raw(t, server, head+rest); answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
			t.Errorf("%s: %q, want 400", name, answer)
		}
	}
	if got := s.node.published(t); got != nil {
		t.Errorf("published %+v", publishes(got))
	}
	// The same request, whole, is fine: it was the cut that was refused.
	whole := fmt.Sprintf("Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(plainBody), plainBody)
	if answer := raw(t, server, head+whole); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("whole: %q", answer)
	}
}

// A body that doesn't come by the server's read deadline is given up with 408.
func TestSlowBodyIs408(t *testing.T) {
	t.Parallel()
	s := open(t)
	server := httptest.NewUnstartedServer(s.api)
	server.Config.ReadTimeout = 50 * time.Millisecond
	server.Start()
	defer server.Close()
	target := s.request(t, "POST", "/apps/3/events", "", plainBody).URL.RequestURI()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", target, len(plainBody), plainBody[:20]); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
		t.Errorf("%q, want 408", answer)
	}
	if got := s.node.published(t); got != nil {
		t.Errorf("published %+v", publishes(got))
	}
}
