package page

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// authorization is what an application answers a client that wants to subscribe.
type authorization struct {
	Auth         string  `json:"auth"`
	ChannelData  *string `json:"channel_data,omitempty"`
	SharedSecret string  `json:"shared_secret,omitempty"`
}

// authorize signs a subscription, to a presence channel as the user that the page says.
func (p *Page) authorize(_ context.Context, app *broker.App, body []byte) (any, error) {
	var ask struct {
		SocketID broker.SocketID `json:"socket_id"`
		Channel  broker.Channel  `json:"channel_name"`
		User     json.RawMessage `json:"user"` // {"user_id":…,"user_info":…}
	}
	if err := decode(body, &ask); err != nil {
		return nil, err
	}
	if err := pusher.CheckSocketID(ask.SocketID); err != nil {
		return nil, err
	}
	if err := pusher.CheckChannel(ask.Channel, app.Limits); err != nil {
		return nil, err
	}
	kind := pusher.KindOf(ask.Channel)
	if !kind.NeedsAuth() {
		return nil, invalidf("Channel '%s' is %s and needs no signature", ask.Channel, kind)
	}
	var answer authorization
	if kind.Presence() {
		data := string(ask.User)
		if _, err := pusher.ReadMember(data, app.Limits); err != nil {
			return nil, err
		}
		answer.ChannelData = &data
	}
	if kind.Encrypted() {
		answer.SharedSecret = sharedSecret(app.Credentials[0], ask.Channel)
	}
	answer.Auth = pusher.SignChannel(app.Credentials[0], ask.SocketID, ask.Channel, answer.ChannelData)
	return answer, nil
}

// signIn signs the sign-in of the user that the page says.
func (p *Page) signIn(_ context.Context, app *broker.App, body []byte) (any, error) {
	var ask struct {
		SocketID broker.SocketID `json:"socket_id"`
		User     json.RawMessage `json:"user"` // {"id":…,"user_info":…,"watchlist":…}
	}
	if err := decode(body, &ask); err != nil {
		return nil, err
	}
	if err := pusher.CheckSocketID(ask.SocketID); err != nil {
		return nil, err
	}
	data := string(ask.User)
	if _, err := pusher.ReadUser(data, app.Limits); err != nil {
		return nil, err
	}
	return struct {
		Auth     string `json:"auth"`
		UserData string `json:"user_data"`
	}{pusher.SignUser(app.Credentials[0], ask.SocketID, data), data}, nil
}

// sharedSecret returns the key of an encrypted channel, as an application derives it from a master
// key that it keeps from its server. Here the two are one, and the master key comes from the app's
// secret: all tabs have the same, and after a restart they can still read what was sent before.
func sharedSecret(c broker.Credential, ch broker.Channel) string {
	master := sha256.Sum256(fmt.Appendf(nil, "master key of the test page\n%s", c.Secret))
	shared := sha256.Sum256(append([]byte(ch), master[:]...))
	return base64.StdEncoding.EncodeToString(shared[:])
}
