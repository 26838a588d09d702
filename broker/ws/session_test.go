package ws

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/broker"
)

// Checklist 19, 20, 23: what can't be read or isn't allowed is answered with a soft error, and the
// connection goes on.
func TestBadMessagesAreAnswered(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	c.subscribe("bad")
	for _, message := range []string{
		`no json`, `[1,2]`, `{}`, `{"event":5}`, `"text"`, `null`, `{"event":"foo"`,
		`{"event":"foo"}`,
		`{"event":"pusher_internal:member_added","channel":"bad","data":"{}"}`,
		`{"event":"pusher:connection_established"}`,
		`{"event":"pusher:signin","data":{"auth":"a:b","user_data":"{}"}}`,
		`{"event":"pusher:subscribe"}`,
		`{"event":"pusher:subscribe","data":{}}`,
		`{"event":"pusher:subscribe","data":{"channel":7}}`,
		`{"event":"pusher:subscribe","data":{"channel":null}}`,
		`{"event":"pusher:subscribe","data":"{"}`,
		`{"event":"pusher:subscribe","data":[]}`,
		`{"event":"pusher:unsubscribe"}`,
		`{"event":"pusher:unsubscribe","data":{"channel":"never"}}`, // 40
		`{"event":"client-x"}`,
		strings.Repeat("[", 5000),
	} {
		c.send("%s", message)
		if e := c.complaint(); e.Code != nil {
			t.Errorf("%.60s: code %d, want null", message, *e.Code)
		}
	}
	c.sync()
}

// Checklist 25: binary closes with 1003.
func TestBinaryCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c := h.dial("")
		if err := c.ws.Write(t.Context(), websocket.MessageBinary, []byte(`{"event":"pusher:ping"}`)); err != nil {
			t.Fatal(err)
		}
		if code, _, before := c.ended(); code != 1003 || len(before) != 0 {
			t.Errorf("closed with %d after %v, want 1003", code, before)
		}
		synctest.Wait()
		if got := h.metric("playhead_closes_total", "reason=binary_message"); got != 1 {
			t.Errorf("closes for binary_message: %v", got)
		}
	})
}

func TestNotUTF8Closes(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	c.send("{\"event\":\"pusher:ping\",\"data\":\"\xff\"}")
	if code, _, _ := c.ended(); code != 1007 {
		t.Errorf("closed with %d, want 1007", code)
	}
}

func TestTooBigCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *harness, cfg *Config) { cfg.MaxMessageBytes = 20_000 })
		c := h.dial("")
		c.send(`{"event":"pusher:ping","data":"%s"}`, strings.Repeat("x", 19_000))
		c.expect("pusher:pong")
		c.send(`{"event":"pusher:ping","data":"%s"}`, strings.Repeat("x", 20_000))
		if code, _, _ := c.ended(); code != 1009 {
			t.Errorf("closed with %d, want 1009", code)
		}
		synctest.Wait()
		if got := h.metric("playhead_closes_total", "reason=message_too_big"); got != 1 {
			t.Errorf("closes for message_too_big: %v", got)
		}
	})
}

// Bytes that are no frames end their connection, and nothing else.
func TestMalformedFrames(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		bytes  []byte
		reason string
	}{
		"unmasked":                {[]byte{final | opText, 2, '{', '}'}, "protocol_error"},
		"reserved opcode":         {clientFrame(final|0x3, "x"), "protocol_error"},
		"reserved bit":            {clientFrame(final|0x40|opText, "x"), "protocol_error"},
		"lone continuation":       {clientFrame(final, "x"), "protocol_error"},
		"fragmented ping":         {clientFrame(opPing, "x"), "protocol_error"},
		"long ping":               {clientFrame(final|opPing, strings.Repeat("x", 126)), "protocol_error"},
		"message within message":  {append(clientFrame(opText, "x"), clientFrame(final|opText, "y")...), "protocol_error"},
		"close of one byte":       {clientFrame(final|opClose, "x"), "protocol_error"},
		"close with a bad code":   {clientFrame(final|opClose, "\x03\xed"), "protocol_error"},
		"negative length":         {[]byte{final | opText, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, "protocol_error"},
		"length beyond the limit": {append([]byte{final | opText, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4}, make([]byte, 70_000)...), "message_too_big"},
		"cut within the header":   {[]byte{final | opText}, "connection_lost"},
		"cut within the payload":  {clientFrame(final|opText, "{}")[:7], "connection_lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := start(t, nil)
				healthy := h.dial("")
				c := h.openRaw(nil)
				c.text("pusher:connection_established")
				go func() { // the server may stop reading in the middle
					_ = c.SetWriteDeadline(time.Now().Add(time.Second))
					_, _ = c.Conn.Write(test.bytes)
					if test.reason == "connection_lost" {
						_ = c.Conn.Close()
					}
				}()
				for {
					if _, _, err := c.read(); err != nil {
						break
					}
				}
				_ = c.Conn.Close()
				time.Sleep(2 * closeGrace)
				if got := h.metric("playhead_closes_total", "reason="+test.reason); got != 1 {
					t.Errorf("closes for %s: %v of %v", test.reason, got, h.metric("playhead_closes_total"))
				}
				healthy.sync()
			})
		})
	}
}

