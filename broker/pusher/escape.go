package pusher

import (
	"bytes"
	"unicode/utf8"
)

// escapes says for each byte how a JSON string must spell it: 0 as it is, 'u' as \u00XX, else as a
// backslash and the letter given. Nothing is escaped that needn't be: not '/', not '<', not '&'.
var escapes = [256]byte{
	0x00: 'u', 0x01: 'u', 0x02: 'u', 0x03: 'u', 0x04: 'u', 0x05: 'u', 0x06: 'u', 0x07: 'u',
	'\b': 'b', '\t': 't', '\n': 'n', 0x0b: 'u', '\f': 'f', '\r': 'r', 0x0e: 'u', 0x0f: 'u',
	0x10: 'u', 0x11: 'u', 0x12: 'u', 0x13: 'u', 0x14: 'u', 0x15: 'u', 0x16: 'u', 0x17: 'u',
	0x18: 'u', 0x19: 'u', 0x1a: 'u', 0x1b: 'u', 0x1c: 'u', 0x1d: 'u', 0x1e: 'u', 0x1f: 'u',
	'"': '"', '\\': '\\',
}

const hexDigits = "0123456789abcdef"

// appendQuoted adds s as a JSON string. Bytes that are not UTF-8 become U+FFFD: one of them would
// make browsers close the connection.
func appendQuoted(b, s []byte) []byte {
	if !utf8.Valid(s) {
		s = bytes.ToValidUTF8(s, []byte("\uFFFD"))
	}
	b = append(b, '"')
	start := 0
	for i := range s {
		how := escapes[s[i]]
		if how == 0 {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		if how == 'u' {
			b = append(b, '\\', 'u', '0', '0', hexDigits[s[i]>>4], hexDigits[s[i]&15])
		} else {
			b = append(b, '\\', how)
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// appendString is appendQuoted for what is a string and mostly plain ASCII: names and ids.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf || escapes[s[i]] != 0 {
			return appendQuoted(b, []byte(s))
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
