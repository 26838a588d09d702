package prove

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

func TestView(t *testing.T) {
	t.Parallel()
	v := newView([]string{"a", "b"})
	for _, step := range []struct {
		change func(string) error
		id     string
		fault  string
	}{
		{v.added, "c", ""},
		{v.added, "a", "a was added who is there"},
		{v.removed, "a", ""},
		{v.removed, "a", "a was removed who isn't there"},
		{v.added, "a", ""},
		{v.removed, "d", "d was removed who isn't there"},
	} {
		got := ""
		if err := step.change(step.id); err != nil {
			got = err.Error()
		}
		if got != step.fault {
			t.Errorf("%s: %q, want %q", step.id, got, step.fault)
		}
	}
	for _, tt := range []struct {
		there []string
		want  string
	}{
		{[]string{"a", "b", "c"}, ""},
		{[]string{"a", "b"}, "has c who isn't there"}, // a ghost
		{[]string{"a", "b", "c", "d", "e"}, "lacks d, e"},
		{[]string{"a", "x"}, "has b, c who isn't there; lacks x"},
	} {
		if got := v.differs(newView(tt.there)); got != tt.want {
			t.Errorf("against %v: %q, want %q", tt.there, got, tt.want)
		}
	}
}

// What the people on a channel are told that can't be is found by them.
func TestPersonFindsWhatIsOutOfTurn(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		frames []string
		want   int
	}{
		"whole":                {[]string{"=a,b", "+c", "-b", "+b", "-c"}, 0},
		"added twice":          {[]string{"=a,b", "+c", "+c"}, 1},
		"added who is there":   {[]string{"=a,b", "+a"}, 1},
		"removed twice":        {[]string{"=a,b", "-b", "-b"}, 1},
		"removed, never added": {[]string{"=a", "-b"}, 1},
		"before the answer":    {[]string{"+a", "=a"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaults()
			p := &person{id: "a", ch: "presence-x", faults: f}
			for _, text := range tt.frames {
				what, ids := text[:1], text[1:]
				event := map[string]string{"=": "pusher_internal:subscription_succeeded", "+": "pusher_internal:member_added", "-": "pusher_internal:member_removed"}[what]
				data := fmt.Sprintf(`{"user_id":%q}`, ids)
				if what == "=" {
					data = fmt.Sprintf(`{"presence":{"ids":["%s"]}}`, strings.ReplaceAll(ids, ",", `","`))
				}
				if err := p.take(t.Context(), nil, frame{Event: event, Channel: p.ch, Data: data}); err != nil {
					t.Fatal(err)
				}
			}
			if got := f.count(faultTurn); got != tt.want || f.total() != tt.want {
				t.Errorf("%d faults, want %d: %v", got, tt.want, f.list())
			}
		})
	}
}

// hooked is a receiver and a hand that sends it webhooks.
type hooked struct {
	t *testing.T
	r *receiver
}

func newHooked(t *testing.T) *hooked {
	app := &credentials{app: "a", Credential: broker.Credential{Key: "k", Secret: "s"}}
	return &hooked{t, &receiver{app: app, log: io.Discard, faults: newFaults(), states: map[string]*turns{}}}
}

func (h *hooked) send(ms int64, event, ch, user string) {
	h.t.Helper()
	body := []byte(fmt.Sprintf(`{"time_ms":%d,"events":[{"name":%q,"channel":%q,"user_id":%q}]}`, ms, event, ch, user))
	req := httptest.NewRequest(http.MethodPost, "/webhooks", bytes.NewReader(body))
	req.Header.Set(pusher.HeaderSignature, pusher.SignWebhook(h.r.app.Credential, body))
	h.r.ServeHTTP(httptest.NewRecorder(), req)
}

