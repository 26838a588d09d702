package pusher

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestQuotedSpellsLittle(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                 `""`,
		"plain <a href=/>": `"plain <a href=/>"`,
		"a\"b\\c/d":        `"a\"b\\c/d"`,
		"\b\t\n\f\r":       `"\b\t\n\f\r"`,
		"\x00\x1f\x7f":     "\"\\u0000\\u001f\x7f\"",
		"ü\u2028😀":         "\"ü\u2028😀\"",
		"a\xffb\xc3":       "\"a\uFFFDb\uFFFD\"",
	} {
		if got := string(appendQuoted(nil, []byte(in))); got != want {
			t.Errorf("appendQuoted(%q) = %s, want %s", in, got, want)
		}
		if got := string(appendString(nil, in)); got != want {
			t.Errorf("appendString(%q) = %s, want %s", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "plain", `{"a":"b\\c"}`, "\x00\x1f\x7f\n", "ü\u2028😀", "\xff\xc3", "\xed\xa0\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		quoted := appendQuoted(nil, s)
		if string(quoted) != string(appendString(nil, string(s))) {
			t.Fatalf("%q: the two ways differ", s)
		}
		var back string
		if !utf8.Valid(quoted) {
			t.Fatalf("%q: %q is not UTF-8", s, quoted)
		}
		if err := json.Unmarshal(quoted, &back); err != nil {
			t.Fatalf("%q: %q: %v", s, quoted, err)
		}
		if utf8.Valid(s) && back != string(s) {
			t.Fatalf("%q came back as %q", s, back)
		}
	})
}
