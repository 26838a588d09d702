package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/playhead/playhead/broker"
)

// StatusError is an answer other than 200 to a request.
type StatusError struct {
	Status  int
	Reason  Reason // why there is no history; empty for all other errors
	Message string // in the server's words
}

// Error tells the status and the server's words.
func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s: %s", e.Status, http.StatusText(e.Status), e.Message))
}

// temporary reports whether the same request may be answered otherwise after a while.
func (e *StatusError) temporary() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// newStatusError reads an answer. The reason, where there is one, is its first word.
func newStatusError(status int, body []byte) *StatusError {
	e := &StatusError{Status: status, Message: strings.TrimSpace(string(body))}
	word := e.Message
	if i := strings.IndexFunc(word, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }); i >= 0 {
		word = word[:i]
	}
	if r := Reason(word); r.known() {
		e.Reason = r
	}
	return e
}

// CloseError is a close of the connection by the server, with a code and the server's reason. A
// [Client.Tail] ends with one only when the code, 4000 to 4099, tells the client to stay away.
type CloseError struct {
	Code   int
	Reason string
}

// Error tells the code and the reason.
func (e *CloseError) Error() string {
	return fmt.Sprintf("closed by the server: %d %s", e.Code, e.Reason)
}

// SubscriptionError is a subscription that the server did not accept. A [Client.Tail] ends with it.
type SubscriptionError struct {
	Channel broker.Channel
	Type    string // the protocol's: AuthError, LimitReached …
	Status  int    // the protocol's, not HTTP's in all cases
	Message string
}

// Error tells the channel and the server's words.
func (e *SubscriptionError) Error() string {
	return fmt.Sprintf("subscription of %s refused: %s %d: %s", e.Channel, e.Type, e.Status, e.Message)
}

// Why a tail's connection ends without a word of the server's.
var (
	errSilent  = errors.New("the server is silent and doesn't answer a ping")
	errStopped = errors.New("the loop was left")
	errBehind  = errors.New("more was missed than is replayed")
)
