package boot

import (
	"time"

	"github.com/playhead/playhead/broker"
)

// apps returns the apps a filled configuration means; those of a database once they have been read.
func (c *Config) apps() []broker.App {
	if len(c.Apps) == 0 && c.AppManager.file() {
		return []broker.App{c.DefaultApp.app()}
	}
	list := make([]broker.App, 0, len(c.Apps))
	for _, a := range c.Apps {
		list = append(list, a.app())
	}
	return list
}

func (c *DefaultAppConfig) app() broker.App {
	app := broker.App{
		ID:           broker.AppID(c.ID),
		Credentials:  []broker.Credential{{Key: c.Key, Secret: c.Secret}},
		ClientEvents: c.ClientEvents == On,
	}
	c.settle(&app)
	return app
}

func (c *AppConfig) app() broker.App {
	app := broker.App{
		ID:           broker.AppID(c.ID),
		Disabled:     c.Disabled == On,
		ClientEvents: c.ClientEvents == On,
	}
	for _, p := range c.Credentials {
		app.Credentials = append(app.Credentials, broker.Credential{Key: p.Key, Secret: p.Secret})
	}
	if len(c.Credentials) == 0 {
		app.Credentials = []broker.Credential{{Key: c.Key, Secret: c.Secret}}
	}
	c.settle(&app)
	return app
}

// settle gives an app the settings.
func (c *AppSettings) settle(app *broker.App) {
	app.ReplayClientEvents = c.ReplayClientEvents == On
	app.SubscriptionCount = c.SubscriptionCount == On
	app.Watchlist = c.Watchlist == On
	app.AllowedOrigins = c.AllowedOrigins
	app.AuthorizedConnections = max(time.Duration(c.AuthorizedConnections), 0) // its 0 is none
	app.CacheTTL = max(time.Duration(c.CacheTTL), 0)
	app.Retention = broker.Retention{
		Age:    time.Duration(c.Retention.MaxAge),
		Bytes:  int64(c.Retention.MaxBytes),
		Events: int64(c.Retention.MaxEvents),
	}
	app.Limits = c.Limits.limits()
	for _, w := range c.Webhooks {
		app.Webhooks = append(app.Webhooks, w.endpoint())
	}
}

func (c *WebhookConfig) endpoint() broker.Endpoint {
	return broker.Endpoint{
		Name:          c.Name,
		URL:           c.URL,
		Headers:       c.Headers,
		Events:        c.Events,
		ChannelPrefix: c.ChannelPrefix,
		ChannelSuffix: c.ChannelSuffix,
		Batch:         c.Batch == On,
	}
}

func (l LimitsConfig) limits() broker.Limits {
	return broker.Limits{
		DataBytes:                  bound(l.DataBytes),
		ChannelNameChars:           bound(l.ChannelNameChars),
		EventNameChars:             bound(l.EventNameChars),
		ChannelsPerPublish:         bound(l.ChannelsPerPublish),
		EventsPerBatch:             bound(l.EventsPerBatch),
		PresenceMembers:            bound(l.PresenceMembers),
		PresenceUserIDChars:        bound(l.PresenceUserIDChars),
		PresenceUserInfoBytes:      bound(l.PresenceUserInfoBytes),
		ClientEventsPerSecond:      bound(l.ClientEventsPerSecond),
		Connections:                bound(l.Connections),
		SubscriptionsPerConnection: bound(l.SubscriptionsPerConnection),
		BackendEventsPerSecond:     bound(l.BackendEventsPerSecond),
		ReadRequestsPerSecond:      bound(l.ReadRequestsPerSecond),
	}
}

// bound gives a limit to a package whose 0 is its default, or none where that is the default.
func bound[N Count | Size](n N) int { return max(int(n), 0) }

// developmentSecret is the default app's, which everybody knows.
const developmentSecret = "app-secret"

// forDevelopment says that whoever knows this server's documentation can publish.
func (c *Config) forDevelopment() bool {
	for _, a := range c.apps() {
		for _, p := range a.Credentials {
			if p.Secret == developmentSecret {
				return true
			}
		}
	}
	return false
}
