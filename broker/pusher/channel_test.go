package pusher

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func TestKinds(t *testing.T) {
	t.Parallel()
	type row struct{ Auth, Presence, Encrypted, Cache, ClientEvents bool }
	for _, c := range []struct {
		ch   broker.Channel
		kind Kind
		row  row
	}{
		{"private-encrypted-cache-x", PrivateEncryptedCache, row{Auth: true, Encrypted: true, Cache: true}},
		{"private-encrypted-x", PrivateEncrypted, row{Auth: true, Encrypted: true}},
		{"private-cache-x", PrivateCache, row{Auth: true, Cache: true, ClientEvents: true}},
		{"private-x", Private, row{Auth: true, ClientEvents: true}},
		{"presence-cache-x", PresenceCache, row{Auth: true, Presence: true, Cache: true, ClientEvents: true}},
		{"presence-x", Presence, row{Auth: true, Presence: true, ClientEvents: true}},
		{"cache-x", Cache, row{Cache: true}},
		{"#server-to-user-x", ServerToUser, row{}},
		{"x", Public, row{}},
		{"", Public, row{}},
		{"private", Public, row{}},
		{"privatefoo", Public, row{}},
		{"presencefoo", Public, row{}},
		{"cachefoo", Public, row{}},
		{"Private-x", Public, row{}},
		{"private-", Private, row{Auth: true, ClientEvents: true}},
		{"private-encrypted", Private, row{Auth: true, ClientEvents: true}},
		{"private-encrypted-cache", PrivateEncrypted, row{Auth: true, Encrypted: true}},
		{"private-cached", Private, row{Auth: true, ClientEvents: true}},
		{"presence-encrypted-x", Presence, row{Auth: true, Presence: true, ClientEvents: true}},
		{"cache-private-x", Cache, row{Cache: true}},
	} {
		k := KindOf(c.ch)
		if k != c.kind {
			t.Errorf("%s: %v, want %v", c.ch, k, c.kind)
		}
		got := row{k.NeedsAuth(), k.Presence(), k.Encrypted(), k.Cache(), k.ClientEvents()}
		if diff := cmp.Diff(c.row, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.ch, diff)
		}
	}
}

func TestKindStrings(t *testing.T) {
	t.Parallel()
	for k := Private; k <= PresenceCache; k++ {
		if back := KindOf(broker.Channel(k.String() + "-x")); back != k {
			t.Errorf("%v read back as %v", k, back)
		}
	}
	if got := Public.String() + " " + Cache.String() + " " + ServerToUser.String(); got != "public cache server-to-user" {
		t.Error(got)
	}
}

func TestCheckChannel(t *testing.T) {
	t.Parallel()
	long := func(n int) broker.Channel { return broker.Channel(strings.Repeat("x", n)) }
	for _, c := range []struct {
		ch     broker.Channel
		limits broker.Limits
		is     error
		text   string
	}{
		{ch: "foo-bar_1234@=,.;"},
		{ch: long(164)},
		{ch: long(200)},
		{ch: long(201), is: ErrChannelLength, text: "Channel name too long: 201 characters, at most 200 are allowed"},
		{ch: long(164), limits: broker.Limits{ChannelNameChars: 164}},
		{ch: long(165), limits: broker.Limits{ChannelNameChars: 164}, is: ErrChannelLength, text: "Channel name too long: 165 characters, at most 164 are allowed"},
		{ch: "", is: ErrChannelName, text: "Invalid channel name: it is empty"},
		{ch: "a b", is: ErrChannelName, text: "Invalid channel name 'a b': character ' ' is not allowed"},
		{ch: "a/b", is: ErrChannelName, text: "Invalid channel name 'a/b': character '/' is not allowed"},
		{ch: "a:b", is: ErrChannelName, text: "Invalid channel name 'a:b': character ':' is not allowed"},
		{ch: "#foo", is: ErrChannelName, text: "Invalid channel name '#foo': character '#' is not allowed"},
		{ch: "ä", is: ErrChannelName, text: "Invalid channel name 'ä': character 'ä' is not allowed"},
		{ch: "a\x00", is: ErrChannelName, text: "Invalid channel name 'a\x00': character '\\x00' is not allowed"},
		{ch: "a\xff", is: ErrChannelName, text: "Invalid channel name 'a\xff': character '�' is not allowed"},
		{ch: "#server-to-user-12345"},
		{ch: "#server-to-user-" + long(200)},
		{ch: "#server-to-user-" + long(201), is: ErrChannelLength, text: "Channel name too long: 201 characters, at most 200 are allowed"},
		{ch: "#server-to-user-", is: ErrChannelName, text: "Invalid channel name '#server-to-user-': it lacks the user's id"},
		{ch: "#server-to-user-a#b", is: ErrChannelName, text: "Invalid channel name '#server-to-user-a#b': character '#' is not allowed"},
		{ch: "x#server-to-user-1", is: ErrChannelName, text: "Invalid channel name 'x#server-to-user-1': character '#' is not allowed"},
	} {
		checkFault(t, string(c.ch), CheckChannel(c.ch, c.limits), c.is, c.text)
	}
	if err := CheckChannel("/"+long(100_000), broker.Limits{}); len(err.Error()) > 300 {
		t.Errorf("a complaint of %d bytes", len(err.Error()))
	}
}

func TestUserOf(t *testing.T) {
	t.Parallel()
	if id, ok := UserOf("#server-to-user-12345"); id != "12345" || !ok {
		t.Error(id, ok)
	}
	if _, ok := UserOf("private-12345"); ok {
		t.Error("private-12345 is no user's own channel")
	}
}

func BenchmarkCheckChannel(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckChannel("private-orders.42", broker.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
