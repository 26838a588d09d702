package ws

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// client is one side of a connection, the other being the server.
type client struct {
	tb testing.TB
	ws *websocket.Conn
	id broker.SocketID

	patience time.Duration // how long it waits for a frame; more only makes sense in a bubble
}

// frame is what a client receives.
type frame struct {
	Event    string
	Channel  string
	Data     json.RawMessage // as on the wire
	UserID   *string         `json:"user_id"`
	ID       string
	Position string
	Resume   json.RawMessage
}

// text returns data, which must be a string.
func (f frame) text(tb testing.TB) string {
	tb.Helper()
	var s string
	if err := json.Unmarshal(f.Data, &s); err != nil {
		tb.Fatalf("data of %s is not a string: %s", f.Event, f.Data)
	}
	return s
}

// decode reads data, a string of JSON, or an object in a pusher:error, into v.
func (f frame) decode(tb testing.TB, v any) {
	tb.Helper()
	raw := []byte(f.Data)
	if f.Event != "pusher:error" {
		raw = []byte(f.text(tb))
	}
	if err := json.Unmarshal(raw, v); err != nil {
		tb.Fatalf("data of %s: %v in %s", f.Event, err, raw)
	}
}

// fault is the data of pusher:error and pusher:subscription_error.
type fault struct {
	Code    *int
	Message string
	Type    string
	Error   string
	Status  int
}

// patience is how long a test waits for what must come. In a bubble it costs nothing.
const patience = 20 * time.Second

// open dials through memory, without taking the first frame.
func (h *harness) open(path string, header http.Header) *client {
	h.tb.Helper()
	ws, _, err := websocket.Dial(context.Background(), "ws://playhead"+path, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: &pipeTransport{handler: h.server}},
		HTTPHeader:   header,
		Subprotocols: header.Values("Subprotocol"),
	})
	if err != nil {
		h.tb.Fatal(err)
	}
	ws.SetReadLimit(-1)
	h.tb.Cleanup(func() { _ = ws.CloseNow() })
	return &client{tb: h.tb, ws: ws, patience: patience}
}

// dial connects through memory and takes the first frame.
func (h *harness) dial(query string) *client {
	h.tb.Helper()
	c := h.open("/app/key?protocol=7"+query, nil)
	c.established()
	return c
}

// listen serves the harness on a loopback port and returns its address.
func (h *harness) listen() string {
	h.tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.tb.Fatal(err)
	}
	web := &http.Server{Handler: h.server}
	var serving sync.WaitGroup
	serving.Go(func() { _ = web.Serve(l) })
	h.tb.Cleanup(func() {
		_ = web.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// dialTCP connects through a loopback port and takes the first frame.
func (h *harness) dialTCP(addr string) *client {
	h.tb.Helper()
	ws, _, err := websocket.Dial(context.Background(), "ws://"+addr+"/app/key?protocol=7", nil)
	if err != nil {
		h.tb.Fatal(err)
	}
	ws.SetReadLimit(-1)
	h.tb.Cleanup(func() { _ = ws.CloseNow() })
	c := &client{tb: h.tb, ws: ws, patience: patience}
	c.established()
	return c
}

// established takes the first frame.
func (c *client) established() frame {
	c.tb.Helper()
	f := c.expect("pusher:connection_established")
	var data struct {
		SocketID broker.SocketID `json:"socket_id"`
	}
	f.decode(c.tb, &data)
	c.id = data.SocketID
	return f
}

// send sends one message.
func (c *client) send(format string, args ...any) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		c.tb.Errorf("send: %v", err)
	}
}

// receive takes the next frame, or the error the connection ended with.
func (c *client) receive() (frame, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.patience)
	defer cancel()
	var f frame
	kind, message, err := c.ws.Read(ctx)
	switch {
	case err != nil:
		return f, err
	case kind != websocket.MessageText:
		return f, fmt.Errorf("message of kind %v", kind)
	}
	if err := json.Unmarshal(message, &f); err != nil {
		return f, fmt.Errorf("frame %q: %w", message, err)
	}
	if f.Event == "" {
		return f, fmt.Errorf("frame %q has no event", message)
	}
	return f, nil
}

// next takes the next frame, which must come.
func (c *client) next() frame {
	c.tb.Helper()
	f, err := c.receive()
	if err != nil {
		c.tb.Fatalf("no frame: %v", err)
	}
	return f
}

// expect takes the next frame, which must be this event.
func (c *client) expect(event string) frame {
	c.tb.Helper()
	f := c.next()
	if f.Event != event {
		c.tb.Fatalf("got %s (channel %q, data %s), want %s", f.Event, f.Channel, f.Data, event)
	}
	return f
}

// sync makes sure that everything sent so far was handled, and that nothing came of it but what
// the caller has taken.
func (c *client) sync() {
	c.tb.Helper()
	c.send(`{"event":"pusher:ping"}`)
	c.expect("pusher:pong")
}

// complaint takes the next frame, which must be a soft error.
func (c *client) complaint() fault {
	c.tb.Helper()
	var e fault
	f := c.expect("pusher:error")
	f.decode(c.tb, &e)
	if e.Message == "" {
		c.tb.Errorf("pusher:error without message: %s", f.Data)
	}
	return e
}

// refusal takes the next frame, which must be a subscription error.
func (c *client) refusal(ch string) fault {
	c.tb.Helper()
	var e fault
	f := c.expect("pusher:subscription_error")
	f.decode(c.tb, &e)
	if f.Channel != ch || e.Error == "" {
		c.tb.Errorf("subscription error of %q for %q: %s", f.Channel, ch, f.Data)
	}
	return e
}

