package rest

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/playhead/playhead/broker"
)

// purpose is what an app has a budget for.
type purpose string

const (
	publishing purpose = "publish/" // an event to one channel
	reading    purpose = "read/"    // a question
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
func (a *API) spend(ctx context.Context, app *broker.App, p purpose, n int) error {
	over := overLimit{limit: "backend_events_per_second", what: "events", rate: app.Limits.BackendEventsPerSecond}
	if p == reading {
		over = overLimit{limit: "read_requests_per_second", what: "read requests", rate: app.Limits.ReadRequestsPerSecond}
	}
	if over.rate <= 0 {
		return nil
	}
	if over.wait = a.cfg.Limiter.Take(ctx, string(p)+string(app.ID), broker.Rate{PerSecond: over.rate}, n); over.wait > 0 {
		refused := over // only then is it worth memory
		return &refused
	}
	return nil
}

// reading makes an endpoint one that answers questions, as often as the app may ask.
func (a *API) reading(do endpoint) endpoint {
	return func(c call) ([]byte, error) {
		if err := a.spend(c.Context(), c.app, reading, 1); err != nil {
			return nil, err
		}
		return do(c)
	}
}
