package rest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// publish is what a test looks at in an event.
type publish struct {
	Channel broker.Channel
	Name    string
	Data    string
	Exclude broker.SocketID
}

func publishes(events []*broker.Event) []publish {
	var all []publish
	for _, e := range events {
		all = append(all, publish{e.Channel, e.Name, string(e.Data), e.Exclude})
	}
	return all
}

// names returns n channel names as a JSON list's inside.
func names(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"c%d"`, i)
	}
	return strings.Join(list, ",")
}

func items(n int) string {
	return strings.Join(slices.Repeat([]string{`{"name":"n","channel":"c","data":""}`}, n), ",")
}

// Checklist 105, 106, 108, 109, 110 and 112: what is published, and exactly as it was sent.
func TestTriggerAccepted(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		body string
		want []publish
	}{
		"channel":                      {`{"name":"n","channel":"c","data":"d"}`, []publish{{"c", "n", "d", ""}}},
		"channels":                     {`{"name":"n","channels":["b","a"],"data":"d"}`, []publish{{"b", "n", "d", ""}, {"a", "n", "d", ""}}},
		"both, channels win":           {`{"name":"n","channels":["a"],"channel":"c","data":"d"}`, []publish{{"a", "n", "d", ""}}},
		"both, a bad channel ignored":  {`{"name":"n","channels":["a"],"channel":7,"data":"d"}`, []publish{{"a", "n", "d", ""}}},
		"channels null":                {`{"name":"n","channels":null,"channel":"c","data":"d"}`, []publish{{"c", "n", "d", ""}}},
		"duplicates collapse":          {`{"name":"n","channels":["a","b","a","b","c","a"],"data":"d"}`, []publish{{"a", "n", "d", ""}, {"b", "n", "d", ""}, {"c", "n", "d", ""}}},
		"first two the same":           {`{"name":"n","channels":["a","a","b"],"data":"d"}`, []publish{{"a", "n", "d", ""}, {"b", "n", "d", ""}}},
		"user's own channel":           {`{"name":"n","channel":"#server-to-user-1","data":"d"}`, []publish{{"#server-to-user-1", "n", "d", ""}}},
		"socket":                       {`{"name":"n","channel":"c","data":"d","socket_id":"1.2"}`, []publish{{"c", "n", "d", "1.2"}}},
		"socket on every channel":      {`{"name":"n","channels":["a","b"],"data":"d","socket_id":"1.2"}`, []publish{{"a", "n", "d", "1.2"}, {"b", "n", "d", "1.2"}}},
		"socket null":                  {`{"name":"n","channel":"c","data":"d","socket_id":null}`, []publish{{"c", "n", "d", ""}}},
		"info null":                    {`{"name":"n","channel":"c","data":"d","info":null}`, []publish{{"c", "n", "d", ""}}},
		"info empty":                   {`{"name":"n","channel":"c","data":"d","info":""}`, []publish{{"c", "n", "d", ""}}},
		"empty data":                   {`{"name":"n","channel":"c","data":""}`, []publish{{"c", "n", "", ""}}},
		"data that is no JSON":         {`{"name":"n","channel":"c","data":"{oops"}`, []publish{{"c", "n", "{oops", ""}}},
		"data with escapes":            {`{"name":"n","channel":"c","data":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 é😀\u0000"}`, []publish{{"c", "n", "\"\\/\b\f\n\r\té😀 é😀\x00", ""}}},
		"half a surrogate pair":        {`{"name":"n","channel":"c","data":"<\ud83d\u0041\ude00>"}`, []publish{{"c", "n", "<\uFFFDA\uFFFD>", ""}}},
		"data an object":               {`{"name":"n","channel":"c","data":{"a": [1, 2.50, "\u00e9"]} }`, []publish{{"c", "n", `{"a": [1, 2.50, "\u00e9"]}`, ""}}},
		"data a number":                {`{"name":"n","channel":"c","data":12345678901234567890}`, []publish{{"c", "n", "12345678901234567890", ""}}},
		"data null":                    {`{"name":"n","channel":"c","data":null}`, []publish{{"c", "n", "null", ""}}},
		"data false":                   {`{"name":"n","channel":"c","data":false}`, []publish{{"c", "n", "false", ""}}},
		"Laravel":                      {`{"name":"App\\Events\\OrderShipped","data":"{\"a\":\"\\\/\"}","channel":"private-App.Models.User.1"}`, []publish{{"private-App.Models.User.1", `App\Events\OrderShipped`, `{"a":"\/"}`, ""}}},
		"name with dot and colon":      {`{"name":".foo:bar","channel":"c","data":""}`, []publish{{"c", ".foo:bar", "", ""}}},
		"client- is a name":            {`{"name":"client-x","channel":"c","data":""}`, []publish{{"c", "client-x", "", ""}}},
		"unknown members":              {`{"name":"n","channel":"c","data":"d","x":{"name":"other"},"Name":"other"}`, []publish{{"c", "n", "d", ""}}},
		"last of several":              {`{"name":7,"channel":"x","data":"d","name":"n","channel":"c"}`, []publish{{"c", "n", "d", ""}}},
		"escaped member":               {`{"n\u0061me":"n","channel":"c","data":"d"}`, []publish{{"c", "n", "d", ""}}},
		"space":                        {" \r\n\t{ \"name\" : \"n\" , \"channels\" : [ \"a\" , \"b\" ] , \"data\" : \"d\" } \n", []publish{{"a", "n", "d", ""}, {"b", "n", "d", ""}}},
		"longest name, in characters":  {`{"name":"` + strings.Repeat("é", 200) + `","channel":"c","data":""}`, []publish{{"c", strings.Repeat("é", 200), "", ""}}},
		"longest channel":              {`{"name":"n","channel":"` + strings.Repeat("c", 200) + `","data":""}`, []publish{{broker.Channel(strings.Repeat("c", 200)), "n", "", ""}}},
		"all characters of a channel":  {`{"name":"n","channel":"foo-bar_1234@=,.;","data":""}`, []publish{{"foo-bar_1234@=,.;", "n", "", ""}}},
		"largest data":                 {`{"name":"n","channel":"c","data":"` + strings.Repeat("x", 10_240) + `"}`, []publish{{"c", "n", strings.Repeat("x", 10_240), ""}}},
		"largest data, all escapes":    {`{"name":"n","channel":"c","data":"` + strings.Repeat(`\u0041`, 10_240) + `"}`, []publish{{"c", "n", strings.Repeat("A", 10_240), ""}}},
		"largest data, wide":           {`{"name":"n","channel":"c","data":"` + strings.Repeat("é", 5_120) + `"}`, []publish{{"c", "n", strings.Repeat("é", 5_120), ""}}},
		"nested deep, but not too":     {`{"name":"n","channel":"c","data":"","x":` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `}`, []publish{{"c", "n", "", ""}}},
		"everything at once, reversed": {`{"socket_id":"12.34","data":"d","channels":["a"],"name":"n"}`, []publish{{"a", "n", "d", "12.34"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			status, body := s.do(t, "POST", "/apps/3/events", "", v.body)
			if status != http.StatusOK || body != "{}" {
				t.Fatalf("%d %s, want 200 {}", status, body)
			}
			events := s.node.published(t)
			if diff := cmp.Diff(v.want, publishes(events)); diff != "" {
				t.Errorf("published (-want +got):\n%s", diff)
			}
			for _, e := range events {
				if e.App != "3" || e.Client || e.UserID != "" || e.Data == nil {
					t.Errorf("event %+v", e)
				}
			}
		})
	}
}

