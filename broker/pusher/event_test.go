package pusher

import (
	"errors"
	"strings"
	"testing"

	"github.com/playhead/playhead/broker"
)

func TestCheckEventName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
	}{
		{`App\Events\OrderShipped`, ""},
		{".foo:bar", ""},
		{"client-x", ""},
		{"pusher", ""},
		{" ", ""},
		{"a\nb", ""},
		{strings.Repeat("ü", 200), ""},
		{strings.Repeat("ü", 201), "Event name too long: 201 characters, at most 200 are allowed"},
		{"", "Invalid event name: it is empty"},
		{"pusher:x", "Invalid event name 'pusher:x': the prefix pusher: is reserved"},
		{"pusher_internal:x", "Invalid event name 'pusher_internal:x': the prefix pusher_internal: is reserved"},
		{"playhead:gap", "Invalid event name 'playhead:gap': the prefix playhead: is reserved"},
	} {
		var is error
		if c.text != "" {
			is = ErrEventName
		}
		checkFault(t, c.name, CheckEventName(c.name, broker.Limits{}), is, c.text)
	}
	if err := CheckEventName("abc", broker.Limits{EventNameChars: 2}); !errors.Is(err, ErrEventName) {
		t.Error(err)
	}
}

func TestCheckClientEventName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
	}{
		{"client-typing", ""},
		{"client-" + strings.Repeat("ü", 193), ""},
		{"client-" + strings.Repeat("ü", 194), "Event name too long: 201 characters, at most 200 are allowed"},
		{"foo", "Unsupported event received on socket: 'foo'"},
		{"", "Unsupported event received on socket: ''"},
		{"Client-x", "Unsupported event received on socket: 'Client-x'"},
		{"pusher_internal:member_added", "Unsupported event received on socket: 'pusher_internal:member_added'"},
	} {
		var is error
		if c.text != "" {
			is = ErrEventName
		}
		checkFault(t, c.name, CheckClientEventName(c.name, broker.Limits{}), is, c.text)
	}
}

func TestCheckData(t *testing.T) {
	t.Parallel()
	umlauts := []byte(strings.Repeat("ü", 5120))
	checkFault(t, "10240 bytes", CheckData(umlauts, broker.Limits{}), nil, "")
	checkFault(t, "10241 bytes", CheckData(append(umlauts, 'x'), broker.Limits{}), ErrDataSize,
		"The data content of this event exceeds the allowed maximum (10240 bytes)")
	checkFault(t, "nothing", CheckData(nil, broker.Limits{DataBytes: 1}), nil, "")
}
