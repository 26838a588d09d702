package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestHostileClients lets everybody who means harm, or is merely broken, loose on a node while
// others are at work: events are published, delivered and none is lost.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{Env: []string{
		"HTTP_READ_HEADER_TIMEOUT=1s", // bounds those who don't finish their first line
	}})
	bystander := follow(n, "last", "news", "private-orders")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()

	// The peaceful ones.
	var peaceful sync.WaitGroup
	ready := make(chan struct{})
	var followed, published error
	peaceful.Go(func() { followed = bystander.run(ctx, func() { close(ready) }) })
	select {
	case <-ready:
	case <-ctx.Done():
		peaceful.Wait()
		t.Fatal(followed)
	}
	over := make(chan struct{})
	count := 0
	p := n.publisher()
	peaceful.Go(func() {
		for published == nil {
			select {
			case <-over:
				for _, ch := range bystander.channels {
					if err := p.publishStored(ctx, ch, "last", ""); err != nil {
						published = err
					}
				}
				return
			default:
			}
			for _, ch := range bystander.channels {
				if err := p.publishStored(ctx, ch, "n", fmt.Sprint(count)); err != nil {
					published = err
				}
			}
			count++
		}
	})

	t.Run("attacks", func(t *testing.T) {
		for name, attack := range attacks {
			t.Run(name, func(t *testing.T) { attack(t, n) })
		}
	})
	close(over)
	peaceful.Wait()
	if followed != nil || published != nil {
		t.Fatalf("follow: %v; publish: %v", followed, published)
	}
	for ch, track := range bystander.track {
		if len(track.events) != count+1 {
			t.Errorf("%s: %d events seen, %d published", ch, len(track.events), count+1)
		}
		for i, e := range track.events[:len(track.events)-1] {
			if e.Data != fmt.Sprint(i) {
				t.Fatalf("%s: event %d is number %s", ch, i, e.Data)
			}
		}
	}
	if bystander.connects != 1 {
		t.Errorf("the bystander had to connect %d times", bystander.connects)
	}
	t.Logf("%d events to each channel meanwhile", count)
}

