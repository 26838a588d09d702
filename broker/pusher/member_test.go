package pusher

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func TestReadMember(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]broker.Member{
		`{"user_id":"10"}`: {UserID: "10"},
		`{"user_id":10}`:   {UserID: "10"},
		`{"user_id":-7}`:   {UserID: "-7"},
		`{"user_id":123456789012345678901234567890}`:                        {UserID: "123456789012345678901234567890"},
		`{"user_id":"10","user_info":null}`:                                 {UserID: "10"},
		`{"user_id":"10","user_info":true}`:                                 {UserID: "10", Info: json.RawMessage(`true`)},
		` { "user_info" : { "name" : [ "\u00e9" ] } , "user_id" : "ü-1" } `: {UserID: "ü-1", Info: json.RawMessage(`{ "name" : [ "\u00e9" ] }`)},
		`{"user_id":"a\/b","x":1}`:                                          {UserID: "a/b"},
		`{"user_id":1,"user_id":"2","User_id":3}`:                           {UserID: "2"},
		`{"user_id":"` + strings.Repeat("ü", 128) + `"}`:                    {UserID: strings.Repeat("ü", 128)},
		`{"user_id":1,"user_info":"` + strings.Repeat("x", 1022) + `"}`:     {UserID: "1", Info: json.RawMessage(`"` + strings.Repeat("x", 1022) + `"`)},
	} {
		got, err := ReadMember(in, broker.Limits{})
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
}

func TestReadMemberRefuses(t *testing.T) {
	t.Parallel()
	const notJSON = "Invalid channel_data: it must be a JSON object"
	const lacks = "Invalid channel_data: it lacks user_id"
	const wrong = "Invalid channel_data: user_id must be an integer or a string that is not empty"
	for _, c := range []struct {
		in   string
		is   error
		text string
	}{
		{"", ErrChannelData, notJSON},
		{"nonsense", ErrChannelData, notJSON},
		{"null", ErrChannelData, notJSON},
		{"[]", ErrChannelData, notJSON},
		{`"x"`, ErrChannelData, notJSON},
		{`{"user_id":1`, ErrChannelData, notJSON},
		{"{\"user_id\":\"\xff\"}", ErrChannelData, "Invalid channel_data: it is not valid UTF-8"},
		{`{}`, ErrChannelData, lacks},
		{`{"user_id":null}`, ErrChannelData, lacks},
		{`{"user_id":""}`, ErrChannelData, wrong},
		{`{"user_id":{}}`, ErrChannelData, wrong},
		{`{"user_id":[1]}`, ErrChannelData, wrong},
		{`{"user_id":true}`, ErrChannelData, wrong},
		{`{"user_id":1.5}`, ErrChannelData, wrong},
		{`{"user_id":1e3}`, ErrChannelData, wrong},
		{`{"user_id":"` + strings.Repeat("x", 129) + `"}`, ErrMemberSize, "user_id too long: 129 characters, at most 128 are allowed"},
		{`{"user_id":` + strings.Repeat("1", 129) + `}`, ErrMemberSize, "user_id too long: 129 characters, at most 128 are allowed"},
		{`{"user_id":1,"user_info":"` + strings.Repeat("x", 1023) + `"}`, ErrMemberSize, "user_info too large: 1025 bytes, at most 1024 are allowed"},
	} {
		m, err := ReadMember(c.in, broker.Limits{})
		checkFault(t, c.in, err, c.is, c.text)
		if m.UserID != "" || m.Info != nil {
			t.Errorf("%s: %+v beside an error", c.in, m)
		}
	}
	limits := broker.Limits{PresenceUserIDChars: 2, PresenceUserInfoBytes: 3}
	if _, err := ReadMember(`{"user_id":"ab","user_info":123}`, limits); err != nil {
		t.Error(err)
	}
	for _, in := range []string{`{"user_id":"abc"}`, `{"user_id":"ab","user_info":1234}`} {
		if _, err := ReadMember(in, limits); !errors.Is(err, ErrMemberSize) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// FuzzChannelData checks that an accepted member comes out of its frames as it went in.
func FuzzChannelData(f *testing.F) {
	for _, s := range []string{`{"user_id":"10","user_info":{"name":"A"}}`, `{"user_id":10}`, `{"user_id":-0,"user_info":[ 1 ,"\ud800"]}`, `{"user_id":"\u0000\"\\"}`, "nonsense"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		m, err := ReadMember(data, broker.Limits{})
		if err != nil {
			if !errors.Is(err, ErrChannelData) && !errors.Is(err, ErrMemberSize) {
				t.Fatal(err)
			}
			return
		}
		if m.UserID == "" || !utf8.ValidString(m.UserID) || utf8.RuneCountInString(m.UserID) > 128 || len(m.Info) > 1024 {
			t.Fatalf("%q: %+v", data, m)
		}
		var added struct {
			UserID   string          `json:"user_id"`
			UserInfo json.RawMessage `json:"user_info"`
		}
		twice(t, AppendDelivery(nil, &broker.Delivery{Notice: &broker.Notice{Kind: broker.MemberAdded, Member: m}}, broker.Plain), &added)
		info := string(m.Info)
		if m.Info == nil {
			info = "null"
		}
		if added.UserID != m.UserID || string(added.UserInfo) != info {
			t.Fatalf("%q: %+v, in the frame %+v", data, m, added)
		}
	})
}
