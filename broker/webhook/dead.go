package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/playhead/playhead/broker"
)

const (
	// deadDefault and deadMost are how many dead letters one answer has.
	deadDefault = 100
	deadMost    = 1000
	// retryBody bounds the body of a retry, in bytes.
	retryBody = 1 << 20
)

// DeadList is what [Webhooks.DeadHandler] answers to GET.
type DeadList struct {
	Dead []Dead `json:"dead"`
	More bool   `json:"more"` // there are more than were asked for
}

// Dead is an event that could not be delivered.
type Dead struct {
	Number   uint64          `json:"number"` // for RetryRequest
	App      broker.AppID    `json:"app"`
	Endpoint string          `json:"endpoint"`
	Time     time.Time       `json:"time"` // when it happened
	Died     time.Time       `json:"died"` // when it was given up
	Why      string          `json:"why"`
	Event    json.RawMessage `json:"event"` // as the endpoint would have read it
}

// RetryRequest is what [Webhooks.DeadHandler] takes by POST: the numbers of dead events, or all.
type RetryRequest struct {
	Numbers []uint64     `json:"numbers,omitempty"`
	All     bool         `json:"all,omitempty"`
	App     broker.AppID `json:"app,omitempty"` // with All: only those of this app
}

// RetryAnswer says how many were put into the queue again.
type RetryAnswer struct {
	Retried int `json:"retried"`
}

// DeadHandler serves what could not be delivered. It is for operators: mount it where only they reach
// it. GET lists ([DeadList]); the query may have app and limit (100 when absent, at most 1,000). POST
// with a [RetryRequest] delivers again and is answered with a [RetryAnswer]. Errors are text.
func (w *Webhooks) DeadHandler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Cache-Control", "no-store")
		var answer any
		var status int
		var err error
		switch req.Method {
		case http.MethodGet:
			answer, status, err = w.listDead(req)
		case http.MethodPost:
			answer, status, err = w.retryDead(rw, req)
		default:
			rw.Header().Set("Allow", "GET, POST")
			status, err = http.StatusMethodNotAllowed, errors.New("only GET and POST are served here")
		}
		if err != nil {
			http.Error(rw, err.Error(), status)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(answer) // whoever asked has gone
	})
}

func (w *Webhooks) listDead(req *http.Request) (any, int, error) {
	query := req.URL.Query()
	limit := deadDefault
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > deadMost {
			return nil, http.StatusBadRequest, fmt.Errorf("limit: %q is no number from 1 to %d", text, deadMost)
		}
		limit = n
	}
	list := DeadList{Dead: []Dead{}}
	for d, err := range w.cfg.Archive.Dead(req.Context(), broker.AppID(query.Get("app"))) {
		if err != nil {
			return nil, http.StatusServiceUnavailable, err
		}
		if len(list.Dead) == limit {
			list.More = true
			break
		}
		event := json.RawMessage(d.Body)
		if !json.Valid(event) {
			event, _ = json.Marshal(string(d.Body)) // a string always can be
		}
		list.Dead = append(list.Dead, Dead{
			Number: d.Number, App: d.App, Endpoint: d.Endpoint,
			Time: d.Time, Died: d.Died, Why: d.Why, Event: event,
		})
	}
	return list, http.StatusOK, nil
}

func (w *Webhooks) retryDead(rw http.ResponseWriter, req *http.Request) (any, int, error) {
	var ask RetryRequest
	decoder := json.NewDecoder(http.MaxBytesReader(rw, req.Body, retryBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&ask); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("body: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, http.StatusBadRequest, errors.New("body: something follows the JSON object")
	}
	if ask.All == (len(ask.Numbers) > 0) || !ask.All && ask.App != "" {
		return nil, http.StatusBadRequest, errors.New("body: either numbers, or all and perhaps app")
	}
	if ask.All {
		for d, err := range w.cfg.Archive.Dead(req.Context(), ask.App) {
			if err != nil {
				return nil, http.StatusServiceUnavailable, err
			}
			ask.Numbers = append(ask.Numbers, d.Number)
		}
	}
	n, err := w.Retry(req.Context(), ask.Numbers...)
	if err != nil {
		return nil, http.StatusServiceUnavailable, fmt.Errorf("%d of %d retried: %w", n, len(ask.Numbers), err)
	}
	return RetryAnswer{Retried: n}, http.StatusOK, nil
}