// ended takes what still comes, and returns the code and reason of the close.
func (c *client) ended() (code int, reason string, before []frame) {
	c.tb.Helper()
	for {
		f, err := c.receive()
		var closed websocket.CloseError
		switch {
		case errors.As(err, &closed):
			return int(closed.Code), closed.Reason, before
		case err != nil:
			c.tb.Fatalf("ended without a close frame: %v", err)
		}
		before = append(before, f)
	}
}

// subscribe subscribes, signing where it must be signed, and returns the answer.
func (c *client) subscribe(ch broker.Channel) frame {
	c.tb.Helper()
	return c.subscribeAs(ch, "")
}

// subscribeAs is subscribe with channel_data and, in more, other members.
func (c *client) subscribeAs(ch broker.Channel, channelData string, more ...string) frame {
	c.tb.Helper()
	c.sendSubscribe(ch, channelData, more...)
	f := c.expect("pusher_internal:subscription_succeeded")
	if f.Channel != string(ch) {
		c.tb.Fatalf("answer for %q, want %q", f.Channel, ch)
	}
	return f
}

func (c *client) sendSubscribe(ch broker.Channel, channelData string, more ...string) {
	c.tb.Helper()
	data := map[string]any{"channel": ch}
	var signed *string
	if channelData != "" {
		signed = &channelData
		data["channel_data"] = channelData
	}
	if pusher.KindOf(ch).NeedsAuth() {
		data["auth"] = pusher.SignChannel(cred, c.id, ch, signed)
	}
	raw, err := json.Marshal(data)
	if err != nil {
		c.tb.Fatal(err)
	}
	text := string(raw)
	for _, member := range more {
		text = strings.TrimSuffix(text, "}") + "," + member + "}"
	}
	c.send(`{"event":"pusher:subscribe","data":%s}`, text)
}

// raw is a client that speaks frames by hand.
type raw struct {
	net.Conn
	tb testing.TB
	br *bufio.Reader
}

// openRaw connects through memory. early comes together with the handshake.
func (h *harness) openRaw(early []byte) *raw {
	h.tb.Helper()
	t := &pipeTransport{handler: h.server, early: early}
	r, err := http.NewRequest(http.MethodGet, "http://playhead/app/key?protocol=7", nil)
	if err != nil {
		h.tb.Fatal(err)
	}
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	if resp, err := t.RoundTrip(r); err != nil || t.client == nil {
		h.tb.Fatalf("not upgraded: %v, %v", resp, err)
	}
	h.tb.Cleanup(func() { _ = t.client.Close() })
	return &raw{Conn: t.client, tb: h.tb, br: bufio.NewReader(t.client)}
}

// openRawTCP connects through a port with a small receive buffer, sends early together with the
// handshake, and reads nothing but the handshake's answer.
func (h *harness) openRawTCP(addr string, early []byte) *raw {
	h.tb.Helper()
	return h.openRawTCPAs(addr, "key", early)
}

// openRawTCPAs is openRawTCP with the key of an app.
func (h *harness) openRawTCPAs(addr, key string, early []byte) *raw {
	h.tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { _ = conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	request := "GET /app/" + key + "?protocol=7 HTTP/1.1\r\nHost: playhead\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := conn.Write(append([]byte(request), early...)); err != nil {
		h.tb.Fatal(err)
	}
	c := &raw{Conn: conn, tb: h.tb, br: bufio.NewReaderSize(conn, 4<<10)}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		h.tb.Fatalf("not upgraded: %v, %v", resp, err)
	}
	return c
}

// clientFrame makes a frame as a client sends it, with a mask of zeroes.
func clientFrame(head byte, payload string) []byte {
	b := []byte{head}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, 0, 0, 0, 0)
	return append(b, payload...)
}

func (c *raw) write(b []byte) {
	c.tb.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Conn.Write(b); err != nil {
		c.tb.Errorf("write: %v", err)
	}
}

// read takes the next frame; it fails on anything a server may not send.
func (c *raw) read() (op byte, payload []byte, err error) {
	_ = c.SetReadDeadline(time.Now().Add(10 * patience))
	var head [2]byte
	if _, err := io.ReadFull(c.br, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0x70 != 0 || head[0]&final == 0 || head[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("frame header %x", head)
	}
	n := uint64(head[1])
	switch n {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(c.br, b[:])
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(c.br, b[:])
		n = binary.BigEndian.Uint64(b[:])
	}
	if err != nil {
		return 0, nil, err
	}
	if n > 64<<20 {
		return 0, nil, fmt.Errorf("frame of %d bytes", n)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.br, payload)
	return head[0] & 0xf, payload, err
}

// text takes the next frame but for pings, which must be this event.
func (c *raw) text(event string) frame {
	c.tb.Helper()
	op, payload, err := c.read()
	for op == opPing {
		op, payload, err = c.read()
	}
	if err != nil || op != opText {
		c.tb.Fatalf("got opcode %d, %q, %v; want %s", op, payload, err, event)
	}
	var f frame
	if err := json.Unmarshal(payload, &f); err != nil || f.Event != event {
		c.tb.Fatalf("got %s, %v; want %s", payload, err, event)
	}
	return f
}

// await waits until a condition holds.
func await(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			tb.Fatalf("still not: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
