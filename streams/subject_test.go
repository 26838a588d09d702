package streams

import (
	"strings"
	"testing"

	"github.com/playhead/playhead/broker"
)

func TestSubject(t *testing.T) {
	t.Parallel()
	for ch, token := range map[broker.Channel]string{
		"orders":                 "orders",
		"private-a_b=c@d,e;f-G9": "private-a_b=c@d,e;f-G9",
		"a.b":                    "a%2Eb",
		"a..b":                   "a%2E%2Eb",
		".":                      "%2E",
		"*":                      "%2A",
		">":                      "%3E",
		"100%":                   "100%25",
		"a b":                    "a%20b",
		"ü\n":                    "%C3%BC%0A",
	} {
		subject := channelSubject("p.app.", ch, byBackend)
		if subject != "p.app."+token+".b" {
			t.Errorf("%q: subject %q, want token %q", ch, subject, token)
		}
		back, client, ok := parseSubject("p.app.", subject)
		if !ok || client || back != ch {
			t.Errorf("%q comes back as %q, client %v, %v", ch, back, client, ok)
		}
	}
	if _, client, ok := parseSubject("p.app.", channelSubject("p.app.", "a", byClient)); !ok || !client {
		t.Error("a client's subject isn't recognised")
	}
	for _, subject := range []string{
		"", "p.app.", "p.app.a", "p.app..b", "p.other.a.b", "p.app.a.x", "p.app.a.b.b",
		"p.app.a%2eb.b", "p.app.a%.b", "p.app.a%2.b", "p.app.%41.b", "p.app.a b.b", "p.app.é.b",
	} {
		if ch, _, ok := parseSubject("p.app.", subject); ok {
			t.Errorf("%q is taken for channel %q", subject, ch)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for app, want := range map[broker.AppID]string{
		"42":      "playhead_42",
		"my.app":  "playhead_my%2Eapp",
		"a/b\\c*": "playhead_a%2Fb%5Cc%2A",
	} {
		if name, err := streamName("playhead", app); err != nil || name != want {
			t.Errorf("%q: stream %q, %v, want %q", app, name, err, want)
		}
	}
	for _, app := range []broker.AppID{"", broker.AppID(strings.Repeat("a", 300))} {
		if name, err := streamName("playhead", app); err == nil {
			t.Errorf("%q: stream %q", app, name)
		}
	}
	names := map[string]bool{}
	for _, node := range []string{"a", "a+1", "a.b", "a b", strings.Repeat("x", 100), strings.Repeat("x", 101)} {
		for n := range 2 {
			name := consumerName(node, n)
			if strings.ContainsAny(name, ".*> /\\") || len(name) > 100 {
				t.Errorf("%q: consumer %q", node, name)
			}
			names[name] = true
		}
	}
	if len(names) != 11 { // a+1 is also the second of a; unlike tails of one node, those are rare
		t.Errorf("names: %v", names)
	}
}

func FuzzSubject(f *testing.F) {
	for _, s := range []string{"orders", "a.b", "..", "*", ">", "%", "%2E", " ", "ü", "\x00\xff", "private-=,;@_-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ch, _, ok := parseSubject("p.app.", s); ok {
			if back := channelSubject("p.app.", ch, byBackend); back != s && channelSubject("p.app.", ch, byClient) != s {
				t.Errorf("%q is read as channel %q, which is written %q", s, ch, back)
			}
		}
		if s == "" {
			return
		}
		subject := channelSubject("p.app.", broker.Channel(s), byBackend)
		token := strings.TrimSuffix(strings.TrimPrefix(subject, "p.app."), ".b")
		if token == "" || strings.ContainsAny(token, ".*> \t\r\n\x00") {
			t.Errorf("%q: %q is not one token", s, token)
		}
		for i := range len(token) {
			if token[i] <= ' ' || token[i] > '~' {
				t.Errorf("%q: byte %x in token %q", s, token[i], token)
			}
		}
		if back, client, ok := parseSubject("p.app.", subject); !ok || client || string(back) != s {
			t.Errorf("%q comes back as %q, %v", s, back, ok)
		}
	})
}
