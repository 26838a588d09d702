package ws

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// opening is a row of handshakes: what a client asks for, and the answer.
type opening struct {
	name    string // begins with the section of RFC 6455
	request string
	status  int
	header  http.Header // values it has; nil where it must not be there
}

// asked is the good handshake with something replaced, or, without a header of that name, added.
func asked(header string) string {
	name, _, _ := strings.Cut(header, ":")
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(handshake, "\r\n"), "\r\n") {
		if !strings.HasPrefix(line, name+":") {
			lines = append(lines, line)
		}
	}
	if header != name {
		lines = append(lines, header)
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func openings() []opening {
	const switched, bad = http.StatusSwitchingProtocols, http.StatusBadRequest
	accepted := http.Header{
		"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		"Sec-Websocket-Protocol": nil, "Sec-Websocket-Extensions": nil,
	}
	required := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Accept": nil}
	speaks := func(protocol string) http.Header {
		h := accepted.Clone()
		h.Set("Sec-WebSocket-Protocol", protocol)
		return h
	}
	rows := []opening{
		{"1.3 as in the RFC", handshake + "\r\n", switched, accepted},
		{"4.2.1 words in any case", asked("Upgrade: WebSocket"), switched, accepted},
		{"4.2.1 upgrade among other words", asked("Connection: keep-alive, UPGRADE"), switched, accepted},
		{"4.2.1 names in lower case", strings.Replace(asked("Upgrade"), "\r\n\r\n", "\r\nupgrade: websocket\r\n\r\n", 1), switched, accepted},
		{"4.2.1 not an upgrade", asked("Upgrade"), http.StatusUpgradeRequired, required},
		{"4.2.1 upgrade to something else", asked("Upgrade: h2c"), http.StatusUpgradeRequired, required},
		{"4.2.1 connection isn't upgraded", asked("Connection: keep-alive"), http.StatusUpgradeRequired, http.Header{"Upgrade": {"websocket"}}},
		{"4.2.1 post", strings.Replace(handshake, "GET", "POST", 1) + "Content-Length: 0\r\n\r\n", http.StatusMethodNotAllowed, nil},
		{"4.2.1 HTTP/1.0", strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1) + "\r\n", http.StatusUpgradeRequired, http.Header{"Upgrade": {"websocket"}}},
		{"4.2.1 no host", asked("Host"), bad, nil},
		{"4.2.1 no key", asked("Sec-WebSocket-Key"), bad, nil},
		{"4.2.1 empty key", asked("Sec-WebSocket-Key:"), bad, nil},
		{"4.2.1 key that isn't base64", asked("Sec-WebSocket-Key: ????????????????????????"), bad, nil},
		{"4.2.1 short key", asked("Sec-WebSocket-Key: c2hvcnQ="), bad, nil},
		{"4.2.1 long key", asked("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSBidXQgbG9uZ2Vy"), bad, nil},
		{"4.2.1 two keys", asked("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), bad, nil},
		{"4.2.2 a subprotocol of ours", asked("Sec-WebSocket-Protocol: pusher-channels-protocol-7"), switched, speaks("pusher-channels-protocol-7")},
		{"4.2.2 ours among subprotocols", asked("Sec-WebSocket-Protocol: soap, pusher-channels-protocol-7,wamp"), switched, speaks("pusher-channels-protocol-7")},
		{"4.2.2 ours in a second line", asked("Sec-WebSocket-Protocol: soap\r\nSec-WebSocket-Protocol: pusher-channels-protocol-7"), switched, speaks("pusher-channels-protocol-7")},
		{"4.2.2 other subprotocols", asked("Sec-WebSocket-Protocol: soap, wamp"), switched, accepted},
	}
	for _, v := range []string{"Sec-WebSocket-Version", "Sec-WebSocket-Version:", "Sec-WebSocket-Version: 0", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 14", "Sec-WebSocket-Version: 13, 8", "Sec-WebSocket-Version: x"} {
		rows = append(rows, opening{"4.4 " + v, asked(v), http.StatusUpgradeRequired, required})
	}
	for _, offer := range []string{
		"permessage-deflate",
		"permessage-deflate; client_max_window_bits",
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; client_max_window_bits=10",
		"permessage-deflate; server_max_window_bits=99",
		"permessage-deflate; unknown; unknown=1, permessage-deflate",
		"x-webkit-deflate-frame",
		"permessage-bzip2; x=\"quoted; comma,\", mux",
		", ;; = ,",
		strings.Repeat("permessage-deflate, ", 200) + "mux",
	} {
		rows = append(rows, opening{fmt.Sprintf("9.1 offer %.60s", offer), asked("Sec-WebSocket-Extensions: " + offer), switched, accepted})
	}
	return rows
}

// Each handshake comes with frames right behind it. Where it is accepted they are handled, compressed
// ones are refused whatever was offered; where it isn't, nothing is left of the connection.
func TestRFC6455Handshakes(t *testing.T) {
	t.Parallel()
	stands(t, func(t *testing.T, at stand) {
		for _, row := range openings() {
			t.Run(row.name, func(t *testing.T) {
				c, resp := at.shake(t, row.request, of(masked(text, asks("a")), masked(text|rsv1, "\xaa\x56\x4a\x04\x00"), masked(text, asks("b"))))
				if resp.StatusCode != row.status {
					t.Errorf("status %s, want %d", resp.Status, row.status)
				}
				for name, want := range row.header {
					if diff := cmp.Diff(want, resp.Header[name]); diff != "" {
						t.Errorf("%s (-want +got):\n%s", name, diff)
					}
				}
				if resp.StatusCode == http.StatusSwitchingProtocols {
					want := []string{"pusher:connection_established", answered("a"), "close 1002", "end"}
					if diff := cmp.Diff(want, c.answers(len(want)+1)); diff != "" {
						t.Errorf("answers (-want +got):\n%s", diff)
					}
				}
				_ = c.Close() // the client's turn
				await(t, "the session is gone", func() bool { return at.server.Count() == 0 })
			})
		}
	})
}
