package pusher

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []Code{
		CodeTLSOnly, CodeUnknownApp, CodeAppDisabled, CodeAppOverQuota, CodePathNotFound, CodeVersionMalformed,
		CodeVersionUnsupported, CodeVersionMissing, CodeUnauthorized, CodeOverCapacity, CodeReconnect,
		CodePongMissing, CodeInactive, CodeClientEventRate, CodeWatchlistLimit,
	} {
		if text := c.Text(); text == "Error" || len(text) > CloseReasonBytes {
			t.Errorf("%d: %q", c, text)
		}
	}
	if got := CodeNone.Text(); got != "Error" {
		t.Error(got)
	}
	if got, want := UnknownApp("K"), "App key K not in this cluster. Did you forget to specify the cluster?"; got != want {
		t.Error(got)
	}
	if got := UnknownApp(strings.Repeat("ü", 100)); len(got) > CloseReasonBytes || !utf8.ValidString(got) || !strings.HasSuffix(got, "cluster?") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	type wire struct {
		Type   string
		Status int
	}
	for r, want := range map[Refusal]wire{
		Unauthorized:   {"AuthError", 401},
		ChannelFull:    {"LimitReached", 4100},
		MemberTooLarge: {"LimitReached", 4301},
		NameTooLong:    {"LimitReached", 4009},
		NameInvalid:    {"InvalidChannel", 4009},
		DataInvalid:    {"InvalidData", 400},
	} {
		if got := (wire{r.Type(), r.Status()}); got != want {
			t.Errorf("%d: %v, want %v", r, got, want)
		}
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		AlreadySubscribed("X"):        "Existing subscription to channel X",
		NotSubscribed("X"):            "No current subscription to channel X, or subscription in progress",
		ClientEventNotSubscribed("X"): "Cannot broadcast client event (connection not subscribed to channel X)",
		UnsupportedEvent("X"):         "Unsupported event received on socket: 'X'",
		ClientEventWithoutChannel:     "Invalid client event (must contain channel and data)",
		ClientEventsDisabled:          "To send client events, you must enable this feature in the Settings page of your dashboard.",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := UnsupportedEvent(strings.Repeat("ü", 5000)); len(got) > 300 || !utf8.ValidString(got) {
		t.Errorf("an answer of %d bytes", len(got))
	}
}
