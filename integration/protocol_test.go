package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// What the protocol's checklist says and only whole nodes can show; broker/pusher/CONFORMANCE.md says
// which test shows what.

// signed returns the data of a subscription, signed over channelData when that isn't empty.
func (c *client) signed(channel, channelData string) map[string]any {
	data, text := map[string]any{"channel": channel}, c.socket+":"+channel
	if channelData != "" {
		data["channel_data"] = channelData
		text += ":" + channelData
	}
	data["auth"] = appKey + ":" + signature(appSecret, text)
	return data
}

// TestConnections: a thousand connections at once have a thousand socket ids, and one that comes back
// has another.
func TestConnections(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=none"}})
	seen := map[string]bool{}
	var all []*client
	for range 1000 {
		c := mustDial(t, n, false)
		all = append(all, c)
		seen[c.socket] = true
	}
	for _, c := range all[:10] {
		c.conn.CloseNow()
		seen[mustDial(t, n, false).socket] = true
	}
	if len(seen) != 1010 {
		t.Errorf("%d socket ids of 1,010 connections", len(seen))
	}
	for _, c := range all[10:] {
		c.conn.CloseNow() // a goodbye for each would take the node its time
	}
}

// TestForm: every frame of a session that does all there is to do is a text message with a JSON object
// that has a string event, and string data wherever there are any but in errors.
func TestForm(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{
		Config: "{default_app: {subscription_count: true, watchlist: true}}",
		Env:    []string{"SHUTDOWN_DRAIN=none"},
	})
	for _, query := range []string{"protocol=7&client=js&version=8.6.0&flash=false&foo=bar", "protocol=5&client=java-client"} {
		conn, _, err := websocket.Dial(t.Context(), "ws://"+n.addr()+"/app/"+appKey+"?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		seen := map[string]bool{}
		read := func() (event, data string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			kind, raw, err := conn.Read(ctx)
			if err != nil {
				t.Fatalf("after %v: %v", slices.Sorted(maps.Keys(seen)), err)
			}
			var f map[string]any
			if err := json.Unmarshal(raw, &f); err != nil || kind != websocket.MessageText {
				t.Errorf("message of kind %v: %q: %v", kind, raw, err)
			}
			event, ok := f["event"].(string)
			seen[event] = true
			if !ok {
				t.Errorf("no event in %s", raw)
			}
			switch d := f["data"].(type) {
			case string:
				data = d
				if event == "pusher:error" {
					t.Errorf("the data of an error are a string: %s", raw)
				}
			case map[string]any:
				if event != "pusher:error" {
					t.Errorf("data that are no string: %s", raw)
				}
				message, _ := d["message"].(string)
				code, known := d["code"]
				if number, ok := code.(float64); message == "" || !known || code != nil && (!ok || number != float64(int(number))) {
					t.Errorf("error %s", raw)
				}
			default:
				t.Errorf("data of another kind: %s", raw)
			}
			return event, data
		}
		event, data := read()
		var hello struct {
			SocketID string `json:"socket_id"`
		}
		if err := json.Unmarshal([]byte(data), &hello); err != nil || event != "pusher:connection_established" {
			t.Fatalf("first frame %s %s: %v", event, data, err)
		}
		c := &client{conn: conn, socket: hello.SocketID}
		user := `{"id":"ada","watchlist":["bob"]}`
		c.mustAsk(t, "pusher:signin", map[string]string{
			"auth": appKey + ":" + signature(appSecret, c.socket+"::user::"+user), "user_data": user,
		})
		c.mustAsk(t, "pusher:subscribe", map[string]string{"channel": "news"})
		c.mustAsk(t, "pusher:subscribe", map[string]string{"channel": "cache-news"})
		c.mustAsk(t, "pusher:subscribe", map[string]string{"channel": "private-news"})
		c.mustAsk(t, "pusher:subscribe", c.signed("presence-news", `{"user_id":10}`))
		c.mustAsk(t, "no such event", nil)
		c.mustAsk(t, "pusher:ping", nil)
		for !seen["pusher:pong"] {
			read()
		}
		other := mustDial(t, n, false)
		other.mustAsk(t, "pusher:subscribe", other.signed("presence-news", `{"user_id":"11"}`))
		other.mustAsk(t, "client-typing", nil)
		other.mustSend(t, `{"event":"client-typing","channel":"presence-news","data":{"on":true}}`)
		other.alive(t)
		other.conn.CloseNow()
		n.publisher().mustPublish(t, "presence-news", "last", "not JSON")
		want := []string{
			"client-typing", "last", "pusher:cache_miss", "pusher:connection_established", "pusher:error", "pusher:pong",
			"pusher:signin_success", "pusher:subscription_error", "pusher_internal:member_added", "pusher_internal:member_removed",
			"pusher_internal:subscription_count", "pusher_internal:subscription_succeeded", "pusher_internal:watchlist_events",
		}
		for slices.ContainsFunc(want, func(event string) bool { return !seen[event] }) {
			read()
		}
	}
}

