package streams

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
)

// carried returns headers as NATS brings them: as text that was written and read again.
func carried(t *testing.T, h nats.Header) nats.Header {
	t.Helper()
	var b strings.Builder
	b.WriteString("NATS/1.0\r\n")
	for key, values := range h {
		for _, v := range values {
			b.WriteString(key + ": " + v + "\r\n")
		}
	}
	b.WriteString("\r\n")
	back, err := nats.DecodeHeadersMsg([]byte(b.String()))
	if err != nil {
		t.Fatalf("headers %q: %v", h, err)
	}
	return back
}

// roundTrip sends an event through a message and back.
func roundTrip(t *testing.T, e *broker.Event) {
	t.Helper()
	m := encode("p.app.", e)
	if n := headerBytes(m); n > headersMax {
		return // Append refuses it
	}
	got, err := decode(e.App, "p.app.", m.Subject, carried(t, m.Header), m.Data, "E1", 7)
	if err != nil {
		t.Fatalf("%+v: %v", e, err)
	}
	want := *e
	want.Position = broker.Position{Epoch: "E1", Serial: 7, Time: e.Time.UnixMilli()}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("event through a message (-want +got):\n%s", diff)
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1732350000123).UTC()
	for _, e := range []*broker.Event{
		{App: "a", Channel: "ch", ID: "1", Name: "n", Data: []byte("{}"), Time: at},
		{App: "a", Channel: "ch", ID: "1", Name: "n", Data: []byte("\x00\xff\r\n"), Time: at, Exclude: "12.34", UserID: "u", Client: true},
		{App: "a", Channel: "a.b", ID: " lead and trail ", Name: "line\r\nbreak: \t%0A", Time: at, UserID: "ünïcode"},
		{App: "a", Channel: "ch", Time: time.UnixMilli(0).UTC()},
		{App: "a", Channel: "ch", ID: " ", Name: "  ", Exclude: "%", Time: time.UnixMilli(-1).UTC()},
	} {
		roundTrip(t, e)
	}
}

func TestForeignMessages(t *testing.T) {
	t.Parallel()
	good := nats.Header{headerTime: {"1732350000123"}, headerName: {"n"}}
	if _, err := decode("a", "p.app.", "p.app.ch.b", good, nil, "E", 1); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]struct {
		subject string
		header  nats.Header
	}{
		"other subject": {"p.app.ch", good},
		"no headers":    {"p.app.ch.b", nil},
		"no time":       {"p.app.ch.b", nats.Header{headerName: {"n"}}},
		"empty time":    {"p.app.ch.b", nats.Header{headerTime: {}}},
		"bad time":      {"p.app.ch.b", nats.Header{headerTime: {"12x"}}},
		"bad escape":    {"p.app.ch.b", nats.Header{headerTime: {"1"}, headerName: {"%4"}}},
		"raw byte":      {"p.app.ch.b", nats.Header{headerTime: {"1"}, headerUser: {"\x01"}}},
	} {
		if e, err := decode("a", "p.app.", m.subject, m.header, nil, "E", 1); !errors.Is(err, errNotEvent) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("ch", "id", "name", "1.2", "user", []byte("data"), int64(1), true)
	f.Add("a.b", " ", "\r\n", "%", "é", []byte(nil), int64(-5), false)
	f.Fuzz(func(t *testing.T, ch, id, name, exclude, user string, data []byte, ms int64, client bool) {
		if ch != "" {
			roundTrip(t, &broker.Event{
				App: "a", Channel: broker.Channel(ch), ID: id, Name: name, Data: data,
				Exclude: broker.SocketID(exclude), UserID: user, Client: client,
				Time: time.UnixMilli(ms % 1e15).UTC(),
			})
		}
		// The same strings as what a stranger put there.
		h := nats.Header{headerID: {id}, headerName: {name}, headerExclude: {exclude}, headerUser: {user}, headerTime: {strconv.FormatInt(ms, 10)}}
		if e, err := decode("a", "p.app.", ch, h, data, "E", 1); err != nil && (e != nil || !errors.Is(err, errNotEvent)) {
			t.Errorf("%v, %v", e, err)
		}
	})
}