var attacks = map[string]func(*testing.T, *node){
	"malformed frames": func(t *testing.T, n *node) {
		c := mustDial(t, n, false)
		for _, text := range []string{
			`not json`, `[]`, `{}`, `null`, `"text"`, `17`, ``, `{"event":5}`, `{"event":null}`,
			`{"event":"pusher:subscribe"}`,
			`{"event":"pusher:subscribe","data":7}`,
			`{"event":"pusher:subscribe","data":{}}`,
			`{"event":"pusher:subscribe","data":{"channel":5}}`,
			`{"event":"pusher:subscribe","data":{"channel":""}}`,
			`{"event":"pusher:subscribe","data":{"channel":"a b"}}`,
			`{"event":"pusher:subscribe","data":{"channel":"` + strings.Repeat("x", 300) + `"}}`,
			`{"event":"pusher:subscribe","data":{"channel":"presence-x","auth":{},"channel_data":[]}}`,
			`{"event":"pusher:subscribe","data":{"channel":"news","resume":7}}`,
			`{"event":"pusher:subscribe","data":{"channel":"news","resume":{"position":[]}}}`,
			`{"event":"pusher:unsubscribe","data":{"channel":"never-joined"}}`,
			`{"event":"pusher_internal:member_added","channel":"presence-x","data":"{}"}`,
			`{"event":"client-x","channel":"news","data":{}}`,
			`{"event":"client-x"}`,
			`{"event":"` + strings.Repeat("x", 10_000) + `"}`,
			strings.Repeat(`{"event":`, 5_000),
			`{"event":"pusher:ping","data":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
		} {
			c.mustSend(t, text)
		}
		for _, f := range c.alive(t) {
			if f.Event != "pusher:error" && f.Event != "pusher:subscription_error" && f.Event != "pusher:pong" &&
				f.Event != "pusher_internal:subscription_succeeded" {
				t.Errorf("answered with %s %s", f.Event, f.Data)
			}
		}
	},
	"huge frame": func(t *testing.T, n *node) {
		c := mustDial(t, n, false)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		// The node may hang up before all of it is written.
		_ = c.send(ctx, `{"event":"client-x","channel":"private-x","data":"`+strings.Repeat("x", 1<<20)+`"}`)
		if code := c.closed(t); code != websocket.StatusMessageTooBig && code != -1 {
			t.Errorf("closed with %d", code)
		}
	},
	"binary frame": func(t *testing.T, n *node) {
		c := mustDial(t, n, false)
		if err := c.conn.Write(t.Context(), websocket.MessageBinary, []byte{0, 1, 2}); err != nil {
			t.Fatal(err)
		}
		if code := c.closed(t); code != websocket.StatusUnsupportedData {
			t.Errorf("closed with %d", code)
		}
	},
	"text that is not UTF-8": func(t *testing.T, n *node) {
		c := mustDial(t, n, false)
		c.mustSend(t, "{\"event\":\"pusher:ping\",\"data\":\"\xff\xfe\"}")
		if code := c.closed(t); code != websocket.StatusInvalidFramePayloadData {
			t.Errorf("closed with %d", code)
		}
	},
	"forged signatures": func(t *testing.T, n *node) {
		c := mustDial(t, n, false)
		for _, auth := range []string{
			"", "no-colon", appKey + ":", appKey + ":" + strings.Repeat("0", 64),
			"other-key:" + signature(appSecret, c.socket+":private-orders"),
			appKey + ":" + signature(appSecret, c.socket+":private-other"),
			appKey + ":" + signature(appSecret, "1.1:private-orders"),
			appKey + ":" + signature("guess", c.socket+":private-orders"),
		} {
			data, err := json.Marshal(map[string]any{"channel": "private-orders", "auth": auth})
			if err != nil {
				t.Fatal(err)
			}
			c.mustSend(t, `{"event":"pusher:subscribe","data":`+string(data)+`}`)
			refused := false
			for _, f := range c.alive(t) {
				switch f.Event {
				case "pusher:subscription_error":
					refused = true
				case "pusher:error":
				default:
					t.Errorf("auth %q is answered %s %s", auth, f.Event, f.Data)
				}
			}
			if !refused {
				t.Errorf("auth %q is not refused", auth)
			}
		}
	},
	"forged requests": func(t *testing.T, n *node) {
		p := n.publisher()
		forger := *p
		forger.secret = "guess"
		stranger := *p
		stranger.key = "other-key"
		lost := *p
		lost.app = "no-such-app"
		for _, f := range []struct {
			publisher publisher
			status    []int
		}{{forger, []int{401}}, {stranger, []int{400, 401}}, {lost, []int{404}}} {
			a, err := f.publisher.publish(t.Context(), "news", "forged", "{}")
			if err != nil {
				t.Fatal(err)
			}
			if a.status != f.status[0] && a.status != f.status[len(f.status)-1] {
				t.Errorf("answered %s, want %v", a, f.status)
			}
		}
		for _, body := range []string{``, `{`, `[]`, `null`, `{"name":5}`, `{"name":"x","data":"y"}`,
			`{"name":"x","channel":"a b","data":"y"}`, strings.Repeat(`{"name":`, 100_000)} {
			a, err := p.do(t.Context(), http.MethodPost, "/apps/"+appID+"/events", []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			if a.status < 400 || a.status > 499 {
				t.Errorf("body %.40q is answered %s", body, a)
			}
		}
		a, err := p.do(t.Context(), http.MethodPost, "/apps/"+appID+"/events", []byte(strings.Repeat(" ", 4<<20)))
		if err == nil && a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("a body of 4 MiB is answered %s", a)
		}
	},
	"noise on the port": func(t *testing.T, n *node) {
		for _, noise := range []string{
			"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // the beginning of TLS
			"\x00\xff\x00\xff\r\n\r\n",
			handshake + "\x81\x02{}",                                                 // a frame that isn't masked
			handshake + "\xf1\x82\x00\x00\x00\x00{}",                                 // reserved bits
			handshake + "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00{}", // a length of 2^64 - 1
			handshake + "\x89\xfe\x01\x00\x00\x00\x00\x00",                           // a ping of 256 bytes
		} {
			hangsUp(t, n, noise)
		}
	},
	"half a handshake": func(t *testing.T, n *node) {
		for range 50 {
			conn, err := net.Dial("tcp", n.addr())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, handshake[:len(handshake)-2]); err != nil {
				t.Error(err)
			}
			conn.Close()
		}
	},
	"stalled reader": func(t *testing.T, n *node) {
		conn, err := net.Dial("tcp", n.addr())
		if err != nil {
			t.Fatal(err)
		}
		// It subscribes to what is being published and never reads a byte while the others go on.
		defer conn.Close()
		if _, err := io.WriteString(conn, handshake); err != nil {
			t.Fatal(err)
		}
		frame := `{"event":"pusher:subscribe","data":{"channel":"news"}}`
		if _, err := conn.Write(append([]byte{0x81, 0x80 | byte(len(frame)), 0, 0, 0, 0}, frame...)); err != nil {
			t.Fatal(err)
		}
		mustDial(t, n, false).alive(t)
	},
}

const handshake = "GET /app/" + appKey + "?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// hangsUp sends bytes and waits until the node ends the connection.
func hangsUp(t *testing.T, n *node, noise string) {
	t.Helper()
	conn, err := net.Dial("tcp", n.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, noise); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("the node does not hang up on %q", noise)
	}
}
