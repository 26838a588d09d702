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
	if !right(signature, secret, signed) {
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

// sign appends to b the lower-case hex HMAC-SHA256 of signed. It is written out (RFC 2104) because
// crypto/hmac allocates half a KiB for each signature, which is more than an event takes.
func sign(b []byte, secret string, signed []byte) []byte {
	var inner, outer [sha256.BlockSize]byte
	if len(secret) > sha256.BlockSize {
		sum := sha256.Sum256([]byte(secret))
		copy(inner[:], sum[:])
	} else {
		copy(inner[:], secret)
	}
	for i, c := range inner {
		inner[i], outer[i] = c^0x36, c^0x5c
	}
	var sum [sha256.Size]byte
	h := sha256.New()
	h.Write(inner[:])
	h.Write(signed)
	h.Sum(sum[:0])
	h.Reset()
	h.Write(outer[:])
	h.Write(sum[:])
	return hex.AppendEncode(b, h.Sum(sum[:0]))
}

// right reports whether a signature is that of the signed text. How long that takes says nothing about
// the right one.
func right(signature, secret string, signed []byte) bool {
	var want, got [signatureBytes]byte
	if len(signature) != len(got) {
		return false
	}
	copy(got[:], signature)
	sign(want[:0], secret, signed)
	return hmac.Equal(want[:], got[:])
}
