package pusher

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/playhead/playhead/broker"
)

// SignChannel returns the auth of a subscribe, as an app's backend makes it for its clients: the
// key and the signature over the socket id, the channel and, unless nil, the channel_data.
func SignChannel(c broker.Credential, socket broker.SocketID, ch broker.Channel, channelData *string) string {
	var sum [signatureBytes]byte
	return c.Key + ":" + string(sign(sum[:0], c.Secret, channelText(socket, ch, channelData)))
}

// VerifyChannel checks the auth of a subscribe: made with one of the app's credentials for this
// connection and this channel, over exactly the channel_data that came with it, nil when none
// came. Error: [ErrAuth].
func VerifyChannel(app *broker.App, auth string, socket broker.SocketID, ch broker.Channel, channelData *string) error {
	return verify(app, auth, "subscription auth data", channelText(socket, ch, channelData))
}

// SignUser returns the auth of a sign-in, as an app's backend makes it for its clients: the key and
// the signature over the socket id and the user_data.
func SignUser(c broker.Credential, socket broker.SocketID, userData string) string {
	var sum [signatureBytes]byte
	return c.Key + ":" + string(sign(sum[:0], c.Secret, userText(socket, userData)))
}

// VerifyUser checks the auth of a sign-in: made with one of the app's credentials for this
// connection, over exactly the user_data that came with it. Error: [ErrAuth].
func VerifyUser(app *broker.App, auth string, socket broker.SocketID, userData string) error {
	return verify(app, auth, "sign-in auth data", userText(socket, userData))
}

// verify checks an auth over a text; what says where a key was that the app doesn't have.
func verify(app *broker.App, auth, what string, signed []byte) error {
	if auth == "" {
		return faultf(ErrAuth, "Missing parameter: data.auth")
	}
	key, signature, ok := strings.Cut(auth, ":")
	if !ok {
		return faultf(ErrAuth, "Invalid format: auth must have the format key:signature")
	}
	secret, ok := app.Secret(key)
	if !ok {
		return faultf(ErrAuth, "Invalid key in %s: '%s'", what, clip(key, quoted))
	}
	var sum [signatureBytes]byte
	if !hmac.Equal(sign(sum[:0], secret, signed), []byte(signature)) {
		return faultf(ErrAuth, "Invalid signature: Expected HMAC SHA256 hex digest of %s, but got %s",
			clip(string(signed), explained), clip(signature, quoted))
	}
	return nil
}

// explained is the most of a signed text that an answer repeats, in bytes: enough to find the
// mistake by.
const explained = 2048

// channelText is what the auth of a subscribe signs.
func channelText(socket broker.SocketID, ch broker.Channel, channelData *string) []byte {
	b := make([]byte, 0, 256)
	b = append(b, socket...)
	b = append(b, ':')
	b = append(b, ch...)
	if channelData != nil {
		b = append(b, ':')
		b = append(b, *channelData...)
	}
	return b
}

// userText is what the auth of a sign-in signs.
func userText(socket broker.SocketID, userData string) []byte {
	const user = "::user::"
	b := make([]byte, 0, len(socket)+len(user)+len(userData))
	b = append(b, socket...)
	b = append(b, user...)
	return append(b, userData...)
}

// signatureBytes is the length of a signature, in hex digits.
const signatureBytes = 2 * sha256.Size

// sign appends to b the lower-case hex HMAC-SHA256 of signed.
func sign(b []byte, secret string, signed []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(signed)
	var sum [sha256.Size]byte
	return hex.AppendEncode(b, mac.Sum(sum[:0]))
}
