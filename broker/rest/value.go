package rest

import (
	"bytes"
	"unicode/utf8"
)

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

// string returns what a text says.
func (v value) string() string {
	if v.size == len(v.raw)-2 {
		return string(v.raw[1 : len(v.raw)-1])
	}
	return string(v.bytes())
}

// bytes returns what a text says, in memory of its own.
func (v value) bytes() []byte {
	inner := v.raw[1 : len(v.raw)-1]
	b := make([]byte, 0, v.size)
	for {
		i := bytes.IndexByte(inner, '\\')
		if i < 0 {
			return append(b, inner...)
		}
		r, n := unescape(inner[i:])
		b = utf8.AppendRune(append(b, inner[:i]...), r)
		inner = inner[i+n:]
	}
}

// is reports whether a text says s.
func (v value) is(s string) bool {
	if v.size == len(v.raw)-2 {
		return string(v.raw[1:len(v.raw)-1]) == s
	}
	return v.size == len(s) && string(v.bytes()) == s
}

// members calls each for every member of an object, in order, until it returns an error.
func (v value) members(each func(name, v value) error) error {
	s := scanner{in: v.raw, at: 1}
	for more := s.begin('}'); more; more = s.next() {
		name, err := s.value(0)
		if err != nil {
			return err
		}
		s.space()
		s.at++ // the colon
		member, err := s.value(0)
		if err != nil {
			return err
		}
		if err := each(name, member); err != nil {
			return err
		}
	}
	return nil
}

// elements calls each for every element of a list, in order, until it returns an error.
func (v value) elements(each func(i int, v value) error) error {
	s := scanner{in: v.raw, at: 1}
	i := 0
	for more := s.begin(']'); more; more = s.next() {
		element, err := s.value(0)
		if err != nil {
			return err
		}
		if err := each(i, element); err != nil {
			return err
		}
		i++
	}
	return nil
}
