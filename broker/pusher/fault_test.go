package pusher

import (
	"errors"
	"testing"
)

// checkFault checks that err is one of the package's errors with exactly this text, or nil.
func checkFault(t *testing.T, what string, err, is error, text string) {
	t.Helper()
	switch {
	case is == nil && err != nil:
		t.Errorf("%q: %v", what, err)
	case is != nil && (!errors.Is(err, is) || err.Error() != text):
		t.Errorf("%q: %v, want %s", what, err, text)
	}
}

func TestClipCutsBetweenCharacters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"aüb", 2, "a"}, {"aüb", 3, "aü"}, {"😀", 3, ""}, {"\x80\x80", 1, ""}, {"", 0, ""},
	} {
		if got := clip(c.in, c.limit); got != c.want {
			t.Errorf("clip(%q, %d) = %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}
