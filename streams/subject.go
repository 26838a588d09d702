package streams

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/playhead/playhead/broker"
)

// escaping says which bytes stand for themselves; the others are written %XX, and so is %.
type escaping [256]bool

func escapingFor(from, to byte, but string) *escaping {
	var e escaping
	for c := int(from); c <= int(to); c++ {
		e[c] = c != '%' && strings.IndexByte(but, byte(c)) < 0
	}
	return &e
}

var (
	// inToken leaves what may stand in one token of a NATS subject.
	inToken = escapingFor('!', '~', ".*>")
	// inName leaves what may stand in the name of a stream or a consumer, which is also the
	// name of a folder.
	inName = escapingFor('!', '~', ".*>/\\")
	// inHeader leaves what a header's value keeps. Spaces at its ends would be trimmed.
	inHeader = escapingFor(' ', '~', "")
)

const hexDigits = "0123456789ABCDEF"

// escape returns s with every byte outside e written as %XX. Mostly that is s itself.
func (e *escaping) escape(s string) string {
	odd := 0
	for i := range len(s) {
		if !e.plain(s, i) {
			odd++
		}
	}
	if odd == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*odd)
	for i := range len(s) {
		if e.plain(s, i) {
			b = append(b, s[i])
		} else {
			b = append(b, '%', hexDigits[s[i]>>4], hexDigits[s[i]&15])
		}
	}
	return string(b)
}

// plain reports whether the byte at i stands for itself.
func (e *escaping) plain(s string, i int) bool {
	return e[s[i]] && (s[i] != ' ' || i > 0 && i < len(s)-1)
}

// unescape reads back what escape wrote, and nothing else: a string has one spelling.
func (e *escaping) unescape(s string) (string, bool) {
	odd := strings.IndexByte(s, '%')
	if odd < 0 {
		for i := range len(s) {
			if !e.plain(s, i) {
				return "", false
			}
		}
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		high, low := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		b = append(b, byte(high<<4|low))
		i += 2
	}
	plain := string(b)
	return plain, e.escape(plain) == s
}

// The last token of a subject says who published, so that the last event of a backend is one read
// away however many client events came after it.
const (
	byBackend = ".b"
	byClient  = ".c"
	byAnyone  = ".*"
)

// longestName is the longest name NATS accepts for streams and consumers, in bytes.
const longestName = 255

// streamName returns the name of an app's stream.
func streamName(prefix string, app broker.AppID) (string, error) {
	if app == "" {
		return "", fmt.Errorf("app without id")
	}
	name := prefix + "_" + inName.escape(string(app))
	if len(name) > longestName {
		return "", fmt.Errorf("app id of %d characters: its stream's name would be over %d", len(app), longestName)
	}
	return name, nil
}

// appSubject returns what the subjects of an app begin with, up to and with the last dot.
func appSubject(prefix string, app broker.AppID) string {
	return prefix + "." + inName.escape(string(app)) + "."
}

// channelSubject returns the subject of a channel's events; by is one of the constants above.
func channelSubject(appSubject string, ch broker.Channel, by string) string {
	return appSubject + inToken.escape(string(ch)) + by
}

// parseSubject takes a subject of an app apart.
func parseSubject(appSubject, subject string) (ch broker.Channel, client, ok bool) {
	rest, ok := strings.CutPrefix(subject, appSubject)
	if !ok {
		return "", false, false
	}
	token, ok := strings.CutSuffix(rest, byBackend)
	if !ok {
		if token, ok = strings.CutSuffix(rest, byClient); !ok {
			return "", false, false
		}
		client = true
	}
	name, ok := inToken.unescape(token)
	if !ok || name == "" {
		return "", false, false
	}
	return broker.Channel(name), client, true
}

// consumerName returns the name of a node's consumer; n tells several tails of one app and node
// apart, and is 0 for the first.
func consumerName(node string, n int) string {
	name := inName.escape(node)
	if len(name) > 64 {
		sum := sha256.Sum256([]byte(node))
		name = hex.EncodeToString(sum[:16])
	}
	if n > 0 {
		name = fmt.Sprintf("%s+%d", name, n)
	}
	return name
}
