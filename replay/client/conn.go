package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// conn is one established connection. It belongs to one tail, which reads it when it wants the next
// event: what it doesn't want yet stays in the socket, and a server whose patience that is too much
// for closes the connection.
type conn struct {
	ws       *websocket.Conn
	id       broker.SocketID
	activity time.Duration // silence after which the server is asked whether it is there
	pong     time.Duration // how long it has to answer
	opened   time.Time

	// waiting is since when the tail waits for a frame, in nanoseconds after opened; −1 when it
	// doesn't wait. A silence that nobody listens to says nothing about the server.
	waiting atomic.Int64
}

// dial connects and takes the first frame. Errors: [CloseError], [StatusError] when the server
// answered without a WebSocket.
func (c *Client) dial(ctx context.Context) (*conn, error) {
	dialing, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	n := &conn{pong: c.cfg.PongTimeout, opened: time.Now()}
	target := c.cfg.URL + "/app/" + url.PathEscape(c.cfg.Key) + "?protocol=7&client=playhead-go&version=1.0.0&replay=1"
	ws, res, err := websocket.Dial(dialing, target, &websocket.DialOptions{ //nolint:bodyclose // the library sees to it
		HTTPClient: c.cfg.HTTPClient,
		OnPingReceived: func(context.Context, []byte) bool {
			n.hear() // it is there, even if there are no events
			return true
		},
	})
	if err != nil {
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("connect to %s: %w", c.cfg.URL, &StatusError{Status: res.StatusCode, Message: "no WebSocket here"})
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("connect to %s: %w", c.cfg.URL, err)
	}
	n.ws = ws
	ws.SetReadLimit(int64(c.cfg.MaxMessageBytes))
	if err := n.greet(dialing); err != nil {
		_ = ws.CloseNow() // it is of no use any more
		return nil, fmt.Errorf("connect to %s: %w", c.cfg.URL, err)
	}
	return n, nil
}

// greet takes the first frame. A server that refuses sends an error in its place and closes.
func (n *conn) greet(ctx context.Context) error {
	for {
		f, err := n.read(ctx)
		switch {
		case err != nil:
			return err
		case f.Event == fault:
			continue // the code comes again with the close
		case f.Event != established:
			return fmt.Errorf("the first frame is %q", f.Event)
		}
		var h hello
		if err := f.read(&h); err != nil {
			return fmt.Errorf("read the first frame: %w", err)
		}
		if err := pusher.CheckSocketID(h.SocketID); err != nil {
			return fmt.Errorf("read the first frame: %w", err)
		}
		n.id = h.SocketID
		n.activity = 2 * time.Minute
		if h.ActivityTimeout > 0 {
			n.activity = min(n.activity, time.Duration(h.ActivityTimeout)*time.Second)
		}
		return nil
	}
}

// read waits for the next frame. When the connection ends, or ctx does, so does the other.
func (n *conn) read(ctx context.Context) (frame, error) {
	n.hear()
	kind, message, err := n.ws.Read(ctx)
	n.waiting.Store(-1)
	var f frame
	var closed websocket.CloseError
	switch {
	case err == nil && kind != websocket.MessageText:
		return f, errors.New("the server sent a binary message")
	case err == nil:
		if err := json.Unmarshal(message, &f); err != nil {
			return f, fmt.Errorf("read a frame: %w", err)
		}
		return f, nil
	case ctx.Err() != nil:
		return f, context.Cause(ctx)
	case errors.As(err, &closed):
		return f, &CloseError{Code: int(closed.Code), Reason: closed.Reason}
	}
	return f, fmt.Errorf("read a frame: %w", err)
}

// hear notes that the tail waits and that up to now there was no silence.
func (n *conn) hear() { n.waiting.Store(int64(time.Since(n.opened))) }

// write sends a message.
func (n *conn) write(ctx context.Context, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, n.pong)
	defer cancel()
	return n.ws.Write(ctx, websocket.MessageText, message)
}

// keep asks a silent server whether it is there, and ends the context of who waits for a frame when
// it isn't. It returns when ctx ends.
func (n *conn) keep(ctx context.Context, end context.CancelCauseFunc) {
	timer := time.NewTimer(n.activity)
	defer timer.Stop()
	asked := int64(-1) // the waiting during which the server was asked
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		since := n.waiting.Load()
		quiet := time.Since(n.opened) - time.Duration(since)
		switch {
		case since < 0: // the silence begins with the next wait, at the earliest now
			timer.Reset(n.activity)
		case since == asked:
			end(errSilent)
			return
		case quiet < n.activity:
			timer.Reset(n.activity - quiet)
		default:
			if err := n.write(ctx, pingFrame); err != nil {
				end(fmt.Errorf("ask a silent server: %w", err))
				return
			}
			asked = since
			timer.Reset(n.pong)
		}
	}
}

var (
	pingFrame = []byte(`{"event":"pusher:ping","data":{}}`)
	pongFrame = []byte(`{"event":"pusher:pong","data":{}}`)
)

// close hangs up, with a word where the other side is likely to be there.
func (n *conn) close(polite bool) {
	if polite {
		_ = n.ws.Close(websocket.StatusNormalClosure, "") // nothing is lost with an error
		return
	}
	_ = n.ws.CloseNow() // nothing is lost with an error
}
