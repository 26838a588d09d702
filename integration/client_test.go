package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// frame is a server's frame, with the members of plain and of opted-in connections.
type frame struct {
	Event    string          `json:"event"`
	Channel  string          `json:"channel"`
	Data     json.RawMessage `json:"data"`
	ID       string          `json:"id"`
	Position string          `json:"position"`
	UserID   string          `json:"user_id"`
	Resume   *struct {
		Recovered bool   `json:"recovered"`
		Count     int    `json:"count"`
		Reason    string `json:"reason"`
	} `json:"resume"`
}

// text returns the frame's data, which is a string in all frames but pusher:error.
func (f frame) text() string {
	var s string
	if err := json.Unmarshal(f.Data, &s); err != nil {
		return string(f.Data)
	}
	return s
}

// client is a raw connection to a node: it shows every frame, which real clients hide.
type client struct {
	conn   *websocket.Conn
	socket string
	hello  frame
}

// resume asks for what was missed, as replay-protocol.md §3 writes it.
type resume struct {
	Position string `json:"position"`
	SocketID string `json:"socket_id,omitempty"`
}

// dial connects to a node; opted in, when positions are wanted.
func dial(ctx context.Context, n *node, optedIn bool) (*client, error) {
	return dialBy(ctx, n, optedIn, nil)
}

// dialApp connects to an app of a node by its key.
func dialApp(ctx context.Context, n *node, key string) (*client, error) {
	return dialURL(ctx, "ws://"+n.addr()+"/app/"+key+"?protocol=7&client=test&version=1.0.0", nil)
}

// dialBy is dial over the connections of a transport; nil is Go's own.
func dialBy(ctx context.Context, n *node, optedIn bool, transport *http.Transport) (*client, error) {
	url := "ws://" + n.addr() + "/app/" + appKey + "?protocol=7&client=test&version=1.0.0"
	if optedIn {
		url += "&replay=1"
	}
	return dialURL(ctx, url, transport)
}

func dialURL(ctx context.Context, url string, transport *http.Transport) (*client, error) {
	var options websocket.DialOptions
	if transport != nil {
		options.HTTPClient = &http.Client{Transport: transport}
	}
	conn, _, err := websocket.Dial(ctx, url, &options)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(16 << 20)
	c := &client{conn: conn}
	c.hello, err = c.read(ctx)
	if err == nil && c.hello.Event != "pusher:connection_established" {
		err = fmt.Errorf("first frame is %s %s", c.hello.Event, c.hello.Data)
	}
	if err != nil {
		conn.CloseNow()
		return nil, fmt.Errorf("connect: %w", err)
	}
	var data struct {
		SocketID string `json:"socket_id"`
	}
	if err := json.Unmarshal([]byte(c.hello.text()), &data); err != nil {
		conn.CloseNow()
		return nil, fmt.Errorf("connect: %w", err)
	}
	c.socket = data.SocketID
	return c, nil
}

// read returns the next frame.
func (c *client) read(ctx context.Context) (frame, error) {
	kind, raw, err := c.conn.Read(ctx)
	if err != nil {
		return frame{}, err
	}
	if kind != websocket.MessageText {
		return frame{}, errors.New("binary message from the node")
	}
	var f frame
	if err := json.Unmarshal(raw, &f); err != nil {
		return frame{}, fmt.Errorf("frame %q: %w", raw, err)
	}
	return f, nil
}

// send sends a frame as it stands.
func (c *client) send(ctx context.Context, text string) error {
	return c.conn.Write(ctx, websocket.MessageText, []byte(text))
}

// subscribe sends the subscription of a channel, signed where the channel wants it.
func (c *client) subscribe(ctx context.Context, channel string, from *resume) error {
	data := map[string]any{"channel": channel}
	if strings.HasPrefix(channel, "private-") {
		data["auth"] = appKey + ":" + signature(appSecret, c.socket+":"+channel)
	}
	if from != nil {
		data["resume"] = from
	}
	raw, err := json.Marshal(map[string]any{"event": "pusher:subscribe", "data": data})
	if err != nil {
		return err
	}
	return c.send(ctx, string(raw))
}

// The methods below fail the test instead of returning an error, for tests in which no cut is
// expected.

// mustDial connects and hangs up when the test ends.
func mustDial(tb testing.TB, n *node, optedIn bool) *client {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := dial(ctx, n, optedIn)
	if err != nil {
		tb.Fatalf("dial: %v", err)
	}
	tb.Cleanup(func() { c.conn.CloseNow() })
	return c
}

func (c *client) mustSend(tb testing.TB, text string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.send(ctx, text); err != nil {
		tb.Fatalf("send %.60s: %v", text, err)
	}
}

// mustAsk sends an event with data.
func (c *client) mustAsk(tb testing.TB, event string, data any) {
	tb.Helper()
	raw, err := json.Marshal(map[string]any{"event": event, "data": data})
	if err != nil {
		tb.Fatal(err)
	}
	c.mustSend(tb, string(raw))
}

// mustRead returns the next frame.
func (c *client) mustRead(tb testing.TB) frame {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f, err := c.read(ctx)
	if err != nil {
		tb.Fatalf("read: %v", err)
	}
	return f
}

// mustSubscribe subscribes and returns the answer, which must be the next frame.
func (c *client) mustSubscribe(tb testing.TB, channel string, from *resume) frame {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.subscribe(ctx, channel, from); err != nil {
		tb.Fatalf("subscribe to %s: %v", channel, err)
	}
	f := c.mustRead(tb)
	if f.Event != "pusher_internal:subscription_succeeded" || f.Channel != channel {
		tb.Fatalf("subscribe to %s: answered %s %s", channel, f.Event, f.Data)
	}
	return f
}

// closed reads on until the node hangs up and returns the code of its close frame, −1 when the
// connection was cut without one.
func (c *client) closed(tb testing.TB) websocket.StatusCode {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if _, err := c.read(ctx); err != nil {
			if ctx.Err() != nil {
				tb.Fatalf("the node did not hang up: %v", err)
			}
			return websocket.CloseStatus(err)
		}
	}
}

// alive proves that the connection is served: a ping is answered. Frames before the answer are
// returned.
func (c *client) alive(tb testing.TB) []frame {
	tb.Helper()
	c.mustSend(tb, `{"event":"pusher:ping","data":{}}`)
	var before []frame
	for {
		f := c.mustRead(tb)
		if f.Event == "pusher:pong" {
			return before
		}
		before = append(before, f)
	}
}
