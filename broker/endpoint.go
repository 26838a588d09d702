package broker

import (
	"log/slog"
	"net/url"
)

// Endpoint is where an app's backend is told what happened, by webhook.
type Endpoint struct {
	// Name tells the endpoints of an app apart. What waits for an endpoint is kept under it, so
	// an endpoint with a name of its own may move to another URL and loses nothing. At most 64
	// letters, digits, _ and -. Default: made from the URL.
	Name string

	// URL is posted to; http or https. Required.
	URL string

	// Headers are sent along; they may be secret. They can't replace the protocol's own.
	// Default: none.
	Headers map[string]string

	// Events are what is told, by the event's name ("member_added") or its group:
	// "channel_existence", "presence", "client_events", "cache_channels",
	// "subscription_count". Default: everything.
	Events []string

	// ChannelPrefix and ChannelSuffix leave out channels whose names don't begin and end so.
	// Default: no channel is left out.
	ChannelPrefix, ChannelSuffix string

	// Batch puts several events into one request. Default: one event per request.
	Batch bool
}

// LogValue keeps secrets out of logs: headers, and what may stand in the URL beside the host.
func (e Endpoint) LogValue() slog.Value {
	host := ""
	if u, err := url.Parse(e.URL); err == nil {
		host = u.Host
	}
	return slog.GroupValue(slog.String("name", e.Name), slog.String("host", host))
}
