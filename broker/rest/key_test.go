package rest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// with sends a signed publish with the headers given as its Idempotency-Key.
func (s *site) with(t *testing.T, path, body string, keys ...string) (int, string) {
	t.Helper()
	r := s.request(t, "POST", "/apps/3/"+path, "", body)
	for _, k := range keys {
		r.Header.Add("idempotency-key", k)
	}
	w := s.send(r)
	return w.Code, strings.TrimSuffix(w.Body.String(), "\n")
}

// Printable ASCII, all of it.
const printable = ` !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_` + "`abcdefghijklmnopqrstuvwxyz{|}~"

// What a key makes the ids of; an empty one is left to the node.
func TestKeysAccepted(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("k", 128)
	for name, v := range map[string]struct {
		path, body string
		header     []string
		want       []string
	}{
		"none":                          {"events", `{"name":"n","channels":["a","b"],"data":""}`, nil, []string{"", ""}},
		"null":                          {"events", `{"name":"n","channel":"a","data":"","idempotency_key":null}`, nil, []string{""}},
		"in the body":                   {"events", `{"name":"n","channel":"a","data":"","idempotency_key":"k"}`, nil, []string{"k"}},
		"in the body, escaped":          {"events", `{"name":"n","channel":"a","data":"","idempotency_key":"\u006b\"\\\/"}`, nil, []string{`k"\/`}},
		"in the header":                 {"events", `{"name":"n","channel":"a","data":""}`, []string{"k"}, []string{"k"}},
		"in the header, body null":      {"events", `{"name":"n","channel":"a","data":"","idempotency_key":null}`, []string{"k"}, []string{"k"}},
		"in both":                       {"events", `{"name":"n","channel":"a","data":"","idempotency_key":"k"}`, []string{"k"}, []string{"k"}},
		"longest":                       {"events", `{"name":"n","channels":["a","b"],"data":"","idempotency_key":"` + longest + `"}`, nil, []string{longest, longest + "·2"}},
		"longest, in the header":        {"events", `{"name":"n","channel":"a","data":""}`, []string{longest}, []string{longest}},
		"all characters":                {"events", fmt.Sprintf(`{"name":"n","channel":"a","data":"","idempotency_key":%q}`, printable), nil, []string{printable}},
		"all characters, in the header": {"events", `{"name":"n","channel":"a","data":""}`, []string{printable[1:]}, []string{printable[1:]}},
		"several channels":              {"events", `{"name":"n","channels":["a","b","a","c"],"data":"","idempotency_key":"k"}`, nil, []string{"k", "k·2", "k·3"}},
		"several channels, header":      {"events", `{"name":"n","channels":["a","b","c"],"data":""}`, []string{"k"}, []string{"k", "k·2", "k·3"}},
		"batch, each its own":           {"batch_events", `{"batch":[{"name":"n","channel":"a","data":"","idempotency_key":"x"},{"name":"n","channel":"a","data":""},{"name":"n","channel":"a","data":"","idempotency_key":"y"}]}`, nil, []string{"x", "", "y"}},
		"batch, twice the same":         {"batch_events", `{"batch":[{"name":"n","channel":"a","data":"","idempotency_key":"x"},{"name":"n","channel":"b","data":"","idempotency_key":"x"}]}`, nil, []string{"x", "x"}},
		"batch, in the header":          {"batch_events", `{"batch":[` + items(3) + `]}`, []string{"k"}, []string{"k", "k·2", "k·3"}},
		"batch, its own and the header": {"batch_events", `{"batch":[{"name":"n","channel":"a","data":"","idempotency_key":"x"},{"name":"n","channel":"a","data":""},{"name":"n","channel":"a","data":"","idempotency_key":null}]}`, []string{"k"}, []string{"x", "k·2", "k·3"}},
		"beside the batch":              {"batch_events", `{"idempotency_key":"k","batch":[` + items(1) + `]}`, nil, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			if status, body := s.with(t, v.path, v.body, v.header...); status != 200 || body != "{}" {
				t.Fatalf("%d %s, want 200 {}", status, body)
			}
			var ids []string
			for _, e := range s.node.published(t) {
				ids = append(ids, e.ID)
			}
			if diff := cmp.Diff(v.want, ids); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKeysRefused(t *testing.T) {
	t.Parallel()
	one := func(key string) string { return `{"name":"n","channel":"a","data":"","idempotency_key":` + key + `}` }
	plain := `{"name":"n","channel":"a","data":""}`
	tooLong := strings.Repeat("k", 129)
	for name, v := range map[string]struct {
		path, body string
		header     []string
		want       string
	}{
		"empty":                  {"events", one(`""`), nil, "Invalid idempotency_key: must have 1 to 128 characters"},
		"too long":               {"events", one(`"` + tooLong + `"`), nil, "Invalid idempotency_key: must have 1 to 128 characters"},
		"a number":               {"events", one(`7`), nil, "Expected idempotency_key parameter to be a string"},
		"a list":                 {"events", one(`["k"]`), nil, "Expected idempotency_key parameter to be a string"},
		"an object":              {"events", one(`{}`), nil, "Expected idempotency_key parameter to be a string"},
		"a newline":              {"events", one(`"a\nb"`), nil, "Invalid idempotency_key: only printable ASCII characters are allowed"},
		"delete":                 {"events", one(`"\u007f"`), nil, "Invalid idempotency_key: only printable ASCII characters are allowed"},
		"not ASCII":              {"events", one(`"é"`), nil, "Invalid idempotency_key: only printable ASCII characters are allowed"},
		"the mark":               {"events", one(`"k·2"`), nil, "Invalid idempotency_key: only printable ASCII characters are allowed"},
		"NUL":                    {"events", one(`"\u0000"`), nil, "Invalid idempotency_key: only printable ASCII characters are allowed"},
		"header empty":           {"events", plain, []string{""}, "Invalid Idempotency-Key header: must have 1 to 128 characters"},
		"header too long":        {"events", plain, []string{tooLong}, "Invalid Idempotency-Key header: must have 1 to 128 characters"},
		"header not ASCII":       {"events", plain, []string{"é"}, "Invalid Idempotency-Key header: only printable ASCII characters are allowed"},
		"header with tab":        {"events", plain, []string{"a\tb"}, "Invalid Idempotency-Key header: only printable ASCII characters are allowed"},
		"two headers":            {"events", plain, []string{"a", "b"}, "Invalid Idempotency-Key header: given more than once"},
		"two headers, the same":  {"events", plain, []string{"a", "a"}, "Invalid Idempotency-Key header: given more than once"},
		"body and header differ": {"events", one(`"a"`), []string{"b"}, "Invalid idempotency_key: differs from the Idempotency-Key header"},
		"in a batch, empty":      {"batch_events", `{"batch":[` + plain + `,` + one(`""`) + `]}`, nil, "Invalid batch[1].idempotency_key: must have 1 to 128 characters"},
		"in a batch, not ASCII":  {"batch_events", `{"batch":[` + plain + `,` + one(`"ü"`) + `]}`, nil, "Invalid batch[1].idempotency_key: only printable ASCII characters are allowed"},
		"in a batch, a number":   {"batch_events", `{"batch":[` + one(`1`) + `]}`, nil, "Expected batch[0].idempotency_key parameter to be a string"},
		"batch, header empty":    {"batch_events", `{"batch":[` + plain + `]}`, []string{""}, "Invalid Idempotency-Key header: must have 1 to 128 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			if status, body := s.with(t, v.path, v.body, v.header...); status != http.StatusBadRequest || body != v.want {
				t.Errorf("%d %s\nwant 400 %s", status, body, v.want)
			}
			if got := s.node.published(t); got != nil {
				t.Errorf("published %+v", publishes(got))
			}
		})
	}
}

// A key that was used before gets the first one's answer, and nothing is stored.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	type step struct {
		path, body string
		header     []string
		want       string // with <n> for the position of event n
	}
	const ask = `,"info":"position"`
	one := func(name, more string) string {
		return `{"name":"` + name + `","channel":"c","data":""` + more + `}`
	}
	for name, v := range map[string]struct {
		steps  []step
		stored []string // names, in channel c
	}{
		"nothing asked": {
			[]step{
				{"events", one("1", `,"idempotency_key":"k"`), nil, `{}`},
				{"events", one("1", `,"idempotency_key":"k"`), nil, `{}`},
			},
			[]string{"1"},
		},
		"in the body": {
			[]step{
				{"events", one("0", ""), nil, `{}`},
				{"events", one("1", `,"idempotency_key":"k"`+ask), nil, `{"channels":{"c":{"id":"k","position":"<2>","duplicate":false}}}`},
				{"events", one("2", ""), nil, `{}`},
				{"events", one("1", `,"idempotency_key":"k"`+ask), nil, `{"channels":{"c":{"id":"k","position":"<2>","duplicate":true}}}`},
			},
			[]string{"0", "1", "2"},
		},
		"in the header, then in the body": {
			[]step{
				{"events", one("1", ask), []string{`a"\b`}, `{"channels":{"c":{"id":"a\"\\b","position":"<1>","duplicate":false}}}`},
				{"events", one("1", ask+`,"idempotency_key":"a\"\\b"`), nil, `{"channels":{"c":{"id":"a\"\\b","position":"<1>","duplicate":true}}}`},
			},
			[]string{"1"},
		},
		"another body, another channel": {
			// Bodies aren't compared: what the first one said is what was published.
			[]step{
				{"events", one("1", ask), []string{"k"}, `{"channels":{"c":{"id":"k","position":"<1>","duplicate":false}}}`},
				{"events", one("2", ask), []string{"k"}, `{"channels":{"c":{"id":"k","position":"<1>","duplicate":true}}}`},
				{"events", `{"name":"3","channel":"d","data":""` + ask + `}`, []string{"k"}, `{"channels":{"d":{"id":"k","position":"<1>","duplicate":true}}}`},
			},
			[]string{"1"},
		},
		"several channels": {
			[]step{
				{"events", `{"name":"1","channels":["a","c"],"data":""` + ask + `}`, []string{"k"}, `{"channels":{"a":{"id":"k","position":"<1>","duplicate":false},"c":{"id":"k·2","position":"<2>","duplicate":false}}}`},
				{"events", `{"name":"1","channels":["a","c"],"data":""` + ask + `}`, []string{"k"}, `{"channels":{"a":{"id":"k","position":"<1>","duplicate":true},"c":{"id":"k·2","position":"<2>","duplicate":true}}}`},
			},
			[]string{"1"},
		},
		"in a batch": {
			[]step{
				{"batch_events", `{"batch":[` + one("1", `,"idempotency_key":"x"`+ask) + `,` + one("2", "") + `,` + one("3", `,"idempotency_key":"x"`+ask) + `]}`, nil, `{"batch":[{"id":"x","position":"<1>","duplicate":false},{},{"id":"x","position":"<1>","duplicate":true}]}`},
				{"batch_events", `{"batch":[` + one("4", `,"idempotency_key":"y"`) + `,` + one("1", `,"idempotency_key":"x"`+ask) + `]}`, nil, `{"batch":[{},{"id":"x","position":"<1>","duplicate":true}]}`},
			},
			[]string{"1", "2", "4"},
		},
		"a batch by its header": {
			[]step{
				{"batch_events", `{"batch":[` + one("1", "") + `,` + one("2", "") + `]}`, []string{"k"}, `{}`},
				{"batch_events", `{"batch":[` + one("1", ask) + `,` + one("2", ask) + `]}`, []string{"k"}, `{"batch":[{"id":"k","position":"<1>","duplicate":true},{"id":"k·2","position":"<2>","duplicate":true}]}`},
			},
			[]string{"1", "2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory := &brokertest.Memory{}
			s := open(t, onLog(t, memory), remembers)
			for i, step := range v.steps {
				status, body := s.with(t, step.path, step.body, step.header...)
				want := step.want
				for serial := range uint64(9) {
					if mark := fmt.Sprintf("<%d>", serial); strings.Contains(want, mark) {
						e, err := memory.At(t.Context(), "3", serial)
						if err != nil || e == nil {
							t.Fatalf("step %d: event %d: %v, error %v", i, serial, e, err)
						}
						want = strings.ReplaceAll(want, mark, e.Position.String())
					}
				}
				if status != 200 || body != want {
					t.Errorf("step %d: %d %s\nwant 200 %s", i, status, body, want)
				}
			}
			if diff := cmp.Diff(v.stored, stored(t, memory, "c")); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKeysAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := &brokertest.Memory{}
		s := open(t, onLog(t, memory), remembers)
		for _, after := range []time.Duration{0, 2*time.Minute - time.Second, time.Second} {
			time.Sleep(after)
			if status, body := s.with(t, "events", `{"name":"n","channel":"c","data":""}`, "k"); status != 200 {
				t.Errorf("%d %s", status, body)
			}
		}
		if got := stored(t, memory, "c"); len(got) != 2 {
			t.Errorf("%d events stored, want one in the window and one after it", len(got))
		}
	})
}

