package redis

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func TestMessage(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_700_000_000_123).UTC()
	events := []*broker.Event{
		{App: "1", Channel: "a", ID: "1", Name: "n", Data: []byte("{}"), Time: at},
		{App: "1", Channel: "private-b", ID: "2", Name: "client-x", Data: []byte{0, 255}, Exclude: "1.2", UserID: "ü", Client: true, Time: time.UnixMilli(-1).UTC()},
		{App: "1", Data: []byte{}, Time: time.UnixMilli(0).UTC()},
	}
	message := []byte{version}
	var ends []int
	for _, e := range events {
		message = appendEvent(message, e)
		ends = append(ends, len(message))
	}
	got, err := readEvents("1", string(message))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(events, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Cut anywhere but between two events it is nothing.
	for n := range message {
		_, err := readEvents("1", string(message[:n]))
		whole := n == ends[0] || n == ends[1]
		if whole != (err == nil) || err != nil && !errors.Is(err, errNotEvents) {
			t.Errorf("%d of %d bytes: %v", n, len(message), err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendEvent([]byte{version}, &broker.Event{Channel: "a", ID: "b", Name: "c", Data: []byte("d"), Exclude: "1.1", UserID: "u", Client: true}))
	f.Add([]byte{version, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		events, err := readEvents("1", string(message))
		if err != nil {
			return
		}
		again := []byte{version}
		for _, e := range events {
			again = appendEvent(again, e)
		}
		back, err := readEvents("1", string(again))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(events, back); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestVersionOfACluster(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{"7.0.15": true, "8.2": true, "10": true, "6.2.14": false, "": false, "x": false} {
		if err := checkVersion("Redis", version); (err == nil) != ok {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

// Apps of a deployment are spread over tags, and each has keys of its own, whatever its name.
func TestKeys(t *testing.T) {
	t.Parallel()
	c := &Client{cfg: ClientConfig{Prefix: "p"}}
	keys := map[string]bool{}
	tags := map[string]bool{}
	for _, app := range []broker.AppID{"1", "1:", "1:a", "{1}", "}", "%presence", "", "ü"} {
		tags[c.tag(app)] = true
		for _, name := range []string{"", "a", ":a", "a:"} {
			key := c.key(app, "last", name)
			if keys[key] {
				t.Errorf("%q is the key of two", key)
			}
			keys[key] = true
		}
	}
	if len(tags) < 4 {
		t.Errorf("%d tags for 8 apps", len(tags))
	}
}
