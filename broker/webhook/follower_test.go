package webhook

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func (h *harness) clientEvent(ch broker.Channel, user string, n int) {
	h.queue.store(&broker.Event{
		App: "shop", Channel: ch, ID: fmt.Sprintf("id-%d", n), Name: fmt.Sprintf("client-%d", n),
		Data: []byte(`{"on":true}`), Exclude: "1.2", UserID: user, Client: true, Time: time.Now(),
	})
}

// Client events come from the log, each once, also when the run that was to tell them ended between the
// log and the queue.
func TestClientEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook, broker.Endpoint{Name: "two", URL: "https://two.example/", Events: []string{"presence"}})
		began := time.Now()
		h.start()
		h.clientEvent("private-a", "", 1)
		h.clientEvent("presence-a", "7", 2)
		h.after(time.Second)
		posts := h.receiver.all()
		if len(posts) != 2 {
			t.Fatalf("posts: %+v", posts)
		}
		want := map[string]bool{
			fmt.Sprintf(`{"time_ms":%d,"events":[{"name":"client_event","channel":"private-a","event":"client-1","data":"{\"on\":true}","socket_id":"1.2"}]}`, began.UnixMilli()):                true,
			fmt.Sprintf(`{"time_ms":%d,"events":[{"name":"client_event","channel":"presence-a","event":"client-2","data":"{\"on\":true}","socket_id":"1.2","user_id":"7"}]}`, began.UnixMilli()): true,
		}
		for _, p := range posts {
			verify(t, p)
			if !want[p.body] || p.url != hook.URL {
				t.Errorf("%s got %s", p.url, p.body)
			}
		}
		h.stop()

		// Killed between the put and the word to the log: they are put again and known.
		h.clientEvent("private-a", "", 3)
		h.queue.set(func() { h.queue.followed["shop"] = 0 })
		h.start()
		h.after(time.Second)
		if diff := cmp.Diff([]string{"client_event private-a client-3"}, h.told()[2:]); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if len(h.queue.unfollow) > 0 {
			t.Error("unfollowed at the end of a run: its successor would miss what comes between")
		}
		h.stop()
	})
}

// Nothing is followed on that isn't in the queue.
func TestClientEventsQueueDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.start()
		h.after(time.Second)
		h.queue.set(func() { h.queue.down = true })
		h.after(5 * time.Second)
		h.clientEvent("private-a", "", 1)
		h.after(time.Minute)
		h.stop()
		h.queue.set(func() { h.queue.down = false })
		h.start()
		h.after(10 * time.Second)
		if diff := cmp.Diff([]string{"client_event private-a client-1"}, h.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		h.stop()
	})
}

// An app is followed from when an endpoint wants its client events, and no longer than that.
func TestFollowedAsWanted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		quiet := hook
		quiet.Events = []string{"presence"}
		h := newHarness(t, quiet)
		h.start()
		h.after(time.Hour)
		if len(h.queue.since) != 0 {
			t.Error("followed though nobody wants client events")
		}
		h.apps.set(hook)
		h.apps.apps[0].ClientEvents = false
		if err := h.w.Reload(); err != nil {
			t.Fatal(err)
		}
		h.after(time.Hour)
		if len(h.queue.since) != 0 {
			t.Error("followed though the app has no client events")
		}
		h.apps.set(hook)
		if err := h.w.Reload(); err != nil {
			t.Fatal(err)
		}
		wanted := time.Now()
		h.after(time.Second)
		if got := h.queue.since["shop"]; !got.Equal(wanted) {
			t.Errorf("followed since %v, want %v", got, wanted)
		}
		h.clientEvent("private-a", "", 1)
		h.after(time.Second)
		h.apps.set(quiet)
		if err := h.w.Reload(); err != nil {
			t.Fatal(err)
		}
		h.after(10 * time.Second)
		if diff := cmp.Diff([]broker.AppID{"shop"}, h.queue.unfollow); diff != "" {
			t.Errorf("unfollowed (-want +got):\n%s", diff)
		}
		h.clientEvent("private-a", "", 2)
		h.after(10 * time.Second)
		if diff := cmp.Diff([]string{"client_event private-a client-1"}, h.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		h.stop()
	})
}
