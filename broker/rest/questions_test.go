package rest

import (
	"testing"

	"github.com/playhead/playhead/broker"
)

// Checklist 117, 118, 119 and 121.
func TestQuestions(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.join(t, "presence-a", "1.1", "10")
	s.join(t, "presence-a", "1.2", "10")
	s.join(t, "presence-a", "1.3", `o"<é`)
	s.join(t, "presence-b.c", "1.1", "10")
	s.join(t, "plain", "1.1", "")
	s.join(t, "private-encrypted-x", "1.1", "")
	s.join(t, "#server-to-user-10", "1.1", "")
	for name, v := range map[string]struct {
		path, query string
		want        int
		body        string
	}{
		"all channels":              {"channels", "", 200, `{"channels":{"plain":{},"presence-a":{},"presence-b.c":{},"private-encrypted-x":{}}}`},
		"by prefix":                 {"channels", "filter_by_prefix=presence-b", 200, `{"channels":{"presence-b.c":{}}}`},
		"prefix of none":            {"channels", "filter_by_prefix=zzz", 200, `{"channels":{}}`},
		"empty prefix":              {"channels", "filter_by_prefix=", 200, `{"channels":{"plain":{},"presence-a":{},"presence-b.c":{},"private-encrypted-x":{}}}`},
		"users' own stay hidden":    {"channels", "filter_by_prefix=%23server-to-user-", 200, `{"channels":{}}`},
		"user_count":                {"channels", "filter_by_prefix=presence-&info=user_count", 200, `{"channels":{"presence-a":{"user_count":2},"presence-b.c":{"user_count":1}}}`},
		"user_count without prefix": {"channels", "info=user_count", 400, `user_count may only be requested for presence channels - please supply filter_by_prefix beginning with presence-`},
		"user_count, other prefix":  {"channels", "filter_by_prefix=pres&info=user_count", 400, `user_count may only be requested for presence channels - please supply filter_by_prefix beginning with presence-`},
		"subscription_count":        {"channels", "filter_by_prefix=p&info=subscription_count", 200, `{"channels":{"plain":{"subscription_count":1},"presence-a":{"subscription_count":3},"presence-b.c":{"subscription_count":1},"private-encrypted-x":{"subscription_count":1}}}`},
		"unknown attribute":         {"channels", "info=color", 400, `Invalid info: unknown attribute "color"; known are user_count and subscription_count`},
		"unknown parameter":         {"channels", "page=2&filter_by_prefix=plain", 200, `{"channels":{"plain":{}}}`},

		"channel":                         {"channels/plain", "", 200, `{"occupied":true}`},
		"channel with counts":             {"channels/presence-a", "info=user_count,subscription_count", 200, `{"occupied":true,"user_count":2,"subscription_count":3}`},
		"channel with one count":          {"channels/presence-a", "info=subscription_count", 200, `{"occupied":true,"subscription_count":3}`},
		"subscription_count of plain":     {"channels/plain", "info=subscription_count", 200, `{"occupied":true,"subscription_count":1}`},
		"nobody's channel":                {"channels/unknown", "", 200, `{"occupied":false}`},
		"nobody's channel with counts":    {"channels/presence-z", "info=user_count,subscription_count", 200, `{"occupied":false,"user_count":0,"subscription_count":0}`},
		"a user's own":                    {"channels/%23server-to-user-10", "", 200, `{"occupied":true}`},
		"user_count of no presence":       {"channels/plain", "info=user_count", 400, `Cannot retrieve the user count unless the channel is a presence channel`},
		"user_count of nobody's":          {"channels/unknown", "info=subscription_count,user_count", 400, `Cannot retrieve the user count unless the channel is a presence channel`},
		"unknown attribute of a channel":  {"channels/plain", "info=user_count,", 400, `Invalid info: unknown attribute ""; known are user_count, subscription_count and cache`},
		"cache of no cache channel":       {"channels/plain", "info=cache", 400, `Cannot retrieve the cache unless the channel is a cache channel`},
		"cache of an unlikely name":       {"channels/mycache-x", "info=cache", 400, `Cannot retrieve the cache unless the channel is a cache channel`},
		"cache of all channels":           {"channels", "info=cache", 400, `Invalid info: unknown attribute "cache"; known are user_count and subscription_count`},
		"position of a channel":           {"channels/plain", "info=position", 400, `Invalid info: unknown attribute "position"; known are user_count, subscription_count and cache`},
		"position of all channels":        {"channels", "info=position", 400, `Invalid info: unknown attribute "position"; known are user_count and subscription_count`},
		"cache where there is none":       {"channels/cache-x", "info=cache", 200, `{"occupied":false,"cache":null}`},
		"a name that is none":             {"channels/a%20b", "", 400, `Invalid channel name 'a b': character ' ' is not allowed`},
		"a name with an escaped slash":    {"channels/a%2Fb", "", 400, `Invalid channel name 'a/b': character '/' is not allowed`},
		"users":                           {"channels/presence-a/users", "", 200, `{"users":[{"id":"10"},{"id":"o\"\u003cé"}]}`},
		"users of nobody's":               {"channels/presence-z/users", "", 200, `{"users":[]}`},
		"users of no presence":            {"channels/plain/users", "", 400, `Users can only be retrieved for presence channels`},
		"users of nobody's, no presence":  {"channels/presence/users", "", 400, `Users can only be retrieved for presence channels`},
		"users of a bad name":             {"channels/presence-%C3%A9/users", "", 400, `Invalid channel name 'presence-é': character 'é' is not allowed`},
		"users with an extraneous param.": {"channels/presence-z/users", "info=user_count", 200, `{"users":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, body := s.do(t, "GET", "/apps/3/"+v.path, v.query, ""); status != v.want || body != v.body {
				t.Errorf("%d %s\nwant %d %s", status, body, v.want, v.body)
			}
		})
	}
}

// The same channel of another app is another channel, and one app's credentials open no other.
func TestAppsAreApart(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *Config, _ *broker.App) {
		apps := c.Apps.(appsOf)
		apps["4"] = &broker.App{ID: "4", Credentials: []broker.Credential{credential}, Limits: broker.Limits{}.WithDefaults()}
		apps["5"] = &broker.App{ID: "5", Credentials: []broker.Credential{{Key: "5", Secret: "5"}}, Limits: broker.Limits{}.WithDefaults()}
	})
	s.join(t, "presence-a", "1.1", "10")
	for path, want := range map[string]string{
		"channels":                  `{"channels":{}}`,
		"channels/presence-a":       `{"occupied":false}`,
		"channels/presence-a/users": `{"users":[]}`,
	} {
		if status, body := s.do(t, "GET", "/apps/4/"+path, "", ""); status != 200 || body != want {
			t.Errorf("app 4, %s: %d %s, want 200 %s", path, status, body, want)
		}
		if status, body := s.do(t, "GET", "/apps/5/"+path, "", ""); status != 401 {
			t.Errorf("app 5, %s: %d %s, want 401", path, status, body)
		}
	}
}
