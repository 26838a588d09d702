package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

var (
	errPath     = errors.New("no such path")
	errMethod   = errors.New("method not allowed")
	errDisabled = errors.New("app disabled")
	errBodySize = errors.New("body too large")
	errSlow     = errors.New("body did not arrive in time")
	errUnread   = errors.New("last event can't be read")
)

// invalid says what is wrong with a request, in words for its sender.
type invalid string

func (e invalid) Error() string { return string(e) }

func invalidf(format string, args ...any) error { return invalid(fmt.Sprintf(format, args...)) }

// statusGone marks, in the metrics only, a request whose caller left before there was an answer.
const statusGone = 499

// retry ends the answer to a publish of which we don't know whether it was stored.
const retry = " Sending it again is safe: at worst it was stored after all and is delivered twice."

// refusal chooses the status and the text that an error is answered with.
func refusal(err error) (status int, text string) {
	var bad invalid
	var over *overLimit
	switch {
	case errors.Is(err, broker.ErrNoApp):
		return http.StatusNotFound, "Unknown app_id"
	case errors.Is(err, errPath):
		return http.StatusNotFound, "Not found: the HTTP API has no such path"
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed, "Method not allowed"
	case errors.Is(err, pusher.ErrRequest):
		return http.StatusUnauthorized, err.Error()
	case errors.Is(err, errDisabled):
		return http.StatusForbidden, "Application disabled"
	case errors.As(err, &over):
		return http.StatusTooManyRequests, over.Error()
	case errors.Is(err, errSlow):
		return http.StatusRequestTimeout, "Request timeout: the body did not arrive in time"
	case errors.Is(err, errBodySize):
		return http.StatusRequestEntityTooLarge, "Invalid request body: " + err.Error()
	case errors.Is(err, pusher.ErrDataSize):
		return http.StatusRequestEntityTooLarge, err.Error()
	case errors.As(err, &bad),
		errors.Is(err, pusher.ErrEventName),
		errors.Is(err, pusher.ErrChannelName),
		errors.Is(err, pusher.ErrChannelLength),
		errors.Is(err, pusher.ErrSocketID):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, errUnread) && !errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable, "The channel's cached event can't be read now: the log is unavailable. Asking again is safe."
	case errors.Is(err, errUnread):
		return statusGone, "The request was given up."
	case errors.Is(err, broker.ErrUnavailable), errors.Is(err, broker.ErrClosed):
		return http.StatusServiceUnavailable, "The event was not stored, or may not have been: the log is unavailable." + retry
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "The event was not stored in time, but may be yet." + retry
	case errors.Is(err, context.Canceled):
		return statusGone, "The event was not stored, or may not have been: the request was given up." + retry
	}
	return http.StatusInternalServerError, "Internal server error"
}
