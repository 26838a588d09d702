package ws

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// rotating finds the one app that it holds at the moment.
type rotating struct{ app atomic.Pointer[broker.App] }

func (r *rotating) ByKey(_ context.Context, key string) (*broker.App, error) {
	app := r.app.Load()
	if app == nil {
		return nil, errors.New("database away")
	}
	if _, ok := app.Secret(key); !ok {
		return nil, broker.ErrNoApp
	}
	return app, nil
}

// An old connection takes what a new pair has signed, and no longer what a removed one has; with
// the apps out of reach it keeps to the pairs it came with.
func TestRotation(t *testing.T) {
	t.Parallel()
	found := &rotating{}
	h := start(t, func(h *harness, cfg *Config) {
		found.app.Store(h.app)
		cfg.Apps = found
	})
	c := h.dial("")
	fresh := broker.Credential{Key: "fresh", Secret: "fresh secret"}
	subscribe := func(by broker.Credential, ch broker.Channel) {
		c.send(`{"event":"pusher:subscribe","data":{"channel":%q,"auth":%q}}`, ch, pusher.SignChannel(by, c.id, ch, nil))
	}
	signIn := func(by broker.Credential) {
		const user = `{"id":"1"}`
		c.send(`{"event":"pusher:signin","data":{"auth":%q,"user_data":%q}}`, pusher.SignUser(by, c.id, user), user)
	}

	subscribe(fresh, "private-early")
	c.refusal("private-early")

	rotated := *h.app
	rotated.Credentials = []broker.Credential{fresh}
	found.app.Store(&rotated)
	subscribe(fresh, "private-new")
	c.expect("pusher_internal:subscription_succeeded")
	subscribe(cred, "private-old")
	c.refusal("private-old")
	signIn(cred)
	c.complaint()
	signIn(fresh)
	c.expect("pusher:signin_success")

	other := rotated
	other.ID = "another app"
	found.app.Store(&other)
	subscribe(fresh, "private-other")
	c.refusal("private-other")

	found.app.Store(nil)
	subscribe(cred, "private-away")
	c.expect("pusher_internal:subscription_succeeded")
}