func TestWebhooksTakeTurns(t *testing.T) {
	t.Parallel()
	const occupied, vacated, added, removed = "channel_occupied", "channel_vacated", "member_added", "member_removed"
	type hook struct {
		ms    int64
		event string
		user  string
	}
	for name, tt := range map[string]struct {
		hooks   []hook
		repeats int
		over    bool
	}{
		"whole":            {[]hook{{1, occupied, ""}, {1, added, "u"}, {2, removed, "u"}, {2, vacated, ""}}, 0, true},
		"again":            {[]hook{{1, occupied, ""}, {2, vacated, ""}, {3, occupied, ""}, {4, vacated, ""}}, 0, true},
		"occupied still":   {[]hook{{1, occupied, ""}, {2, vacated, ""}, {3, occupied, ""}}, 0, false},
		"a ghost":          {[]hook{{1, added, "u"}, {2, added, "v"}, {3, removed, "u"}}, 0, false},
		"twice":            {[]hook{{1, occupied, ""}, {2, occupied, ""}, {3, vacated, ""}}, 1, true},
		"never occupied":   {[]hook{{1, vacated, ""}}, 1, true},
		"an old one again": {[]hook{{1, occupied, ""}, {2, vacated, ""}, {1, occupied, ""}}, 1, true},
		"of no interest":   {[]hook{{1, "cache_miss", ""}}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHooked(t)
			for _, k := range tt.hooks {
				h.send(k.ms, k.event, "presence-x", k.user)
			}
			if got := len(h.r.repeats); got != tt.repeats {
				t.Errorf("%d told nothing new, want %d: %v", got, tt.repeats, h.r.whats)
			}
			if err := h.r.over(t.Context()); (err == nil) != tt.over {
				t.Errorf("over: %v, want %t", err, tt.over)
			}
			if h.r.faults.total() > 0 {
				t.Error(h.r.faults.list())
			}
		})
	}
}

// Webhooks that were told in the wrong order leave a wrong picture.
func TestWebhooksAgree(t *testing.T) {
	t.Parallel()
	there := map[broker.Channel]view{"x": newView([]string{"u"}), "y": {}}
	for name, tt := range map[string]struct {
		events []string
		want   string
	}{
		"whole":       {[]string{"x+u", "y+v", "y-v"}, ""},
		"wrong order": {[]string{"x+u", "x+u", "x-u"}, "who was told by webhooks of x lacks u"},
		"never told":  {nil, "who was told by webhooks of x lacks u"},
		"a ghost":     {[]string{"x+u", "y+v"}, "who was told by webhooks of y has v who isn't there"},
	} {
		h := newHooked(t)
		for i, e := range tt.events {
			name := "member_added"
			if e[1] == '-' {
				name = "member_removed"
			}
			h.send(int64(i), name, e[:1], e[2:])
		}
		got := ""
		if err := h.r.agree(there); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		if h.r.forgive(there); tt.want != "" && len(tt.events) > 0 {
			if err := h.r.agree(there); err != nil {
				t.Errorf("%s, forgiven: %v", name, err)
			}
		}
	}
}

// Some webhooks may come again in a trouble, none at other times.
func TestRepeatedWebhooksAreJudged(t *testing.T) {
	t.Parallel()
	h := newHooked(t)
	const repeats = repeatsAllowed + 2
	for range 1 + repeats {
		h.send(1, "channel_occupied", "x", "")
	}
	now := time.Now()
	if got := h.r.judge([]span{{now.Add(-time.Second), now}}, 1); got != repeats || h.r.faults.count(faultHook) != 2 {
		t.Errorf("in a trouble: %d repeated, %d faults", got, h.r.faults.count(faultHook))
	}
	h.r.faults = newFaults()
	h.r.judge([]span{{now.Add(-time.Hour), now.Add(-time.Minute)}}, 1)
	if h.r.faults.count(faultHook) != repeats {
		t.Errorf("after it: %d faults, want %d", h.r.faults.count(faultHook), repeats)
	}
}

func TestWebhooksThatNeverCome(t *testing.T) {
	t.Parallel()
	h := newHooked(t)
	h.send(1, "channel_occupied", "x", "")
	h.send(1, "member_added", "x", "u")
	people := []*person{{id: "u", ch: "x"}, {id: "v", ch: "x"}}
	err := h.r.told([]broker.Channel{"x", "y"}, people)
	if err == nil || err.Error() != "no webhook told of y, x v" {
		t.Error(err)
	}
	if err := h.r.told([]broker.Channel{"x"}, people[:1]); err != nil {
		t.Error(err)
	}
}

func TestWebhookOfAStranger(t *testing.T) {
	t.Parallel()
	h := newHooked(t)
	h.r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(`{"events":[]}`)))
	h.send(1, "channel_occupied", "x", "")
	if h.r.faults.count(faultHook) != 1 {
		t.Errorf("%v, want one fault", h.r.faults.list())
	}
}