// Checklist 106.
func TestHundredChannels(t *testing.T) {
	t.Parallel()
	s := open(t)
	status, body := s.do(t, "POST", "/apps/3/events", "", `{"name":"n","data":"d","channels":[`+names(100)+`]}`)
	if got := len(s.node.published(t)); status != 200 || got != 100 {
		t.Errorf("%d %s: %d events, want 100", status, body, got)
	}
}

// Checklist 106, 107, 108 and 111: nothing is published, and the answer names what is wrong.
func TestTriggerRefused(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		body string
		want int
		text string // in the answer
	}{
		"empty":                 {``, 400, "JSON"},
		"space only":            {"  \n", 400, "JSON"},
		"not JSON":              {`name=foo`, 400, "JSON"},
		"cut off":               {`{"name":"n","channel":"c","data":"d`, 400, "JSON"},
		"cut off in an escape":  {`{"name":"n","channel":"c","data":"\u00`, 400, "JSON"},
		"trailing garbage":      {plainBody + `x`, 400, "JSON"},
		"two bodies":            {plainBody + plainBody, 400, "JSON"},
		"trailing comma":        {`{"name":"n","channel":"c","data":"d",}`, 400, "JSON"},
		"trailing list comma":   {`{"name":"n","channels":["c",],"data":"d"}`, 400, "JSON"},
		"name without quotes":   {`{name:"n","channel":"c","data":"d"}`, 400, "JSON"},
		"single quotes":         {`{'name':'n'}`, 400, "JSON"},
		"no colon":              {`{"name" "n"}`, 400, "JSON"},
		"control character":     {"{\"name\":\"a\nb\",\"channel\":\"c\",\"data\":\"\"}", 400, "JSON"},
		"unknown escape":        {`{"name":"\x41","channel":"c","data":""}`, 400, "JSON"},
		"leading zero":          {`{"name":"n","channel":"c","data":01}`, 400, "JSON"},
		"bare minus":            {`{"name":"n","channel":"c","data":-}`, 400, "JSON"},
		"no fraction":           {`{"name":"n","channel":"c","data":1.}`, 400, "JSON"},
		"no exponent":           {`{"name":"n","channel":"c","data":1e+}`, 400, "JSON"},
		"not a word":            {`{"name":"n","channel":"c","data":nul}`, 400, "JSON"},
		"byte order mark":       {"\uFEFF" + plainBody, 400, "JSON"},
		"not UTF-8":             {"{\"name\":\"n\",\"channel\":\"c\",\"data\":\"\xff\"}", 400, "UTF-8"},
		"surrogate as bytes":    {"{\"name\":\"n\",\"channel\":\"c\",\"data\":\"\xed\xa0\x80\"}", 400, "UTF-8"},
		"nested too deep":       {`{"name":"n","channel":"c","data":"","x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, 400, "nested"},
		"very deep":             {strings.Repeat(`{"a":[`, 100_000), 400, "nested"},
		"list":                  {`[` + plainBody + `]`, 400, "object"},
		"null":                  {`null`, 400, "object"},
		"string":                {`"` + "name" + `"`, 400, "object"},
		"empty object":          {`{}`, 400, "Missing parameter: "},
		"no name":               {`{"channel":"c","data":"d"}`, 400, "Missing parameter: name"},
		"name null":             {`{"name":null,"channel":"c","data":"d"}`, 400, "Missing parameter: name"},
		"name a number":         {`{"name":7,"channel":"c","data":"d"}`, 400, "Expected name parameter to be a string"},
		"name a list":           {`{"name":["n"],"channel":"c","data":"d"}`, 400, "Expected name parameter to be a string"},
		"name empty":            {`{"name":"","channel":"c","data":"d"}`, 400, "event name"},
		"name too long":         {`{"name":"` + strings.Repeat("n", 201) + `","channel":"c","data":"d"}`, 400, "vent name"},
		"name pusher:":          {`{"name":"pusher:x","channel":"c","data":"d"}`, 400, "event name"},
		"name pusher_internal:": {`{"name":"pusher_internal:x","channel":"c","data":"d"}`, 400, "event name"},
		"name pusher: escaped":  {`{"name":"\u0070usher:x","channel":"c","data":"d"}`, 400, "event name"},
		"no data":               {`{"name":"n","channel":"c"}`, 400, "Missing parameter: data"},
		"data too large":        {`{"name":"n","channel":"c","data":"` + strings.Repeat("x", 10_241) + `"}`, 413, "The data content of this event exceeds the allowed maximum (10240 bytes)"},
		"wide data too large":   {`{"name":"n","channel":"c","data":"` + strings.Repeat("é", 5_121) + `"}`, 413, "10240 bytes"},
		"object too large":      {`{"name":"n","channel":"c","data":["` + strings.Repeat("x", 10_240) + `"]}`, 413, "10240 bytes"},
		"no channel":            {`{"name":"n","data":"d"}`, 400, "channels"},
		"channel null":          {`{"name":"n","channel":null,"data":"d"}`, 400, "channels"},
		"channel a number":      {`{"name":"n","channel":7,"data":"d"}`, 400, "Expected channel parameter to be a string"},
		"channel a list":        {`{"name":"n","channel":["c"],"data":"d"}`, 400, "Expected channel parameter to be a string"},
		"channel empty":         {`{"name":"n","channel":"","data":"d"}`, 400, "channel name"},
		"channel with space":    {`{"name":"n","channel":"a b","data":"d"}`, 400, "channel name"},
		"channel with slash":    {`{"name":"n","channel":"a\/b","data":"d"}`, 400, "channel name"},
		"channel with colon":    {`{"name":"n","channel":"a:b","data":"d"}`, 400, "channel name"},
		"channel with star":     {`{"name":"n","channel":"a.*","data":"d"}`, 400, "channel name"},
		"channel not ASCII":     {`{"name":"n","channel":"é","data":"d"}`, 400, "channel name"},
		"channel with NUL":      {`{"name":"n","channel":"a\u0000","data":"d"}`, 400, "channel name"},
		"channel with #":        {`{"name":"n","channel":"#foo","data":"d"}`, 400, "channel name"},
		"channel of no user":    {`{"name":"n","channel":"#server-to-user-","data":"d"}`, 400, "channel name"},
		"channel too long":      {`{"name":"n","channel":"` + strings.Repeat("c", 201) + `","data":"d"}`, 400, "hannel name"},
		"channels a string":     {`{"name":"n","channels":"c","data":"d"}`, 400, "Expected channels parameter to be an array"},
		"channels an object":    {`{"name":"n","channels":{"0":"c"},"data":"d"}`, 400, "Expected channels parameter to be an array"},
		"channels empty":        {`{"name":"n","channels":[],"data":"d"}`, 400, "channels"},
		"channels empty, one":   {`{"name":"n","channels":[],"channel":"c","data":"d"}`, 400, "channels"},
		"channels, a number":    {`{"name":"n","channels":["a",7],"data":"d"}`, 400, "channels[1]"},
		"channels, a null":      {`{"name":"n","channels":["a",null],"data":"d"}`, 400, "channels[1]"},
		"channels, one bad":     {`{"name":"n","channels":["a","b","c d"],"data":"d"}`, 400, "'c d'"},
		"101 channels":          {`{"name":"n","channels":[` + names(101) + `],"data":"d"}`, 400, "100"},
		"socket empty":          {`{"name":"n","channel":"c","data":"d","socket_id":""}`, 400, "socket"},
		"socket a number":       {`{"name":"n","channel":"c","data":"d","socket_id":1.2}`, 400, "Expected socket_id parameter to be a string"},
		"socket malformed":      {`{"name":"n","channel":"c","data":"d","socket_id":"1.2.3"}`, 400, "socket"},
		"socket with newline":   {`{"name":"n","channel":"c","data":"d","socket_id":"1.2\n"}`, 400, "socket"},
		"info unknown":          {`{"name":"n","channel":"c","data":"d","info":"user_count,color"}`, 400, `Invalid info: unknown attribute "color"; known are user_count, subscription_count and position`},
		"info of a question":    {`{"name":"n","channel":"c","data":"d","info":"cache"}`, 400, `unknown attribute "cache"`},
		"info a list":           {`{"name":"n","channel":"c","data":"d","info":["user_count"]}`, 400, "Expected info parameter to be a string"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			status, body := s.do(t, "POST", "/apps/3/events", "", v.body)
			if status != v.want || !strings.Contains(body, v.text) {
				t.Errorf("%d %s, want %d with %q", status, body, v.want, v.text)
			}
			if len(body) > 1000 {
				t.Errorf("the answer has %d bytes", len(body))
			}
			if got := s.node.published(t); got != nil {
				t.Errorf("published %+v", publishes(got))
			}
		})
	}
}

// Checklist 114 and 116.
func TestBatchAccepted(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		body string
		want []publish
	}{
		"one": {`{"batch":[{"name":"n","channel":"c","data":"d"}]}`, []publish{{"c", "n", "d", ""}}},
		"in order, each with its own socket": {
			`{"batch":[{"name":"1","channel":"c","data":"x","socket_id":"1.1"},{"name":"2","channel":"d","data":{"y":1}},{"name":"3","channel":"c","data":"z","socket_id":null},{"name":"1","channel":"c","data":"x","socket_id":"2.2"}]}`,
			[]publish{{"c", "1", "x", "1.1"}, {"d", "2", `{"y":1}`, ""}, {"c", "3", "z", ""}, {"c", "1", "x", "2.2"}},
		},
		"channels is no member of an item": {`{"batch":[{"name":"n","channel":"c","channels":["x","y"],"data":"d"}]}`, []publish{{"c", "n", "d", ""}}},
		"other members":                    {`{"time":1,"batch":[{"name":"n","channel":"c","data":"d","tags":{}}],"x":[]}`, []publish{{"c", "n", "d", ""}}},
		"ten":                              {`{"batch":[` + items(10) + `]}`, slices.Repeat([]publish{{"c", "n", "", ""}}, 10)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			status, body := s.do(t, "POST", "/apps/3/batch_events", "", v.body)
			if status != http.StatusOK || body != "{}" {
				t.Fatalf("%d %s, want 200 {}", status, body)
			}
			if diff := cmp.Diff(v.want, publishes(s.node.published(t))); diff != "" {
				t.Errorf("published (-want +got):\n%s", diff)
			}
		})
	}
}

// Checklist 111 and 114.
func TestBatchRefused(t *testing.T) {
	t.Parallel()
	// second puts an item behind a good one.
	second := func(item string) string {
		return `{"batch":[{"name":"n","channel":"c","data":"d"},` + item + `]}`
	}
	for name, v := range map[string]struct {
		body string
		want int
		text string
	}{
		"empty":             {``, 400, "JSON"},
		"a bare list":       {`[` + items(1) + `]`, 400, "object"},
		"no batch":          {`{"name":"n","channel":"c","data":"d"}`, 400, "Missing parameter: batch"},
		"batch null":        {`{"batch":null}`, 400, "Missing parameter: batch"},
		"batch an object":   {`{"batch":` + items(1) + `}`, 400, "Expected batch parameter to be an array"},
		"no events":         {`{"batch":[]}`, 400, "batch"},
		"eleven":            {`{"batch":[` + items(11) + `]}`, 400, "10"},
		"item a string":     {second(`"x"`), 400, "batch[1]"},
		"item null":         {second(`null`), 400, "batch[1]"},
		"item empty":        {second(`{}`), 400, "Missing parameter: batch[1].channel"},
		"no name":           {second(`{"channel":"c","data":"d"}`), 400, "Missing parameter: batch[1].name"},
		"name a number":     {second(`{"channel":"c","data":"d","name":1}`), 400, "Expected batch[1].name parameter to be a string"},
		"name reserved":     {second(`{"channel":"c","data":"d","name":"pusher:x"}`), 400, "batch[1]: Invalid event name"},
		"no data":           {second(`{"channel":"c","name":"n"}`), 400, "Missing parameter: batch[1].data"},
		"data too large":    {second(`{"channel":"c","name":"n","data":"` + strings.Repeat("x", 10_241) + `"}`), 413, "batch[1]: The data content"},
		"channels only":     {second(`{"channels":["c"],"name":"n","data":"d"}`), 400, "Missing parameter: batch[1].channel"},
		"channel bad":       {second(`{"channel":"a b","name":"n","data":"d"}`), 400, "batch[1]: Invalid channel name"},
		"socket bad":        {second(`{"channel":"c","name":"n","data":"d","socket_id":"x"}`), 400, "batch[1]: Invalid socket id"},
		"info unknown":      {second(`{"channel":"c","name":"n","data":"d","info":"x"}`), 400, "batch[1]: Invalid info"},
		"info a number":     {second(`{"channel":"c","name":"n","data":"d","info":1}`), 400, "Expected batch[1].info parameter to be a string"},
		"cut off in item 2": {`{"batch":[{"name":"n","channel":"c","data":"d"},{"na`, 400, "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			status, body := s.do(t, "POST", "/apps/3/batch_events", "", v.body)
			if status != v.want || !strings.Contains(body, v.text) {
				t.Errorf("%d %s, want %d with %q", status, body, v.want, v.text)
			}
			if got := s.node.published(t); got != nil {
				t.Errorf("published %+v", publishes(got))
			}
		})
	}
}

func TestLimitsAreTheAppsOwn(t *testing.T) {
	t.Parallel()
	s := open(t, func(_ *Config, app *broker.App) {
		app.Limits = broker.Limits{DataBytes: 3, ChannelNameChars: 4, EventNameChars: 2, ChannelsPerPublish: 2, EventsPerBatch: 1}.WithDefaults()
	})
	for name, v := range map[string]struct {
		path, body string
		want       int
	}{
		"all at the limit":  {"events", `{"name":"nn","channels":["cccc","dddd"],"data":"123"}`, 200},
		"data":              {"events", `{"name":"n","channel":"c","data":"1234"}`, 413},
		"channel's name":    {"events", `{"name":"n","channel":"ccccc","data":""}`, 400},
		"event's name":      {"events", `{"name":"nnn","channel":"c","data":""}`, 400},
		"channels":          {"events", `{"name":"n","channels":["a","b","c"],"data":""}`, 400},
		"events of a batch": {"batch_events", `{"batch":[` + items(2) + `]}`, 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, body := s.do(t, "POST", "/apps/3/"+v.path, "", v.body); status != v.want {
				t.Errorf("%d %s, want %d", status, body, v.want)
			}
		})
	}
}

// An app whose limits were left out has Pusher's.
func TestZeroLimitsAreTheDefaults(t *testing.T) {
	t.Parallel()
	s := open(t, func(_ *Config, app *broker.App) { app.Limits = broker.Limits{} })
	for _, v := range []struct {
		path, body string
		want       int
	}{
		{"events", `{"name":"n","channels":[` + names(100) + `],"data":"` + strings.Repeat("x", 10_240) + `"}`, 200},
		{"events", `{"name":"n","channels":[` + names(101) + `],"data":""}`, 400},
		{"batch_events", `{"batch":[` + items(10) + `]}`, 200},
		{"batch_events", `{"batch":[` + items(11) + `]}`, 400},
	} {
		if status, body := s.do(t, "POST", "/apps/3/"+v.path, "", v.body); status != v.want {
			t.Errorf("%s %.60s: %d %s, want %d", v.path, v.body, status, body, v.want)
		}
	}
}
