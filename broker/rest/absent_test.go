package rest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/playhead/playhead/broker"
)

// adrift is a registry that has lost sight of the other nodes.
type adrift struct{ Presence }

func (adrift) Standing() bool { return false }

// A node that doesn't know who is where says so, instead of that nobody is there.
func TestAbsent(t *testing.T) {
	t.Parallel()
	s := open(t, func(cfg *Config, _ *broker.App) { cfg.Presence = adrift{cfg.Presence} })
	for _, path := range []string{"/apps/3/channels", "/apps/3/channels/presence-a", "/apps/3/channels/presence-a/users"} {
		w := s.send(s.request(t, "GET", path, "", ""))
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "isn't known here now") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
