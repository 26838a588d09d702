package webhook

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// Vacated and removed are held for three seconds, and not told when they are taken back.
func TestDelay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		steps func(h *harness)
		want  []string // "seconds event"
	}{
		{"vacated", func(h *harness) {
			h.notify(broker.ChannelVacated, "a", "")
		}, []string{"3 channel_vacated a"}},
		{"occupied", func(h *harness) {
			h.notify(broker.ChannelOccupied, "a", "")
		}, []string{"0 channel_occupied a"}},
		{"taken back", func(h *harness) {
			h.notify(broker.ChannelVacated, "a", "")
			h.after(2900 * time.Millisecond)
			h.notify(broker.ChannelOccupied, "a", "")
		}, nil},
		{"too late", func(h *harness) {
			h.notify(broker.ChannelVacated, "a", "")
			h.after(3100 * time.Millisecond)
			h.notify(broker.ChannelOccupied, "a", "")
		}, []string{"3 channel_vacated a", "3.1 channel_occupied a"}},
		{"another channel", func(h *harness) {
			h.notify(broker.ChannelVacated, "a", "")
			h.notify(broker.ChannelOccupied, "b", "")
		}, []string{"0 channel_occupied b", "3 channel_vacated a"}},
		{"back and forth", func(h *harness) {
			for range 3 {
				h.notify(broker.ChannelVacated, "a", "")
				h.after(time.Second)
				h.notify(broker.ChannelOccupied, "a", "")
				h.after(time.Second)
			}
			h.notify(broker.ChannelVacated, "a", "")
		}, []string{"9 channel_vacated a"}},
		{"a member of several", func(h *harness) {
			h.notify(broker.MemberRemoved, "presence-a", "1")
			h.after(time.Second)
			h.notify(broker.MemberAdded, "presence-a", "2") // waits: one order per channel
			h.after(time.Second)
			h.notify(broker.MemberAdded, "presence-a", "1")
		}, []string{"2 member_added presence-a 2"}},
		{"member and channel", func(h *harness) {
			h.notify(broker.MemberRemoved, "presence-a", "1")
			h.notify(broker.ChannelVacated, "presence-a", "")
			h.after(time.Second)
			h.notify(broker.ChannelOccupied, "presence-a", "")
			h.notify(broker.MemberAdded, "presence-a", "1")
		}, nil},
		{"order of a channel", func(h *harness) {
			h.notify(broker.MemberRemoved, "presence-a", "1")
			h.after(time.Second)
			h.notify(broker.MemberAdded, "presence-a", "2")
			h.notify(broker.MemberRemoved, "presence-a", "2")
			h.notify(broker.MemberAdded, "presence-a", "3")
		}, []string{"3 member_removed presence-a 1", "3 member_added presence-a 2", "4 member_removed presence-a 2", "4 member_added presence-a 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, hook)
				h.start()
				c.steps(h)
				h.after(10 * time.Second)
				var got []string
				for _, p := range h.receiver.all() {
					verify(t, p)
					for _, e := range p.events(t) {
						got = append(got, fmt.Sprintf("%v %s", p.at.Seconds(), e))
					}
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("told (-want +got):\n%s", diff)
				}
				if n := h.left(); n != 0 {
					t.Errorf("%d letters left in the queue", n)
				}
				h.stop()
			})
		})
	}
}

// The delay is of the configuration, and survives a restart, which neither begins it anew nor ends it.
func TestDelayOverRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		longer := func(c *Config) { c.Delay = 10 * time.Second }
		h.start(longer)
		h.notify(broker.ChannelVacated, "a", "")
		h.notify(broker.ChannelVacated, "b", "")
		h.after(2 * time.Second)
		h.stop()
		h.after(2 * time.Second)
		h.start(longer)
		h.notify(broker.ChannelOccupied, "b", "")
		h.after(20 * time.Second)
		posts := h.receiver.all()
		if len(posts) != 1 || posts[0].at != 10*time.Second {
			t.Errorf("posts: %+v", posts)
		}
		if diff := cmp.Diff([]string{"channel_vacated a"}, h.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		h.stop()
		h.start(func(c *Config) { c.Delay = -1 })
		h.notify(broker.ChannelVacated, "c", "")
		h.notify(broker.ChannelOccupied, "c", "")
		h.after(time.Second)
		if got := h.told(); len(got) != 3 {
			t.Errorf("told without a delay: %v", got)
		}
		h.stop()
	})
}

// A clock that is ahead holds an event back for the delay, not for as long as it is ahead.
func TestDelayOfClockAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.start()
		h.w.Notify(&broker.Notice{App: "shop", Channel: "a", Kind: broker.ChannelVacated, Time: time.Now().Add(time.Hour)})
		h.after(4 * time.Second)
		if got := h.told(); len(got) != 1 {
			t.Errorf("told: %v", got)
		}
		h.stop()
	})
}

// What comes only after its delay isn't taken back: it may have been told by whoever took the letters before,
// and then what takes it back would never be.
func TestLateIsNotTakenBack(t *testing.T) {
	t.Parallel()
	for came, want := range map[time.Duration]bool{2 * time.Second: true, 3 * time.Second: false} {
		l := newLine(3 * time.Second)
		start := time.Now()
		vacated := &entry{name: "channel_vacated", ch: "a", letter: &broker.Letter{Time: start}}
		occupied := &entry{name: "channel_occupied", ch: "a", letter: &broker.Letter{Time: start.Add(time.Second)}}
		l.add(start.Add(came), vacated)
		if got := l.add(start.Add(10*time.Second), occupied) != nil; got != want {
			t.Errorf("came after %v: taken back %v, want %v", came, got, want)
		}
	}
}
