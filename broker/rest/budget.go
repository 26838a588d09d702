package rest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/playhead/playhead/broker"
)

// purpose is what an app has a budget for.
type purpose int

const (
	publishing purpose = iota // an event to one channel
	reading                   // a question
	purposes
)

// overLimit says that an app does something too often.
type overLimit struct {
	limit string // its name in the configuration
	rate  int
	what  string
	wait  time.Duration
}

func (e *overLimit) Error() string {
	return fmt.Sprintf("Rate limit exceeded: at most %d %s per second are allowed (%s)", e.rate, e.what, e.limit)
}

// retryAfter is after how many whole seconds trying again makes sense.
func (e *overLimit) retryAfter() string {
	return strconv.FormatInt(int64((e.wait+time.Second-1)/time.Second), 10)
}

// spend takes n from the app's budget for a purpose, if there is so much in it.
func (a *API) spend(app *broker.App, p purpose, n int) error {
	e := &overLimit{limit: "backend_events_per_second", what: "events", rate: app.Limits.BackendEventsPerSecond}
	if p == reading {
		e = &overLimit{limit: "read_requests_per_second", what: "read requests", rate: app.Limits.ReadRequestsPerSecond}
	}
	if e.wait = a.budgets[p].Take(app.ID, broker.Rate{PerSecond: e.rate}, n); e.wait > 0 {
		return e
	}
	return nil
}

// reading makes an endpoint one that answers questions, as often as the app may ask.
func (a *API) reading(do endpoint) endpoint {
	return func(c call) ([]byte, error) {
		if err := a.spend(c.app, reading, 1); err != nil {
			return nil, err
		}
		return do(c)
	}
}
