package webhook

import (
	"context"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// Watch returns log as it is, but that client events appended through it are told by webhook. It is for
// media without memory, from which no [Source] could give them: the node that appended an event tells it,
// once it is appended. Those of one sender are told in their order. An event whose Append had an error,
// and those in the buffer when the process is killed, aren't told. With a Source it is log itself.
func (w *Webhooks) Watch(log broker.Log) broker.Log {
	if w.cfg.Source != nil {
		return log
	}
	return &watched{Log: log, w: w}
}

type watched struct {
	broker.Log
	w *Webhooks
}

func (l *watched) Append(ctx context.Context, events ...*broker.Event) error {
	if err := l.Log.Append(ctx, events...); err != nil {
		return err
	}
	for _, e := range events {
		if e.Client {
			l.w.published(e)
		}
	}
	return nil
}

// published puts a client event into the buffer, if an endpoint wants it.
func (w *Webhooks) published(e *broker.Event) {
	for _, to := range w.endpoints.Load().byApp[e.App] {
		if to.follow && to.tells(pusher.WebhookClientEvent, e.Channel) {
			if !w.buffer.add(told{event: e, Notice: broker.Notice{App: e.App}}) {
				w.metrics.drop(e.App, "buffer_full", 1)
			}
			return
		}
	}
}
