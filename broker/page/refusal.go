package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

var (
	errMethod   = errors.New("method not allowed")
	errForeign  = errors.New("request of another site's page")
	errType     = errors.New("body is not JSON")
	errBodySize = errors.New("body too large")
	errDisabled = errors.New("app disabled")
)

// invalid says what is wrong with a request, in words for who looks at the page.
type invalid string

func (e invalid) Error() string { return string(e) }

func invalidf(format string, args ...any) error { return invalid(fmt.Sprintf(format, args...)) }

// refusal chooses the status and the text that an error is answered with. Which error it was is
// written out where the page can show it; what is wrong inside the server is not.
func refusal(err error) (status int, text string) {
	var bad invalid
	switch {
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed, "Method not allowed"
	case errors.Is(err, errForeign):
		return http.StatusForbidden, "Only the test page itself may ask this"
	case errors.Is(err, errType):
		return http.StatusUnsupportedMediaType, "Expected a body of type application/json"
	case errors.Is(err, errBodySize), errors.Is(err, pusher.ErrDataSize):
		return http.StatusRequestEntityTooLarge, err.Error()
	case errors.Is(err, broker.ErrNoApp):
		return http.StatusNotFound, "The app of the test page is no longer configured"
	case errors.Is(err, errDisabled):
		return http.StatusForbidden, "The app of the test page is disabled"
	case errors.As(err, &bad),
		errors.Is(err, pusher.ErrChannelName), errors.Is(err, pusher.ErrChannelLength),
		errors.Is(err, pusher.ErrEventName), errors.Is(err, pusher.ErrSocketID),
		errors.Is(err, pusher.ErrChannelData), errors.Is(err, pusher.ErrMemberSize), errors.Is(err, pusher.ErrUserData):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, broker.ErrUnavailable), errors.Is(err, broker.ErrClosed),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable, "Not stored, or perhaps not: the log is unavailable. Sent again it may come twice."
	}
	return http.StatusInternalServerError, "Internal server error"
}

// refuse answers an error, and logs those that are nobody's mistake on the page.
func (p *Page) refuse(w http.ResponseWriter, err error) {
	status, text := refusal(err)
	if status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		p.cfg.Logger.Warn("request of the test page refused", "app", p.cfg.App, "err", err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	p.send(w, map[string]string{"error": text})
}

// send writes a value as JSON. Who has left by then doesn't miss it.
func (p *Page) send(w io.Writer, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.cfg.Logger.Debug("answer to the test page not sent", "err", err)
	}
}

// readBody reads a request's body. Errors: errBodySize, and invalid for one that was cut off.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, fmt.Errorf("%w: at most %d bytes are allowed", errBodySize, over.Limit)
	case err != nil:
		return nil, invalidf("The body did not arrive: %v", err)
	}
	return body, nil
}

// decode reads a body's JSON.
func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return invalidf("Invalid body: %v", err)
	}
	return nil
}
