package rest

import "github.com/playhead/playhead/broker"

// terminate ends the connections that are signed in as a user. What the body says is of no
// importance, and neither is whether there are any.
func (a *API) terminate(c call) ([]byte, error) {
	for _, s := range a.cfg.Presence.Connections(c.app.ID, c.PathValue("user")) {
		s.Close(broker.Terminated)
	}
	return []byte("{}"), nil
}
