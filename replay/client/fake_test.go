package client

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// fake is a server in memory that does as a test says, so that minutes pass in no time.
type fake struct {
	serve   func(c *fakeConn) // has one connection, and returns when it is through with it
	history roundTrip         // answers other requests; nil where none is expected

	mu    sync.Mutex
	came  []time.Time // guarded by mu; when each connection was made
	asked []string    // guarded by mu; the subscribes that welcome has heard
	wait  sync.WaitGroup
}

// fakeConn is the server's end of a connection.
type fakeConn struct {
	fake   *fake
	ws     *websocket.Conn
	number int // from 0
}

// RoundTrip implements [http.RoundTripper].
func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/apps/") {
		return f.history(r)
	}
	near, far := net.Pipe()
	w := &hijacked{ResponseRecorder: httptest.NewRecorder(), far: far, done: make(chan struct{})}
	f.mu.Lock()
	number := len(f.came)
	f.came = append(f.came, time.Now())
	f.mu.Unlock()
	f.wait.Go(func() {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		f.serve(&fakeConn{fake: f, ws: ws, number: number})
	})
	<-w.done
	res := w.Result()
	res.Body = near
	return res, nil
}

// hijacked is a ResponseWriter whose connection is a pipe.
type hijacked struct {
	*httptest.ResponseRecorder
	far  net.Conn
	done chan struct{} // closed when the connection was taken
}

func (w *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	defer close(w.done)
	return w.far, bufio.NewReadWriter(bufio.NewReader(w.far), bufio.NewWriter(w.far)), nil
}

// say sends frames; when the client has gone there is nobody to be told.
func (c *fakeConn) say(frames ...string) {
	for _, f := range frames {
		_ = c.ws.Write(context.Background(), websocket.MessageText, []byte(f))
	}
}

// hear returns the name and data of the client's next frame, "" when it is gone.
func (c *fakeConn) hear() (event, data string) {
	_, message, err := c.ws.Read(context.Background())
	if err != nil {
		return "", ""
	}
	var f struct {
		Event string
		Data  json.RawMessage
	}
	if json.Unmarshal(message, &f) != nil {
		return "not JSON", string(message)
	}
	return f.Event, string(f.Data)
}

// welcome establishes the connection and answers one subscribe of the channel a.
func (c *fakeConn) welcome(answer string) {
	c.say(`{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":30}"}`)
	_, subscribe := c.hear()
	c.fake.mu.Lock()
	c.fake.asked = append(c.fake.asked, subscribe)
	c.fake.mu.Unlock()
	c.say(answer)
}

const (
	succeeded = `{"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}","position":"P"}`
	recovered = `{"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}","position":"P","resume":{"recovered":true,"count":0}}`
	plain     = `{"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}"}`
)

func (f *fake) client(t *testing.T) *Client {
	t.Helper()
	c, err := New(Config{AppID: "1", Key: "key", Secret: "secret", RetryFor: -1, HTTPClient: &http.Client{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
