package webhook

import (
	"context"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// follow starts and ends the followers, so that there is one for each app that allows client events and
// has an endpoint that wants them. It is called by Run alone, which owns followed.
func (w *Webhooks) follow(ctx context.Context, running *sync.WaitGroup, followed map[broker.AppID]context.CancelFunc) {
	w.mu.Lock()
	since := w.since
	w.mu.Unlock()
	for app, end := range followed {
		if _, ok := since[app]; !ok {
			delete(followed, app)
			end()
		}
	}
	for app, at := range since {
		if followed[app] != nil {
			continue
		}
		ctx, end := context.WithCancel(ctx)
		followed[app] = end
		running.Go(func() {
			defer end()
			w.followApp(ctx, app, at)
		})
	}
}

// followApp puts the client events of an app into the queue, from the log and in its order, until ctx
// ends. A crash between the put and the next turn of the loop leaves events that are put again; by
// their IDs the queue knows them, for as long as it remembers those.
func (w *Webhooks) followApp(ctx context.Context, app broker.AppID, since time.Time) {
	for ctx.Err() == nil {
		for events, err := range w.cfg.Source.Follow(ctx, app, since) {
			if err != nil {
				if !ended(ctx, err) {
					w.cfg.Logger.Warn("client events are told later: they can't be followed", "app", app, "err", err)
				}
				break
			}
			var letters []*broker.Letter
			all := w.endpoints.Load()
			for _, e := range events {
				letters = w.clientLetters(letters, all, e)
			}
			if !w.put(ctx, letters) {
				break
			}
		}
		pause(ctx, workerPause)
	}
	w.mu.Lock()
	_, wanted := w.since[app]
	w.mu.Unlock()
	if wanted {
		return // the node ends; the next run goes on here
	}
	try, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.Timeout)
	defer cancel()
	if err := w.cfg.Source.Unfollow(try, app); err != nil {
		w.cfg.Logger.Warn("client events that come from now on are told if an endpoint wants them again", "app", app, "err", err)
	}
}

// clientLetters appends a letter of a client event for each endpoint that wants it.
func (w *Webhooks) clientLetters(letters []*broker.Letter, all *endpoints, e *broker.Event) []*broker.Letter {
	id := e.Position.String() // an event's own ID may be used again after a while
	if id == "" {
		id = e.ID
	}
	var body []byte
	for _, to := range all.byApp[e.App] {
		if !to.tells(pusher.WebhookClientEvent, e.Channel) {
			continue
		}
		if body == nil {
			body = pusher.AppendWebhookClientEvent(nil, e)
		}
		letters = append(letters, &broker.Letter{
			ID:       id + "/" + to.name,
			App:      e.App,
			Endpoint: to.name,
			Time:     e.Time,
			Body:     body,
		})
		w.metrics.queued.WithLabelValues(string(e.App), pusher.WebhookClientEvent).Inc()
	}
	return letters
}
