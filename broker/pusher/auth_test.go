package pusher

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/playhead/playhead/broker"
)

const (
	vectorKey    = "278d425bdf160c739803"
	vectorSecret = "7ad3773142a6692b25b8"
)

func vectorApp() *broker.App {
	return &broker.App{ID: "3", Credentials: []broker.Credential{
		{Key: "older", Secret: "older-secret"},
		{Key: vectorKey, Secret: vectorSecret},
	}}
}

func TestChannelSignatureVectors(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		ch   broker.Channel
		data string // "" for none
		hex  string
	}{
		{"private-foobar", "", "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"},
		{"private-cache-foobar", "", "395f4a03f06e17b74af8d9c58386cf386e70176f58452420f042b6e1bddefa43"},
		{"private-encrypted-foobar", "", "e6a18892d037c5d5e76a2265df4f086ffc38631605530dfd214aa5bff495f533"},
		{"private-foobar", `{"user_id":"10"}`, "bf9f2eda99b88b670aedd071792d41c2796fda040476f39b46f89a28ccc69a9c"},
		{"presence-foobar", `{"user_id":10,"user_info":{"name":"Mr. Channels"}}`, "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"},
		{"presence-foobar", `{"user_id":10,"user_info":{"name":"Mr. Pusher"}}`, "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c"},
		{"presence-foobar", `{"user_id":"10","user_info":{"name":"Mr. Channels"}}`, "4c6d8fc42a207ba96a0779844171b0bb819d96ffceef9609f5cce596ab17a800"},
		{"presence-foobar", `{"user_id":"10"}`, "f84515574e2196bb5d8554cc21e73bead300b66128c7d8c496723cb729a209c8"},
		{"presence-cache-foobar", `{"user_id":"10"}`, "01d6b8ce6a668891d3ded2167ec0da3f4d90f5d6fb8f20ad4c1e7fdfebd1e976"},
		{"presence-foobar", "", "71506e66e7fdca106571b8999a849ad34245bc653772e51e0026c1a2475b92ba"},
		{"presence-foobar", `{"user_id":"ü-1","user_info":{"name":"Zoë \u00e9"}}`, "de5a341c822074efff1feddf714fe2f25cc9d0f048f0521dd3c5da80083aedf2"},
	} {
		var data *string
		if v.data != "" {
			data = &v.data
		}
		auth := vectorKey + ":" + v.hex
		if got := SignChannel(broker.Credential{Key: vectorKey, Secret: vectorSecret}, "1234.1234", v.ch, data); got != auth {
			t.Errorf("%s %s signed as %s, want %s", v.ch, v.data, got, auth)
		}
		if err := VerifyChannel(vectorApp(), auth, "1234.1234", v.ch, data); err != nil {
			t.Errorf("%s %s: %v", v.ch, v.data, err)
		}
	}
}

func TestEveryCredentialIsGood(t *testing.T) {
	t.Parallel()
	app := vectorApp()
	empty := ""
	for _, c := range app.Credentials {
		for _, data := range []*string{nil, &empty} {
			if err := VerifyChannel(app, SignChannel(c, "1.2", "private-x", data), "1.2", "private-x", data); err != nil {
				t.Errorf("%s: %v", c.Key, err)
			}
		}
	}
	if err := VerifyChannel(app, SignChannel(app.Credentials[0], "1.2", "private-x", nil), "1.2", "private-x", &empty); !errors.Is(err, ErrAuth) {
		t.Errorf("an empty channel_data is signed like none: %v", err)
	}
}

func TestVerifyChannelRefuses(t *testing.T) {
	t.Parallel()
	const good = "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
	const wrong = "ea33206fcd99ae7c0cba2a8d1dae6ae5155f30230af7f67977e6fa629dd5d15e"
	const expected = "Invalid signature: Expected HMAC SHA256 hex digest of "
	data := `{"user_id":"10"}`
	for _, c := range []struct {
		auth   string
		socket broker.SocketID
		ch     broker.Channel
		data   *string
		text   string
	}{
		{"", "1234.1234", "private-foobar", nil, "Missing parameter: data.auth"},
		{good, "1234.1234", "private-foobar", nil, "Invalid format: auth must have the format key:signature"},
		{"nokey:" + good, "1234.1234", "private-foobar", nil, "Invalid key in subscription auth data: 'nokey'"},
		{":" + good, "1234.1234", "private-foobar", nil, "Invalid key in subscription auth data: ''"},
		{"older:" + good, "1234.1234", "private-foobar", nil, expected + "1234.1234:private-foobar, but got " + good},
		{vectorKey + ":" + wrong, "1234.1234", "private-foobar", nil, expected + "1234.1234:private-foobar, but got " + wrong},
		{vectorKey + ":" + good, "1234.1235", "private-foobar", nil, expected + "1234.1235:private-foobar, but got " + good},
		{vectorKey + ":" + good, "1234.1234", "private-foobaz", nil, expected + "1234.1234:private-foobaz, but got " + good},
		{vectorKey + ":" + good, "1234.1234", "private-foobar", &data, expected + `1234.1234:private-foobar:{"user_id":"10"}, but got ` + good},
		{vectorKey + ":", "1234.1234", "private-foobar", nil, expected + "1234.1234:private-foobar, but got "},
		{vectorKey + "::" + good, "1234.1234", "private-foobar", nil, expected + "1234.1234:private-foobar, but got :" + good},
		{vectorKey + ":" + strings.ToUpper(good), "1234.1234", "private-foobar", nil, expected + "1234.1234:private-foobar, but got " + strings.ToUpper(good)},
	} {
		checkFault(t, c.auth, VerifyChannel(vectorApp(), c.auth, c.socket, c.ch, c.data), ErrAuth, c.text)
	}
}

// FuzzSignature checks that what was signed is accepted and that nothing else is.
func FuzzSignature(f *testing.F) {
	f.Add("1234.1234", "private-foobar", "", "key:58df")
	f.Add("1.2", "presence-x", `{"user_id":"10"}`, vectorKey+":")
	f.Add("", "", "::", ":")
	f.Fuzz(func(t *testing.T, socket, ch, data, auth string) {
		app := vectorApp()
		s, c := broker.SocketID(socket), broker.Channel(ch)
		good := SignChannel(app.Credentials[1], s, c, &data)
		if err := VerifyChannel(app, good, s, c, &data); err != nil {
			t.Fatalf("%q: %v", good, err)
		}
		if err := VerifyChannel(app, auth, s, c, &data); err == nil && auth != good && auth != SignChannel(app.Credentials[0], s, c, &data) {
			t.Fatalf("%q accepted", auth)
		} else if err != nil && !errors.Is(err, ErrAuth) {
			t.Fatal(err)
		}
	})
}

// The HMAC that is written out here is the standard library's, for secrets of every length.
func TestSignIsHMAC(t *testing.T) {
	t.Parallel()
	for size := range 200 {
		secret, text := strings.Repeat("s", size), []byte(strings.Repeat("text", size))
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(text)
		want := hex.EncodeToString(mac.Sum(nil))
		if got := string(sign([]byte("x"), secret, text)); got != "x"+want {
			t.Errorf("secret of %d bytes: %s, want %s behind an x", size, got, want)
		}
		if !right(want, secret, text) {
			t.Errorf("secret of %d bytes: the right signature is wrong", size)
		}
		for _, wrong := range []string{"", want[1:], want + "0", strings.ToUpper(want), strings.Repeat("0", len(want))} {
			if right(wrong, secret, text) {
				t.Errorf("secret of %d bytes: signature %q is right", size, wrong)
			}
		}
	}
}
