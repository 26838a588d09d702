package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/replay"
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

// refusal chooses the status and the text that an error is answered with.
func refusal(err error) (status int, text string) {
	var bad invalid
	var over *overLimit
	var un *unstored
	var no *replay.PageError
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
	case errors.Is(err, errUnread), errors.Is(err, errUntold) && errors.Is(err, context.Canceled):
		return statusGone, "The request was given up."
	case errors.Is(err, errAbsent):
		return http.StatusServiceUnavailable, "Who is where isn't known here now: this node has lost sight of the others. Asking again, or another node, is safe."
	case errors.Is(err, errUntold):
		return http.StatusServiceUnavailable, "The user's connections to other nodes may not have been closed: the log is unavailable. Asking again is safe."
	case errors.As(err, &no):
		return noPage(no)
	case errors.As(err, &un):
		return notStored(un)
	}
	return http.StatusInternalServerError, "Internal server error"
}

// notStored chooses them for a publish.
func notStored(e *unstored) (status int, text string) {
	switch {
	case errors.Is(e.cause, broker.ErrUnavailable), errors.Is(e.cause, broker.ErrClosed):
		return http.StatusServiceUnavailable, e.which() + " not stored, or may not have been: the log is unavailable. " + e.again()
	case errors.Is(e.cause, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, e.which() + " not stored in time, but may be yet. " + e.again()
	case errors.Is(e.cause, context.Canceled):
		return statusGone, e.which() + " not stored, or may not have been: the request was given up. " + e.again()
	}
	return http.StatusInternalServerError, "Internal server error"
}

// noPage chooses them for a page of a channel's past. The text of one that is gone for good begins
// with the reason's word, for callers to branch on.
func noPage(e *replay.PageError) (status int, text string) {
	place := "the position"
	if e.Field != "" {
		place += " in " + e.Field
	}
	switch e.Reason {
	case replay.Invalid:
		return http.StatusBadRequest, invalidField(e)
	case replay.Reset:
		return http.StatusGone, "reset: " + place + " is not of this app's log as it is now; leave it out to begin anew"
	case replay.Ahead:
		return http.StatusGone, "ahead: " + place + " lies beyond the end of the log; leave it out to begin anew"
	case replay.Expired:
		return http.StatusGone, "expired: the log no longer holds everything after " + place + "; leave it out to begin with what is left"
	case replay.Unsupported:
		return http.StatusNotImplemented, "unsupported: the medium of this server has no memory, so there is no history"
	case replay.Unavailable:
		if errors.Is(e.Err, context.Canceled) {
			return statusGone, "The request was given up."
		}
		return http.StatusServiceUnavailable, "The channel's history can't be read now: the log is unavailable. Asking again is safe."
	}
	return http.StatusInternalServerError, "Internal server error"
}

// invalidField says what is wrong with a parameter, by its name in the query.
func invalidField(e *replay.PageError) string {
	switch e.Field {
	case "before", "after":
		return "Invalid " + e.Field + ": not a position that this server gave out"
	}
	return "Invalid history request: " + e.Error()
}
