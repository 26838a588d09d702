package ws

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

const (
	// admitTimeout bounds how long a client waits for its first frame, most of it for the
	// app's tail to stand. pusher-js waits 15 s.
	admitTimeout = 8 * time.Second

	// refusalGrace is how long a refused client has to read why.
	refusalGrace = 2 * time.Second
)

// protocols that are served. They differ in nothing a server sends.
const (
	oldestProtocol = 4
	newestProtocol = 7
)

// ServeHTTP serves GET {prefix}/app/{key}. A client that can't be served is upgraded all the same
// and then closed with a code, because browsers show scripts nothing of a failed upgrade. What is
// no WebSocket handshake is answered in HTTP. It returns when the connection is established or
// refused.
func (srv *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, known := srv.appKey(r.URL.Path)
	if !isHandshake(r) {
		srv.metrics.connected("not_websocket")
		if !known {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Sec-WebSocket-Version", version)
		http.Error(w, "This is a WebSocket endpoint.", http.StatusUpgradeRequired)
		return
	}
	s := &session{server: srv}
	refused := pathNotFound
	query := r.URL.Query()
	if known {
		refused = srv.admit(r, key, query.Get("protocol"), s)
	}
	if err := s.upgrade(w, r); err != nil {
		srv.metrics.connected("not_websocket")
		srv.cfg.Logger.Debug("no WebSocket handshake", "err", err)
		s.withdraw()
		return
	}
	if refused == "" && !srv.arrive(s, s.greet(query.Get("replay") == "1")) {
		refused = draining
	}
	if refused != "" {
		srv.metrics.connected(refused)
		s.withdraw()
		s.turnAway(refused, key)
		return
	}
	srv.metrics.connected("established")
}

// version is that of WebSocket, the only one.
const version = "13"

// isHandshake reports whether a request asks for the WebSocket that is spoken here. What else is
// wrong with it the library answers.
func isHandshake(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		r.Header.Get("Sec-WebSocket-Version") == version && r.ProtoAtLeast(1, 1)
}

// appKey takes the key out of a path.
func (srv *Server) appKey(path string) (string, bool) {
	key, ok := strings.CutPrefix(path, srv.cfg.PathPrefix+"/app/")
	return key, ok && key != "" && !strings.Contains(key, "/")
}

// admit finds what the session needs, or says why it can't have it. What was reserved by then is
// given back by [session.withdraw].
func (srv *Server) admit(r *http.Request, key, protocol string, s *session) (refused broker.Reason) {
	if !protocolServed(protocol) {
		return versionUnsupported
	}
	ctx, cancel := context.WithTimeout(r.Context(), admitTimeout)
	defer cancel()
	app, err := srv.cfg.Apps.ByKey(ctx, key)
	switch {
	case errors.Is(err, broker.ErrNoApp):
		return unknownApp
	case err != nil:
		srv.cfg.Logger.Warn("app can't be looked up", "err", err)
		return unavailable
	case app.Disabled:
		return appDisabled
	case !originAllowed(app.AllowedOrigins, r.Header.Get("Origin")):
		return originNotAllowed
	}
	if refused := srv.reserve(app); refused != "" {
		return refused
	}
	s.app = app
	feed, err := srv.cfg.Node.Feed(ctx, app.ID)
	if err != nil {
		srv.cfg.Logger.Warn("connection refused, the app's log can't be followed", "app", app.ID, "err", err)
		return unavailable
	}
	s.feed = feed
	return ""
}

// protocolServed reports whether a client speaks a protocol of ours. One that doesn't say is taken
// for the newest: those are people with a command line.
func protocolServed(version string) bool {
	if version == "" {
		return true
	}
	v, err := strconv.Atoi(version)
	return err == nil && oldestProtocol <= v && v <= newestProtocol
}

// upgrade makes the connection a WebSocket, with our conn beneath. An error has been answered.
func (s *session) upgrade(w http.ResponseWriter, r *http.Request) error {
	srv := s.server
	f := srv.flushers[srv.next.Add(1)%uint32(len(srv.flushers))]
	var err error
	s.ws, err = websocket.Accept(&hijacked{
		ResponseWriter: w,
		conn:           &s.conn,
		take: func(under net.Conn, early []byte) {
			s.conn.init(under, early, f, &srv.heartbeat.clock, srv.cfg.QueueBytes)
		},
	}, r, &websocket.AcceptOptions{
		Subprotocols:       []string{pusher.Subprotocol},
		InsecureSkipVerify: true, // the app says which origins may connect, by default any
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return err
	}
	s.ws.SetReadLimit(int64(srv.cfg.MaxMessageBytes))
	return nil
}

// greet gives the session its id, and returns its first frame; positioned says that the client has opted
// in to positions.
func (s *session) greet(positioned bool) []byte {
	s.id = pusher.NewSocketID()
	var window *time.Duration
	if positioned {
		s.positioned.Store(true)
		remembered := s.server.cfg.Replay.WindowOf(s.app)
		window = &remembered
	}
	return textFrame(pusher.AppendConnectionEstablished(reserve(192), s.id, s.server.cfg.ActivityTimeout, window))
}

// withdraw gives back what admit took for a session that never was.
func (s *session) withdraw() {
	if s.feed != nil {
		s.feed.Release()
	}
	if s.app != nil {
		s.server.unreserve(s.app)
	}
}

// turnAway tells a client why it is not served, waits a little for it to leave, and closes. There
// is no session yet: nothing is queued, and nobody else knows the connection.
func (s *session) turnAway(why broker.Reason, key string) {
	code, text := s.server.cfg.closing(why)
	if why == unknownApp {
		text = pusher.UnknownApp(key)
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(refusalGrace)) // errors mean that it is closed, and Write says so
	if _, err := s.conn.Conn.Write(goodbye(code, text)); err == nil {
		s.conn.endOutput()
		s.conn.linger(refusalGrace)
	}
	_ = s.ws.CloseNow() // the library's half; it closes nothing of ours
	s.conn.shut()
}