// TestNothingIsRelayed: what a client may not send reaches nobody, and the client is told, or sent
// away for a binary message.
func TestNothingIsRelayed(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=none"}})
	const channel = "presence-room"
	var clients []*client
	for _, id := range []string{"ada", "bob"} {
		c := mustDial(t, n, false)
		c.mustAsk(t, "pusher:subscribe", c.signed(channel, fmt.Sprintf(`{"user_id":%q}`, id)))
		c.alive(t)
		clients = append(clients, c)
	}
	sender, listener := clients[0], clients[1]
	sender.alive(t)
	for _, event := range []string{
		"foo", "pusher_internal:member_added", "pusher:connection_established", "pusher:cache_miss", "Client-x", "client",
	} {
		sender.mustSend(t, fmt.Sprintf(`{"event":%q,"channel":%q,"data":"{\"user_id\":\"eve\"}"}`, event, channel))
		if f := sender.mustRead(t); f.Event != "pusher:error" {
			t.Errorf("%s is answered %s %s", event, f.Event, f.Data)
		}
	}
	sender.mustSend(t, fmt.Sprintf(`{"event":"client-last","channel":%q,"data":"{}"}`, channel))
	if f := listener.mustRead(t); f.Event != "client-last" {
		t.Errorf("relayed: %s %s", f.Event, f.Data)
	}
	if err := sender.conn.Write(t.Context(), websocket.MessageBinary, fmt.Appendf(nil, `{"event":"client-binary","channel":%q}`, channel)); err != nil {
		t.Fatal(err)
	}
	if code := sender.closed(t); code != websocket.StatusUnsupportedData {
		t.Errorf("closed with %d", code)
	}
	if f := listener.mustRead(t); f.Event != "pusher_internal:member_removed" {
		t.Errorf("after a binary message: %s %s", f.Event, f.Data)
	}
}

// TestSubscribeThenTrigger: frames that are sent one straight after the other are processed in order,
// so an event may follow its subscription without waiting for the answer.
func TestSubscribeThenTrigger(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=none"}})
	listener := mustDial(t, n, false)
	const most = 20
	for i := range most {
		listener.mustSubscribe(t, fmt.Sprint("private-", i), nil)
	}
	for i := range most {
		c := mustDial(t, n, false)
		channel := fmt.Sprint("private-", i)
		c.mustAsk(t, "pusher:subscribe", c.signed(channel, ""))
		c.mustSend(t, fmt.Sprintf(`{"event":"client-first","channel":%q,"data":"1"}`, channel))
		c.mustSend(t, fmt.Sprintf(`{"event":"client-second","channel":%q,"data":"2"}`, channel))
		for _, want := range []string{"client-first", "client-second"} {
			if f := listener.mustRead(t); f.Event != want || f.Channel != channel {
				t.Fatalf("got %s on %s, want %s on %s", f.Event, f.Channel, want, channel)
			}
		}
	}
}

// TestPresenceFull: a hundred users fit into a presence channel, the next one doesn't, and a further
// connection of one who is there does.
func TestPresenceFull(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=none"}})
	join := func(id int) frame {
		t.Helper()
		c := mustDial(t, n, false)
		c.mustAsk(t, "pusher:subscribe", c.signed("presence-room", fmt.Sprintf(`{"user_id":"%d"}`, id)))
		return c.mustRead(t)
	}
	for id := range 100 {
		if f := join(id); f.Event != "pusher_internal:subscription_succeeded" {
			t.Fatalf("user %d is answered %s %s", id, f.Event, f.Data)
		}
	}
	if f := join(100); f.Event != "pusher:subscription_error" || !strings.Contains(f.text(), "LimitReached") {
		t.Errorf("user 101 is answered %s %s", f.Event, f.Data)
	}
	if f := join(50); f.Event != "pusher_internal:subscription_succeeded" || !strings.Contains(f.text(), `"count":100`) {
		t.Errorf("another connection is answered %s %s", f.Event, f.Data)
	}
}

