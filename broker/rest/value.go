package rest

import "unicode/utf8"

// kind is what a JSON value is.
type kind uint8

const (
	absent kind = iota // no such member
	null
	boolean
	number
	text
	list
	object
)

// value is a JSON value where it stands in the body; it must not outlive the body's buffer. Its
// text has been checked, so taking it apart can't go wrong.
type value struct {
	kind kind
	raw  []byte // with its quotes or brackets
	size int    // of a text: its bytes once the escapes are resolved
}

// given reports whether there is a value. As everywhere in the protocol, null is none.
func (v value) given() bool { return v.kind != absent && v.kind != null }

// plain reports whether a text stands there as it is, without escapes.
func (v value) plain() bool { return v.size == len(v.raw)-2 }

// inner is what stands between the quotes of a text.
func (v value) inner() []byte { return v.raw[1 : len(v.raw)-1] }

// string returns what a text says.
func (v value) string() string {
	if v.plain() {
		return string(v.inner())
	}
	return string(v.bytes())
}

// bytes returns what a text says, in memory of its own.
func (v value) bytes() []byte {
	b := make([]byte, v.size)
	inner := v.inner()
	if v.plain() {
		copy(b, inner)
		return b
	}
	// Data that is JSON in JSON has an escape every few bytes, so they are taken one by one.
	n := 0
	for i := 0; i < len(inner); {
		if inner[i] != '\\' {
			b[n] = inner[i]
			n++
			i++
			continue
		}
		r, size := unescape(inner[i:])
		n += utf8.EncodeRune(b[n:], r)
		i += size
	}
	return b
}

// is reports whether a text says s.
func (v value) is(s string) bool {
	if v.plain() {
		return string(v.inner()) == s
	}
	return v.size == len(s) && string(v.bytes()) == s
}

// elements calls each for every element of a list, in order, until it returns an error.
func (v value) elements(each func(i int, v value) error) error {
	s := scanner{in: v.raw}
	return s.list(1, func(i int) error {
		element, err := s.value(1)
		if err != nil {
			return err
		}
		return each(i, element)
	})
}
