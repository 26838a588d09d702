package ws

import (
	"context"
	"errors"
	"strings"

	"github.com/playhead/playhead/broker"
)

// signer returns the app whose credentials an auth is checked against: the session's, as it is now
// and not as it was when the client came, so that a pair that was added is good on connections that
// are older, and one that was removed is good on none. Where the app can't be looked up the session
// keeps to the credentials it knows.
func (s *session) signer(ctx context.Context, auth string) *broker.App {
	key, _, _ := strings.Cut(auth, ":")
	now, err := s.server.cfg.Apps.ByKey(ctx, key)
	switch {
	case err == nil && now.ID == s.app.ID:
		return now
	case err == nil, errors.Is(err, broker.ErrNoApp):
		return &broker.App{ID: s.app.ID} // whom no key belongs to
	}
	return s.app
}