// TestApps: two apps of a node share nothing under the same channel's name: no events, no counts, no
// members, no users, no requests.
func TestApps(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{
		Config: `
apps:
  - {id: "1", key: app-key, secret: app-secret, client_events: true, subscription_count: true}
  - {id: "2", key: key-2, secret: secret-2, client_events: true, subscription_count: true}
`,
		Env: []string{"SHUTDOWN_DRAIN=none"},
	})
	ours := mustDial(t, n, false)
	conn, _, err := websocket.Dial(t.Context(), "ws://"+n.addr()+"/app/key-2?protocol=7", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	theirs := &client{conn: conn}
	var hello struct {
		SocketID string `json:"socket_id"`
	}
	if err := json.Unmarshal([]byte(theirs.mustRead(t).text()), &hello); err != nil {
		t.Fatal(err)
	}
	theirs.socket = hello.SocketID
	for c, app := range map[*client][2]string{ours: {"app-key", "app-secret"}, theirs: {"key-2", "secret-2"}} {
		for _, channel := range []string{"news", "private-chat", "presence-room"} {
			data, text := map[string]any{"channel": channel}, c.socket+":"+channel
			if channel == "presence-room" {
				member := fmt.Sprintf(`{"user_id":%q}`, app[0])
				data["channel_data"] = member
				text += ":" + member
			}
			if channel != "news" {
				data["auth"] = app[0] + ":" + signature(app[1], text)
			}
			c.mustAsk(t, "pusher:subscribe", data)
		}
		for _, f := range c.alive(t) {
			switch f.Event {
			case "pusher_internal:subscription_succeeded":
			case "pusher_internal:subscription_count":
				if f.text() != `{"subscription_count":1}` {
					t.Errorf("%s has %s", app[0], f.text())
				}
			default:
				t.Errorf("%s got %s %s", app[0], f.Event, f.Data)
			}
		}
	}
	one, two := n.publisher(), n.publisher()
	one.app = "1"
	two.app, two.key, two.secret = "2", "key-2", "secret-2"
	one.mustPublish(t, "news", "from one", "{}")
	two.mustPublish(t, "presence-room", "from two", "{}")
	ours.mustSend(t, `{"event":"client-x","channel":"private-chat","data":"{}"}`)
	for c, want := range map[*client]string{ours: "from one", theirs: "from two"} {
		if f := c.mustRead(t); f.Event != want {
			t.Errorf("got %s, want %s", f.Event, want)
		}
		if rest := c.alive(t); len(rest) > 0 {
			t.Errorf("and then %+v", rest)
		}
	}
	for p, member := range map[*publisher]string{one: "app-key", two: "key-2"} {
		a, err := p.do(t.Context(), http.MethodGet, "/apps/"+p.app+"/channels/presence-room/users", nil)
		if want := fmt.Sprintf(`{"users":[{"id":%q}]}`, member); err != nil || a.body != want {
			t.Errorf("users of %s: %s, %v", p.app, a, err)
		}
	}
	one.key, one.secret = two.key, two.secret
	if a, err := one.publish(t.Context(), "news", "forged", "{}"); err != nil || a.status != http.StatusUnauthorized && a.status != http.StatusBadRequest {
		t.Errorf("the other's credentials are answered %s, %v", a, err)
	}
}

// TestHTTPFallbacks: what pusher-js asks for where there are no WebSockets is answered at once, with
// 404.
func TestHTTPFallbacks(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=none"}})
	got := map[string]string{}
	want := map[string]string{}
	for _, what := range []string{"xhr_streaming", "xhr", "xhr_send"} {
		resp, err := http.Post(n.url("/pusher/app/"+appKey+"/123/abcdefgh/"+what+"?protocol=7&client=js&version=8.6.0&t=1&n=1"), "text/plain", strings.NewReader("[]"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || len(body) == 0 {
			t.Errorf("%s: body %q, %v", what, body, err)
		}
		got[what], want[what] = resp.Status, "404 Not Found"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}
