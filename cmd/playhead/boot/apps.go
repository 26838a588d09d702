package boot

import "github.com/playhead/playhead/broker"

// apps returns the apps a filled configuration means.
func (c *Config) apps() []broker.App {
	if len(c.Apps) == 0 {
		return []broker.App{{
			ID:           broker.AppID(c.DefaultApp.ID),
			Credentials:  []broker.Credential{{Key: c.DefaultApp.Key, Secret: c.DefaultApp.Secret}},
			ClientEvents: true,
		}}
	}
	list := make([]broker.App, 0, len(c.Apps))
	for _, a := range c.Apps {
		app := broker.App{
			ID:                 broker.AppID(a.ID),
			Disabled:           a.Disabled == On,
			ClientEvents:       a.ClientEvents == On,
			ReplayClientEvents: a.ReplayClientEvents == On,
			Limits:             a.Limits.limits(),
		}
		for _, p := range a.Credentials {
			app.Credentials = append(app.Credentials, broker.Credential{Key: p.Key, Secret: p.Secret})
		}
		if len(a.Credentials) == 0 {
			app.Credentials = []broker.Credential{{Key: a.Key, Secret: a.Secret}}
		}
		list = append(list, app)
	}
	return list
}

func (l LimitsConfig) limits() broker.Limits {
	return broker.Limits{
		DataBytes:             bound(l.DataBytes),
		ChannelNameChars:      bound(l.ChannelNameChars),
		EventNameChars:        bound(l.EventNameChars),
		ChannelsPerPublish:    bound(l.ChannelsPerPublish),
		EventsPerBatch:        bound(l.EventsPerBatch),
		PresenceMembers:       bound(l.PresenceMembers),
		PresenceUserIDChars:   bound(l.PresenceUserIDChars),
		PresenceUserInfoBytes: bound(l.PresenceUserInfoBytes),
		ClientEventsPerSecond: bound(l.ClientEventsPerSecond),
	}
}

// bound gives a limit to a package whose 0 is its default. A limit can't be none.
func bound[N Count | Size](n N) int { return max(int(n), 0) }

// forDevelopment says that whoever knows this server's documentation can publish.
func (c *Config) forDevelopment() bool {
	for _, a := range c.apps() {
		for _, p := range a.Credentials {
			if p.Secret == "app-secret" {
				return true
			}
		}
	}
	return false
}
