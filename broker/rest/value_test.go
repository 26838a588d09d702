package rest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// parse scans a whole text.
func parse(b []byte) (v value, err error) {
	s, err := newScanner(b)
	if err != nil {
		return v, err
	}
	if v, err = s.value(0); err != nil {
		return v, err
	}
	return v, s.end()
}

// sameAsEncodingJSON fails when the scanner and encoding/json disagree about b in anything but depth and
// UTF-8, where the scanner is choosier.
func sameAsEncodingJSON(t *testing.T, b []byte) {
	t.Helper()
	v, err := parse(b)
	if errors.Is(err, errDepth) {
		return
	}
	if want := json.Valid(b) && utf8.Valid(b); (err == nil) != want {
		t.Fatalf("%q: error %v, but valid is %v", b, err, want)
	}
	if err != nil {
		return
	}
	sameValue(t, v, b)
}

func sameValue(t *testing.T, v value, b []byte) {
	t.Helper()
	switch v.kind {
	case text:
		var want string
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		if got := v.string(); got != want || string(v.bytes()) != want || v.size != len(want) || !v.is(want) {
			t.Fatalf("%s says %q in %d bytes, want %q", b, got, v.size, want)
		}
	case object:
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]json.RawMessage{}
		s := scanner{in: v.raw}
		err := s.object(1, func(name value) error {
			member, err := s.value(1)
			got[name.string()] = member.raw
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("members of %s (-want +got):\n%s", b, diff)
		}
	case list:
		want := []json.RawMessage{}
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		got := []json.RawMessage{}
		err := v.elements(func(i int, element value) error {
			if i != len(got) {
				t.Fatalf("element %d comes after %d", i, len(got))
			}
			got = append(got, element.raw)
			sameValue(t, element, element.raw)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("elements of %s (-want +got):\n%s", b, diff)
		}
	case null:
		if strings.TrimSpace(string(b)) != "null" || v.given() {
			t.Fatalf("%q is null", b)
		}
	}
}

func jsonSeeds() []string {
	return []string{
		``, ` `, `null`, `true`, `false`, `nul`, `truex`, `[]`, `{}`, `[ ]`, `{ }`, `[,]`, `{,}`, `[1 2]`, `[1,]`, `{"a":1,}`,
		`""`, `"`, `"\`, `"\u`, `"\u12`, `"\u12g4"`, `"\x"`, "\"\x00\"", "\"\x7f\"", "\"\xff\"", `"\ud83d\ude00"`, `"\ud83d"`, `"\ud83dx"`, `"\ud83d\u0041"`,
		`"\ude00\ud83d"`, `"\ud83d\ud83d\ude00"`, `"\ud83d\uZZZZ"`, `"\"\\\/\b\f\n\r\t"`, `"é😀"`, `"a\u0000b"`, `"\uFFFD"`,
		`0`, `-0`, `-`, `00`, `01`, `1.`, `.1`, `1.0`, `1e`, `1e+`, `1E-9`, `-1.5e+10`, `1.e1`, `+1`, `0x1`, `1_0`,
		`{"a":1,"a":2}`, `{"\u0061":1,"a":2}`, `{"a":{"b":[{"c":null}]}}`, `{a:1}`, `{"a"}`, `{"a":}`, `{"a" 1}`, `{1:2}`, `{"a":1 "b":2}`,
		`[1,"two",{"three":[3]},null,true]`, ` { "a" : [ 1 , 2 ] } `, "\t[\n1\r]", `[1]]`, `{}{}`, "\uFEFF{}", `[`, `{`, `{"`, `{"a":[`,
		plainBody, strings.Repeat("[", 1001) + strings.Repeat("]", 1001),
	}
}

func TestParseAgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, seed := range jsonSeeds() {
		sameAsEncodingJSON(t, []byte(seed))
		for i := range seed {
			sameAsEncodingJSON(t, []byte(seed[:i]))
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range jsonSeeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(sameAsEncodingJSON)
}
