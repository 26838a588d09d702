package pusher

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/playhead/playhead/broker"
)

func TestSocketIDs(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^\d+\.\d+$`)
	seen := map[broker.SocketID]bool{}
	for range 10_000 {
		id := NewSocketID()
		if !form.MatchString(string(id)) || CheckSocketID(id) != nil || seen[id] {
			t.Fatalf("%s: malformed or seen before", id)
		}
		seen[id] = true
		_, second, _ := strings.Cut(string(id), ".")
		if n, err := strconv.ParseUint(second, 10, 64); err != nil || n >= 1<<53 {
			t.Fatalf("%s: JavaScript can't hold %s", id, second)
		}
	}
	for _, id := range []broker.SocketID{"1.1", "0.0", "007.1234", "1234.5678", "18446744073709551616.1"} {
		if err := CheckSocketID(id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []broker.SocketID{"", ".", "1", "1.", ".1", "1.2.3", "1..2", "1.2 ", " 1.2", "-1.2", "1.2\n", "a.b", "1,2", "١.٢", "1.2:c", broker.SocketID(strings.Repeat("1", 64) + ".1")} {
		if err := CheckSocketID(id); !errors.Is(err, ErrSocketID) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
