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
	if auth == "" {
		return faultf(ErrAuth, "Missing parameter: data.auth")
	}
	key, signature, ok := strings.Cut(auth, ":")
	if !ok {
		return faultf(ErrAuth, "Invalid format: auth must have the format key:signature")
	}
	secret, ok := app.Secret(key)
	if !ok {
		return faultf(ErrAuth, "Invalid key in subscription auth data: '%s'", clip(key, quoted))
	}
	signed := channelText(socket, ch, channelData)
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

// signatureBytes is the length of a signature, in hex digits.
const signatureBytes = 2 * sha256.Size

// sign appends to b the lower-case hex HMAC-SHA256 of signed.
func sign(b []byte, secret string, signed []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(signed)
	var sum [sha256.Size]byte
	return hex.AppendEncode(b, mac.Sum(sum[:0]))
}
