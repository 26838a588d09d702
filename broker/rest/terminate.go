package rest

import (
	"errors"
	"fmt"
)

// errUntold is that other nodes may not have been told of an order.
var errUntold = errors.New("not told")

// terminate ends the connections that are signed in as a user. What the body says is of no
// importance, and neither is whether there are any.
func (a *API) terminate(c call) ([]byte, error) {
	if err := a.cfg.Presence.Terminate(c.Context(), c.app.ID, c.PathValue("user")); err != nil {
		return nil, fmt.Errorf("%w: %w", errUntold, err)
	}
	return []byte("{}"), nil
}
