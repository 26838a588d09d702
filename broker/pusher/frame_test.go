package pusher

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	frame := func(event, channel, data string) Frame {
		f := Frame{Event: []byte(event)}
		if channel != "-" {
			f.Channel = []byte(channel)
		}
		if data != "-" {
			f.Data = []byte(data)
		}
		return f
	}
	for in, want := range map[string]Frame{
		`{"event":"pusher:ping","data":{}}`:                                                frame("pusher:ping", "-", "{}"),
		`{"event": "pusher:ping"}`:                                                         frame("pusher:ping", "-", "-"),
		" \r\n\t{ \"event\" : \"a\" , \"data\" : 1 } ":                                     frame("a", "-", "1"),
		`{"event":"a","channel":null,"data":null}`:                                         frame("a", "-", "-"),
		`{"event":"a","channel":5,"data":[]}`:                                              frame("a", "-", "[]"),
		`{"event":"","channel":"","data":""}`:                                              frame("", "", `""`),
		`{"x":[{"y":-1.5e+3}],"event":"a","z":"\u00e9\n"}`:                                 frame("a", "-", "-"),
		`{"event":"a\nb","channel":"\u0063","data":"\""}`:                                  frame("a\nb", "c", `"\""`),
		`{"\u0065vent":"a"}`:                                                               frame("a", "-", "-"),
		`{"event":"a","event":"b","data":1,"data":2}`:                                      frame("b", "-", "2"),
		`{"event":"a","data":1,"data":null}`:                                               frame("a", "-", "-"),
		`{"event":"a","Event":"b","EVENT":5}`:                                              frame("a", "-", "-"),
		`{"event":"ü","channel":"ü","data":{"k": [1, 2] }}`:                                frame("ü", "ü", `{"k": [1, 2] }`),
		`{"event":"a","data":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`: frame("a", "-", strings.Repeat("[", 500)+strings.Repeat("]", 500)),
	} {
		got, err := Decode([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]error{
		``:                                    ErrFrame,
		`hello`:                               ErrFrame,
		`[]`:                                  ErrFrame,
		`null`:                                ErrFrame,
		`"x"`:                                 ErrFrame,
		`{}`:                                  ErrFrame,
		`{"event":5}`:                         ErrFrame,
		`{"event":null}`:                      ErrFrame,
		`{"data":{}}`:                         ErrFrame,
		`{"event":"a"`:                        ErrFrame,
		`{"event":"a"}}`:                      ErrFrame,
		`{"event":"a",}`:                      ErrFrame,
		`{,"event":"a"}`:                      ErrFrame,
		`{"event":"a" "data":1}`:              ErrFrame,
		`{"event":"a","data":01}`:             ErrFrame,
		`{"event":"a","data":+1}`:             ErrFrame,
		`{"event":"a","data":1.}`:             ErrFrame,
		`{"event":"a","data":1e}`:             ErrFrame,
		`{"event":"a","data":-}`:              ErrFrame,
		`{"event":"a","data":tru}`:            ErrFrame,
		`{"event":"a","data":[1,]}`:           ErrFrame,
		`{"event":"a","data":{"k"}}`:          ErrFrame,
		`{"event":"a","data":{k:1}}`:          ErrFrame,
		`{"event":"a","data":"\x"}`:           ErrFrame,
		`{"event":"a","data":"\u12g4"}`:       ErrFrame,
		"{\"event\":\"a\nb\"}":                ErrFrame,
		"{\"event\":\"a\",\"data\":\"\x01\"}": ErrFrame,
		"{\"event\":\"a\xff\"}":               ErrUTF8,
		"{\"event\":\"a\",\"data\":\"\xc3\"}": ErrUTF8,
		`{"event":"a","data":` + strings.Repeat("[", 20_000): ErrFrame,
	} {
		if f, err := Decode([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%.60s: %+v, %v, want %v", in, f, err, want)
		}
	}
}

func TestOrdinaryFramesTakeTheShortcut(t *testing.T) {
	files, err := filepath.Glob("testdata/client/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden client frames", err)
	}
	for _, file := range files {
		message, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if _, err := Decode(message); err != nil {
				t.Error(file, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", file, n)
		}
	}
}

// decoded reads a frame that is known to be one.
func decoded(t *testing.T, message string) Frame {
	t.Helper()
	f, err := Decode([]byte(message))
	if err != nil {
		t.Fatalf("%s: %v", message, err)
	}
	return f
}

func TestGoldenSubscribes(t *testing.T) {
	t.Parallel()
	member := `{"user_id":"10","user_info":{"name":"A"}}`
	for name, want := range map[string]Subscribe{
		"subscribe_public":             {Channel: "foo"},
		"subscribe_public_js":          {Channel: "foo"},
		"subscribe_private":            {Channel: "private-foo", Auth: "KEY:HEX"},
		"subscribe_presence":           {Channel: "presence-foo", Auth: "KEY:HEX", ChannelData: &member},
		"subscribe_string":             {Channel: "foo"},
		"subscribe_presence_signed_in": {Channel: "presence-foo", Auth: "KEY:HEX"},
		"subscribe_resume": {Channel: "private-orders", Auth: "KEY:SIG",
			Resume: &Resume{Position: "1-E1-1c-0", Socket: "1234.5678"}},
		"subscribe_rewind":         {Channel: "orders", Rewind: &Rewind{Count: 50}},
		"subscribe_rewind_seconds": {Channel: "orders", Rewind: &Rewind{Back: 30 * time.Second}},
		"subscribe_rewind_since":   {Channel: "orders", Rewind: &Rewind{Since: time.UnixMilli(1732350000000).UTC()}},
	} {
		f := decoded(t, golden(t, "client", name))
		got, err := f.Subscribe()
		if string(f.Event) != EventSubscribe || err != nil {
			t.Errorf("%s: %s, %v", name, f.Event, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	for data, want := range map[string]Subscribe{
		`{"channel":"c","auth":null,"channel_data":null,"resume":null,"rewind":null,"shared_secret":"x"}`: {Channel: "c"},
		`{"channel":"c","channel_data":""}`:                          {Channel: "c", ChannelData: text("")},
		`{"channel":"c","channel_data":" {\"a\":\"\\/\\u00e9\"} "}`:  {Channel: "c", ChannelData: text(` {"a":"\/\u00e9"} `)},
		`{"channel":"c","resume":{"position":""}}`:                   {Channel: "c", Resume: &Resume{}},
		`{"channel":"c","resume":{"position":"p","socket_id":null}}`: {Channel: "c", Resume: &Resume{Position: "p"}},
		`{"channel":"c","CHANNEL":"d"}`:                              {Channel: "c"},
		`{"channel":""}`:                                             {},
		`"{\"channel\":\"c\",\"channel_data\":\"{}\"}"`:              {Channel: "c", ChannelData: text("{}")},
	} {
		got, err := decoded(t, `{"event":"pusher:subscribe","data":`+data+`}`).Subscribe()
		if err != nil {
			t.Errorf("%s: %v", data, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", data, diff)
		}
	}
}

func TestSubscribeRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		data    string
		is      error
		text    string
		channel broker.Channel
	}{
		{`null`, ErrFrame, "Missing parameter: data.channel", ""},
		{`{}`, ErrFrame, "Missing parameter: data.channel", ""},
		{`{"channel":null}`, ErrFrame, "Missing parameter: data.channel", ""},
		{`{"channel":5}`, ErrFrame, "Invalid parameter: data.channel must be a string", ""},
		{`5`, ErrFrame, "Invalid parameter: data must be an object", ""},
		{`[]`, ErrFrame, "Invalid parameter: data must be an object", ""},
		{`"null"`, ErrFrame, "Invalid parameter: data must be an object", ""},
		{`"nonsense"`, ErrFrame, "Invalid parameter: data must be an object", ""},
		{`{"channel":"c","auth":5}`, ErrAuth, "Invalid format: auth must have the format key:signature", "c"},
		{`{"channel":"c","channel_data":{}}`, ErrChannelData, "Invalid parameter: data.channel_data must be a string of JSON", "c"},
		{`{"channel":"c","resume":"p"}`, ErrResume, "Invalid parameter: data.resume must be an object", "c"},
		{`{"channel":"c","resume":{}}`, ErrResume, "Missing parameter: data.resume.position", "c"},
		{`{"channel":"c","resume":{"position":7}}`, ErrResume, "Missing parameter: data.resume.position", "c"},
		{`{"channel":"c","resume":{"position":"p","socket_id":"x"}}`, ErrResume, "Invalid parameter: data.resume.socket_id must be a socket id", "c"},
		{`{"channel":"c","resume":{"position":"p","socket_id":1.2}}`, ErrResume, "Invalid parameter: data.resume.socket_id must be a socket id", "c"},
		{`{"channel":"c","resume":{"position":"p"},"rewind":{"count":1}}`, ErrResume, "Invalid parameter: data.resume and data.rewind exclude each other", "c"},
	} {
		got, err := decoded(t, `{"event":"pusher:subscribe","data":`+c.data+`}`).Subscribe()
		if !errors.Is(err, c.is) || err.Error() != c.text || got.Channel != c.channel {
			t.Errorf("%s: channel %q, %v; want %q, %s", c.data, got.Channel, err, c.channel, c.text)
		}
	}
}

func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	for _, message := range []string{golden(t, "client", "unsubscribe"), `{"event":"pusher:unsubscribe","data":"{\"channel\":\"foo\"}"}`} {
		if ch, err := decoded(t, message).Unsubscribe(); ch != "foo" || err != nil {
			t.Errorf("%s: %q, %v", message, ch, err)
		}
	}
	_, err := decoded(t, `{"event":"pusher:unsubscribe"}`).Unsubscribe()
	if !errors.Is(err, ErrFrame) || err.Error() != "Missing parameter: data.channel" {
		t.Error(err)
	}
}

func TestClientEventData(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`"data":{"on":true}`:             `{"on":true}`,
		`"data":"plain"`:                 `plain`,
		`"data":""`:                      ``,
		`"data":"{\"on\":\"\\/\"}"`:      `{"on":"\/"}`,
		`"data":"\u00e9\n"`:              "é\n",
		`"data":12345678901234567890.50`: `12345678901234567890.50`,
		`"data":[ 1 ]`:                   `[ 1 ]`,
		`"data":false`:                   `false`,
		`"data":null`:                    `{}`,
		`"user_id":"eve"`:                `{}`,
	} {
		ch, data, err := decoded(t, `{"event":"client-x","channel":"private-c",`+in+`}`).ClientEvent()
		if ch != "private-c" || string(data) != want || err != nil {
			t.Errorf("%s: %q %q %v, want %q", in, ch, data, err, want)
		}
	}
	for _, in := range []string{`{"event":"client-x","data":1}`, `{"event":"client-x","channel":7,"data":1}`} {
		_, _, err := decoded(t, in).ClientEvent()
		if !errors.Is(err, ErrFrame) || err.Error() != ClientEventWithoutChannel {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// FuzzDecode compares the scanner with encoding/json and drives what reads a frame further.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		message, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
	}
	for _, s := range []string{`{"event":"a","data":[-0.5e-7,true,false,null,{"x":"\ud800"}]}`, `{"event":"a","event":null}`, `{"event":"\ud83d\ude00","channel":"\\"}`} {
		f.Add([]byte(s))
	}
	frame := []string{"event", "channel", "data"}
	payload := []string{"channel", "auth", "channel_data", "resume", "rewind", "user_data", "ref", "limit", "before", "after"}
	f.Fuzz(func(t *testing.T, message []byte) {
		got, err := Decode(message)
		if !utf8.Valid(message) {
			if !errors.Is(err, ErrUTF8) {
				t.Fatalf("%q: %v", message, err)
			}
			return
		}
		sameMembers(t, message, frame)
		sameMembers(t, message, payload)
		if err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Fatalf("%q: %v", message, err)
			}
			return
		}
		if got.Data != nil && !json.Valid(got.Data) {
			t.Fatalf("%q: data %q", message, got.Data)
		}
		sameMembers(t, got.Data, payload)
		if s, err := got.Subscribe(); err == nil && !utf8.ValidString(string(s.Channel)+s.Auth) {
			t.Fatalf("%q: %+v", message, s)
		}
		if h, err := got.History(); err == nil && (h.Limit < 1 || h.Limit > MostEvents || h.Before != "" && h.After != "" ||
			!utf8.ValidString(string(h.Channel)+h.Before+h.After)) {
			t.Fatalf("%q: %+v", message, h)
		}
		if s, err := got.SignIn(); err == nil && !utf8.ValidString(s.Auth+s.UserData) {
			t.Fatalf("%q: %+v", message, s)
		}
		if _, data, err := got.ClientEvent(); err == nil && !utf8.Valid(data) {
			t.Fatalf("%q: data to deliver %q", message, data)
		}
	})
}

// sameMembers checks that what the scanner accepts, encoding/json accepts with the same result.
func sameMembers(t *testing.T, b []byte, names []string) {
	t.Helper()
	got, want := make([][]byte, len(names)), make([][]byte, len(names))
	if !scanMembers(b, names, got) {
		return
	}
	if !parseMembers(b, names, want) {
		t.Fatalf("%q: only the scanner accepts it", b)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%q (-json +scanner):\n%s", b, diff)
	}
}

func BenchmarkDecode(b *testing.B) {
	messages := map[string][]byte{
		"ping":         []byte(golden(b, "client", "ping")),
		"subscribe":    []byte(golden(b, "client", "subscribe_private")),
		"client_event": []byte(golden(b, "client", "client_event")),
		"client_256B":  []byte(`{"event":"client-move","channel":"presence-room","data":{"text":"` + strings.Repeat("lorem ipsum ", 14) + `"}}`),
	}
	for name, m := range messages {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(m)))
			for b.Loop() {
				if _, err := Decode(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	m := messages["client_event"]
	b.Run("encoding_json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !parseMembers(m, []string{"event", "channel", "data"}, make([][]byte, 3)) {
				b.Fatal("no object")
			}
		}
	})
	resume := []byte(golden(b, "client", "subscribe_resume"))
	b.Run("whole_subscribe", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f, _ := Decode(resume)
			if _, err := f.Subscribe(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
