package rest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// piecemeal is a log that stores the events of an append one by one.
type piecemeal struct{ broker.Log }

func (l piecemeal) Append(ctx context.Context, events ...*broker.Event) error {
	for _, e := range events {
		if err := l.Log.Append(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// Of a medium that can't store all or nothing the answer says how far it came.
func TestPartlyStored(t *testing.T) {
	t.Parallel()
	batch := func(n int, more string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`{"name":"%d","channel":"c","data":""%s}`, i+1, strings.ReplaceAll(more, "#", fmt.Sprint(i)))
		}
		return `{"batch":[` + strings.Join(list, ",") + `]}`
	}
	const key = `,"idempotency_key":"k#"`
	for name, v := range map[string]struct {
		path, body string
		stored     int // before the fault
		outcome    brokertest.Outcome
		want       string
		again      []string // stored when it was sent again
	}{
		"nothing of one": {
			"events", `{"name":"1","channel":"c","data":""` + key + `}`, 0, brokertest.NotStored,
			"The event was not stored, or may not have been: the log is unavailable. Trying again with the same idempotency key is safe.",
			[]string{"1"},
		},
		"nothing of three": {
			"batch_events", batch(3, key), 0, brokertest.NotStored,
			"The 3 events were not stored, or may not have been: the log is unavailable. Trying again with the same idempotency key is safe.",
			[]string{"1", "2", "3"},
		},
		"two of three": {
			"batch_events", batch(3, key), 2, brokertest.NotStored,
			"2 of 3 events were stored. The other one was not stored, or may not have been: the log is unavailable. Trying again with the same idempotency key is safe.",
			[]string{"1", "2", "3"},
		},
		"two of three, and the third too": {
			"batch_events", batch(3, key), 2, brokertest.StoredAnyway,
			"2 of 3 events were stored. The other one was not stored, or may not have been: the log is unavailable. Trying again with the same idempotency key is safe.",
			[]string{"1", "2", "3"},
		},
		"one of three, without keys": {
			"batch_events", batch(3, ""), 1, brokertest.NotStored,
			"1 of 3 events were stored. The others were not stored, or may not have been: the log is unavailable. Trying again may deliver twice what was stored after all; with an idempotency_key trying again is safe.",
			[]string{"1", "1", "2", "3"},
		},
		"one channel of two": {
			"events", `{"name":"1","channels":["d","c"],"data":""` + key + `}`, 1, brokertest.NotStored,
			"1 of 2 events were stored. The other one was not stored, or may not have been: the log is unavailable. Trying again with the same idempotency key is safe.",
			[]string{"1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory := &brokertest.Memory{}
			log := &brokertest.Faulty{Log: memory}
			s := open(t, onLog(t, piecemeal{log}), remembers)
			log.FailAppends(v.stored, 0) // these go well
			log.FailAppends(1, v.outcome)
			if status, body := s.do(t, "POST", "/apps/3/"+v.path, "", v.body); status != 503 || body != v.want {
				t.Errorf("%d %s\nwant 503 %s", status, body, v.want)
			}
			if status, body := s.do(t, "POST", "/apps/3/"+v.path, "", v.body); status != 200 {
				t.Errorf("again: %d %s", status, body)
			}
			if diff := cmp.Diff(v.again, stored(t, memory, "c")); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
		})
	}
}

// An atomic medium stores several channels and batches together, whatever went wrong.
func TestAllOrNothing(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		outcome brokertest.Outcome
		want    int
	}{
		"failed":            {brokertest.NotStored, 0},
		"failed but stored": {brokertest.StoredAnyway, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, r := range []struct{ path, body string }{
				{"events", `{"name":"1","channels":["a","b","c"],"data":""}`},
				{"batch_events", `{"batch":[{"name":"1","channel":"a","data":""},{"name":"1","channel":"b","data":""},{"name":"1","channel":"c","data":""}]}`},
			} {
				memory := &brokertest.Memory{}
				log := &brokertest.Faulty{Log: memory}
				s := open(t, onLog(t, log), remembers)
				log.FailAppends(1, v.outcome)
				if status, body := s.do(t, "POST", "/apps/3/"+r.path, "", r.body); status != 503 || !strings.HasPrefix(body, "The 3 events were not stored") {
					t.Errorf("%s: %d %s", r.path, status, body)
				}
				for _, ch := range []broker.Channel{"a", "b", "c"} {
					if got := stored(t, memory, ch); len(got) != v.want {
						t.Errorf("%s: %d events in %s, want %d", r.path, len(got), ch, v.want)
					}
				}
			}
		})
	}
}
