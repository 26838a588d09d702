package client

import (
	"context"
	"strings"
	"testing"
	"time"
)

// What is a mistake is told before anything is connected to, and what the server refuses ends the
// tail.
func TestTailRefused(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	for name, tt := range map[string]struct {
		edit func(*Config)
		subs []Subscription
		want string
	}{
		"nothing":        {nil, nil, "tail: no subscription"},
		"no name":        {nil, subscriptions(""), "tail: : "},
		"bad name":       {nil, subscriptions("a/b"), "a/b"},
		"twice":          {nil, subscriptions("a", "a"), "tail: a: subscribed twice"},
		"a user's own":   {nil, subscriptions("#server-to-user-1"), "can't be followed"},
		"no member":      {nil, subscriptions("presence-a"), "tail: presence-a: channel data: required"},
		"no secret":      {func(cfg *Config) { cfg.Secret = "" }, subscriptions("private-a"), "tail: private-a: secret: required"},
		"both":           {nil, []Subscription{{Channel: "a", After: "p", Rewind: Rewind{Last: 1}}}, "exclude each other"},
		"two rewinds":    {nil, []Subscription{{Channel: "a", Rewind: Rewind{Last: 1, Within: 1}}}, "one of last, within and since"},
		"long rewind":    {nil, []Subscription{{Channel: "a", Rewind: Rewind{Last: 1_001}}}, "not between 1 and 1,000"},
		"backward":       {nil, []Subscription{{Channel: "a", Rewind: Rewind{Within: -1}}}, "negative"},
		"wrong secret":   {func(cfg *Config) { cfg.Secret = "x" }, subscriptions("private-a"), "subscription of private-a refused: AuthError 401: "},
		"bad member":     {nil, []Subscription{{Channel: "presence-a", ChannelData: "{}"}}, "subscription of presence-a refused: InvalidData 400: "},
		"unknown key":    {func(cfg *Config) { cfg.Key = "x" }, subscriptions("a"), "closed by the server: 4001 "},
		"other server":   {func(cfg *Config) { cfg.URL += "/nowhere" }, subscriptions("a"), "404 Not Found"},
		"too big for us": {func(cfg *Config) { cfg.MaxMessageBytes = 60 }, subscriptions("a"), "message too big"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var errs []string
			for e, err := range h.client(tt.edit).Tail(ctx, TailOptions{Subscriptions: tt.subs}) {
				if err == nil {
					t.Errorf("event %+v", e)
					continue
				}
				errs = append(errs, err.Error())
			}
			if len(errs) != 1 || !strings.Contains(errs[0], tt.want) {
				t.Errorf("errors %q, want one with %q", errs, tt.want)
			}
		})
	}
}

// A tail ends with its context, without an error, also while there is no server.
func TestTailEndsWithItsContext(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	h.lines.accept(false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lost := 0
	opts := TailOptions{Subscriptions: subscriptions("a"), Lost: func(err error, _ time.Duration) {
		if lost++; lost == 3 {
			cancel()
		}
		if err == nil {
			t.Error("no reason")
		}
	}}
	for e, err := range h.client(nil).Tail(ctx, opts) {
		t.Errorf("%+v, %v", e, err)
	}
	if lost != 3 {
		t.Errorf("ended after %d attempts", lost)
	}
}
