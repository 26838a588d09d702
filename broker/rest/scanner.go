package rest

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep values may be nested. Nothing real comes near it.
const maxDepth = 1000

// scanner goes over a JSON text once. It accepts what encoding/json does, but is choosier about three
// things: the bytes must be UTF-8, values may be nested only so deep, and names of members are looked
// up exactly. A text has been checked when its one value was scanned and end has found nothing behind.
type scanner struct {
	in []byte
	at int
}

// newScanner returns a scanner of a whole JSON text.
func newScanner(b []byte) (scanner, error) {
	if !utf8.Valid(b) {
		return scanner{}, invalidf("Invalid request body: not UTF-8")
	}
	return scanner{in: b}, nil
}

// end checks that nothing follows the value that was scanned.
func (s *scanner) end() error {
	s.space()
	if s.at < len(s.in) {
		return s.unexpected("after the JSON text")
	}
	return nil
}

func (s *scanner) unexpected(where string) error {
	if s.at >= len(s.in) {
		return invalidf("Invalid JSON: ends %s", where)
	}
	r, _ := utf8.DecodeRune(s.in[s.at:])
	return invalidf("Invalid JSON: unexpected %q %s, at byte %d", r, where, s.at)
}

func (s *scanner) space() {
	for s.at < len(s.in) {
		switch s.in[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// peek returns the next byte that is no space, or 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.at < len(s.in) {
		return s.in[s.at]
	}
	return 0
}

// value scans one value of any kind, which stands in so many others.
func (s *scanner) value(depth int) (value, error) {
	c := s.peek()
	start := s.at
	v := value{}
	var err error
	switch {
	case c == '"':
		v.kind = text
		v.size, err = s.text()
	case c == '{':
		v.kind = object
		err = s.object(depth+1, nil)
	case c == '[':
		v.kind = list
		err = s.list(depth+1, nil)
	case c == 't':
		v.kind = boolean
		err = s.word("true")
	case c == 'f':
		v.kind = boolean
		err = s.word("false")
	case c == 'n':
		v.kind = null
		err = s.word("null")
	case c == '-' || '0' <= c && c <= '9':
		v.kind = number
		err = s.number()
	default:
		err = s.unexpected("where a value should stand")
	}
	v.raw = s.in[start:s.at]
	return v, err
}

func (s *scanner) word(w string) error {
	for i := range len(w) {
		if s.at >= len(s.in) || s.in[s.at] != w[i] {
			return s.unexpected("in " + w)
		}
		s.at++
	}
	return nil
}

func (s *scanner) number() error {
	if s.in[s.at] == '-' {
		s.at++
	}
	if s.at < len(s.in) && s.in[s.at] == '0' {
		s.at++
	} else if !s.digits() {
		return s.unexpected("in a number")
	}
	if s.at < len(s.in) && s.in[s.at] == '.' {
		s.at++
		if !s.digits() {
			return s.unexpected("in a number")
		}
	}
	if s.at < len(s.in) && (s.in[s.at] == 'e' || s.in[s.at] == 'E') {
		s.at++
		if s.at < len(s.in) && (s.in[s.at] == '+' || s.in[s.at] == '-') {
			s.at++
		}
		if !s.digits() {
			return s.unexpected("in a number")
		}
	}
	return nil
}

// digits skips digits and reports whether there were any.
func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.in) && '0' <= s.in[s.at] && s.in[s.at] <= '9' {
		s.at++
	}
	return s.at > start
}

// text scans a string and returns how many bytes it says.
func (s *scanner) text() (size int, err error) {
	s.at++
	for s.at < len(s.in) {
		n := plain(s.in[s.at:])
		s.at += n
		size += n
		if s.at >= len(s.in) {
			break
		}
		switch s.in[s.at] {
		case '"':
			s.at++
			return size, nil
		case '\\':
			r, n := unescape(s.in[s.at:])
			if n == 0 {
				return 0, s.unexpected("which begins no escape of JSON")
			}
			s.at += n
			size += utf8.RuneLen(r)
		default:
			return 0, s.unexpected("in a string")
		}
	}
	return 0, s.unexpected("in a string")
}

// plain returns how many bytes at the beginning of b stand for themselves in a string: up to a quote, a
// backslash or a control character. It looks at eight at a time; of what it finds the first is sure.
func plain(b []byte) int {
	const (
		each    = 0x0101010101010101
		highest = 0x8080808080808080
	)
	n := 0
	for ; n+8 <= len(b); n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		quote, backslash := x^each*'"', x^each*'\\'
		stops := ((quote-each)&^quote | (backslash-each)&^backslash | (x-each*' ')&^x) & highest
		if stops != 0 {
			return n + bits.TrailingZeros64(stops)/8
		}
	}
	for ; n < len(b); n++ {
		if c := b[n]; c == '"' || c == '\\' || c < ' ' {
			break
		}
	}
	return n
}

// list scans a list. Each element is scanned by each, unless that is nil.
func (s *scanner) list(depth int, each func(i int) error) error {
	if depth > maxDepth {
		return errDepth
	}
	s.at++
	if s.peek() == ']' {
		s.at++
		return nil
	}
	for i := 0; ; i++ {
		var err error
		if each != nil {
			err = each(i)
		} else {
			_, err = s.value(depth)
		}
		if err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.at++
		case ']':
			s.at++
			return nil
		default:
			return s.unexpected("in a list")
		}
	}
}

// object scans an object. The value of each member is scanned by each, which is told its name, unless
// that is nil.
func (s *scanner) object(depth int, each func(name value) error) error {
	if depth > maxDepth {
		return errDepth
	}
	s.at++
	if s.peek() == '}' {
		s.at++
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.unexpected("where a name should stand")
		}
		start := s.at
		size, err := s.text()
		if err != nil {
			return err
		}
		name := value{kind: text, raw: s.in[start:s.at], size: size}
		if s.peek() != ':' {
			return s.unexpected("after a name")
		}
		s.at++
		if each != nil {
			err = each(name)
		} else {
			_, err = s.value(depth)
		}
		if err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.at++
		case '}':
			s.at++
			return nil
		default:
			return s.unexpected("in an object")
		}
	}
}

// unescape returns the character that the escape at the start of b stands for, and the escape's
// length, 0 when it is none. Half of a surrogate pair stands for U+FFFD: there are no bytes for
// it, and every JavaScript client would put the same in its place.
func unescape(b []byte) (r rune, n int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
	default:
		return 0, 0
	}
	r = hex4(b[2:])
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(b[8:])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 returns the number that four hexadecimal digits spell, −1 when b begins with none.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

var errDepth = invalidf("Invalid JSON: nested deeper than %d levels", maxDepth)