// Without an answer that got through, a key makes a second try safe whatever became of the first.
func TestKeysMakeTryingAgainSafe(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]brokertest.Outcome{"failed": brokertest.NotStored, "failed but stored": brokertest.StoredAnyway} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory := &brokertest.Memory{}
			log := &brokertest.Faulty{Log: memory}
			s := open(t, onLog(t, log), remembers)
			log.FailAppends(1, outcome)
			body := `{"name":"n","channels":["c","d"],"data":"","idempotency_key":"k"}`
			if status, answer := s.with(t, "events", body); status != 503 || !strings.Contains(answer, "Trying again with the same idempotency key is safe.") {
				t.Errorf("%d %s", status, answer)
			}
			if status, answer := s.with(t, "events", body); status != 200 {
				t.Errorf("again: %d %s", status, answer)
			}
			for _, ch := range []broker.Channel{"c", "d"} {
				if got := stored(t, memory, ch); len(got) != 1 {
					t.Errorf("%d events stored in %s, want 1", len(got), ch)
				}
			}
		})
	}
}

// A medium without memory has no positions and doesn't know keys; it says so.
func TestKeysWithoutMemory(t *testing.T) {
	t.Parallel()
	log := &brokertest.Faulty{Log: brokertest.NewCarrier()}
	s := open(t, onLog(t, log))
	body := `{"name":"n","channel":"c","data":"","idempotency_key":"k","info":"position,subscription_count"}`
	const want = `{"channels":{"c":{"id":"k","position":null,"duplicate":false,"subscription_count":0}}}`
	for range 2 {
		if status, answer := s.with(t, "events", body); status != 200 || answer != want {
			t.Errorf("%d %s\nwant %s", status, answer, want)
		}
	}
	log.FailAppends(1, brokertest.NotStored)
	if status, answer := s.with(t, "events", body); status != 503 || !strings.HasSuffix(answer, "Trying again may deliver twice what was stored after all: this medium does not know idempotency keys.") {
		t.Errorf("%d %s", status, answer)
	}
}