// A client that stops in the middle of its close frame doesn't keep its session.
func TestStalledClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c := h.openRaw(nil)
		c.text("pusher:connection_established")
		c.write(clientFrame(final|opClose, "\x03\xe8bye")[:7])
		time.Sleep(6 * time.Second)
		if got := h.metric("playhead_connections"); got != 0 {
			t.Errorf("connections: %v", got)
		}
	})
}

// Checklist 24: fragments, with control frames between them.
func TestFragments(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.openRaw(nil)
	c.text("pusher:connection_established")
	go func() {
		c.write(clientFrame(opText, `{"event":"pusher:sub`))
		c.write(clientFrame(final|opPing, "between"))
		c.write(clientFrame(0, `scribe","data":{"channel":`))
		c.write(clientFrame(final|opPong, ""))
		c.write(clientFrame(final, `"orders"}}`))
	}()
	op, payload, err := c.read()
	if err != nil || op != opPong || string(payload) != "between" {
		t.Errorf("got opcode %d %q, %v; want the pong", op, payload, err)
	}
	c.text("pusher_internal:subscription_succeeded")
}

// Checklist 21, 22, 36: what else a subscribe may look like.
func TestToleratedSubscribes(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	for _, message := range []string{
		`{"event":"pusher:subscribe","data":"{\"channel\":\"a\"}"}`,
		`{"event":"pusher:subscribe","data":{"channel":"b","auth":"","channel_data":null,"shared_secret":"x"},"extra":[1]}`,
		`{"event":"pusher:subscribe","data":{"channel":"c","auth":null}}`,
	} {
		c.send("%s", message)
		if f := c.expect("pusher_internal:subscription_succeeded"); f.text(t) != "{}" {
			t.Errorf("%s: data %s", message, f.Data)
		}
	}
}

// Checklist 27, 28, 30.
func TestPusherPing(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.dial("")
	for _, message := range []string{
		`{"event":"pusher:ping","data":{}}`, `{"event":"pusher:ping"}`, `{"event":"pusher:ping","data":"{}"}`,
	} {
		c.send(`{"event":"pusher:pong","data":{}}`)
		c.send("%s", message)
		if f := c.expect("pusher:pong"); f.text(t) != "{}" {
			t.Errorf("pong's data: %s", f.Data)
		}
	}
}

// Checklist 29.
func TestControlPing(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	c := h.openRaw(nil)
	c.text("pusher:connection_established")
	for _, payload := range []string{"", "1", strings.Repeat("p", 125)} {
		go c.write(clientFrame(final|opPing, payload))
		op, got, err := c.read()
		if err != nil || op != opPong || string(got) != payload {
			t.Errorf("ping %q: opcode %d %q, %v", payload, op, got, err)
		}
	}
}

// The client's close is answered with its own code, and counted as its own.
func TestClientCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c := h.dial("")
		c.subscribe("orders")
		if err := c.ws.Close(1000, "bye"); err != nil {
			t.Errorf("close: %v", err)
		}
		synctest.Wait()
		if got := h.metric("playhead_closes_total", "reason=client_closed"); got != 1 {
			t.Errorf("closes for client_closed: %v", got)
		}
		if got := h.metric("playhead_connections"); got != 0 {
			t.Errorf("connections: %v", got)
		}
		if o := h.presence.Occupancy("1", "orders"); o.Subscriptions != 0 {
			t.Errorf("still subscribed: %+v", o)
		}
	})
}

// Sessions whose tail broke are sent home with a code that brings them back at once.
func TestBrokenTail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		c, idle := h.dial(""), h.dial("")
		c.subscribe("orders")
		h.memory.Break("1", errors.New("stream gone"))
		if code, _, _ := c.ended(); code != 4200 {
			t.Errorf("closed with %d, want 4200", code)
		}
		// Who has no subscription can't have missed anything, but can't get one any more.
		idle.sendSubscribe("orders", "")
		if code, _, _ := idle.ended(); code != 4200 {
			t.Errorf("subscribing on the broken feed: closed with %d, want 4200", code)
		}
		again := h.dial("")
		again.subscribe("orders")
		h.publish("orders", "later", "{}")
		again.expect("later")
	})
}

// Whatever a reason is, its code is one that clients understand.
func TestCodes(t *testing.T) {
	t.Parallel()
	cfg := &Config{TerminationCode: 4123}
	for why, want := range map[broker.Reason]int{
		broker.Terminated: 4123, broker.AppRetired: 4200, broker.TailBroken: 4200, broker.GateOverflow: 4100, SlowReader: 4100, PongTimeout: 4201, Shutdown: 4200,
		BinaryMessage: 1003, InvalidUTF8: 1007, MessageTooBig: 1009, ProtocolError: 1002,
		pathNotFound: 4005, unknownApp: 4001, appDisabled: 4003, versionUnsupported: 4007,
		tooMany: 4100, draining: 4100, unavailable: 4100, "unheard of": 1011,
	} {
		code, text := cfg.closing(why)
		if int(code) != want || text == "" || len(text) > 123 {
			t.Errorf("%s: %d %q, want %d and a short text", why, code, text, want)
		}
		if b := goodbye(code, text); (code >= 4000) != bytes.Contains(b, []byte("pusher:error")) {
			t.Errorf("%s: goodbye %q", why, b)
		}
	}
}
