// Package ws serves WebSocket clients: a session per connection, its outbound queue drained by a
// few flushers, its input read when there is some.
//
// A [Server] is an [net/http.Handler]. A request for a connection is upgraded in net/http's
// goroutine, which then ends; from there on [Server.Run] owns everything that moves: a reader per
// session, the flushers, and the heartbeat. Frames of one connection are processed strictly in the
// order in which they came; what goes out passes one queue per connection, whoever sends it.
//
// DESIGN.md says why it is built this way, and what was measured.
package ws
