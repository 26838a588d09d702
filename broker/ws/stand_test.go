package ws

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// stand is a server to which clients connect over real sockets.
type stand struct {
	*harness
	addr string
	dial func(addr string) (net.Conn, error)
}

// stands runs a test over each way of reading.
func stands(t *testing.T, test func(t *testing.T, at stand)) {
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		h := start(t, nil)
		test(t, stand{h, h.listen(), func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }})
	})
	t.Run("tls", func(t *testing.T) {
		t.Parallel()
		h := start(t, nil)
		web := httptest.NewUnstartedServer(h.server)
		web.StartTLS()
		t.Cleanup(web.Close)
		trust := web.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		trust.ServerName = "example.com"
		test(t, stand{h, web.Listener.Addr().String(), func(addr string) (net.Conn, error) {
			return tls.Dial("tcp", addr, trust)
		}})
	})
}

// handshake is a good one; the key and its answer are the RFC's own.
const handshake = "GET /app/key?protocol=7 HTTP/1.1\r\nHost: playhead\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// shake sends a request and what follows it in one write, and returns the connection and the answer.
func (at stand) shake(t *testing.T, request string, early []byte) (*raw, *http.Response) {
	t.Helper()
	conn, err := at.dial(at.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &raw{Conn: conn, tb: t, br: bufio.NewReader(conn)}
	c.write(append([]byte(request), early...))
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(c.br, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatal(err)
	}
	return c, resp
}

// connect opens a connection and takes the first frame.
func (at stand) connect(t *testing.T) *raw {
	t.Helper()
	c, resp := at.shake(t, handshake+"\r\n", nil)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("not upgraded: %s", resp.Status)
	}
	c.text("pusher:connection_established")
	return c
}

// answer takes the next frame in words, "end" for the end of the connection. The reason of a close
// is named where it is an echo.
func (c *raw) answer() string {
	op, payload, err := c.read()
	switch {
	case errors.Is(err, io.EOF):
		return "end"
	case err != nil:
		return err.Error()
	case op == opPong:
		return fmt.Sprintf("pong %q", payload)
	case op == opClose && len(payload) == 0:
		return "close"
	case op == opClose && len(payload) >= 2 && utf8.Valid(payload[2:]):
		switch code := binary.BigEndian.Uint16(payload); code {
		case 1002, 1003, 1007, 1009:
			return fmt.Sprintf("close %d", code) // in words of our own
		default:
			return strings.TrimSpace(fmt.Sprintf("close %d %s", code, payload[2:]))
		}
	case op != opText:
		return fmt.Sprintf("opcode %d %q", op, payload)
	}
	var f frame
	if err := json.Unmarshal(payload, &f); err != nil {
		return err.Error()
	}
	if f.Event == "pusher:error" {
		var e fault
		_ = json.Unmarshal(f.Data, &e) // no message then
		return "error " + e.Message
	}
	return f.Event
}

// answers takes what comes until the end, or so many.
func (c *raw) answers(most int) (all []string) {
	for len(all) < most {
		all = append(all, c.answer())
		if all[len(all)-1] == "end" {
			break
		}
	}
	return all
}
