package pusher

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRewind(t *testing.T) {
	t.Parallel()
	for rewind, want := range map[string]Rewind{
		`{"count":1}`:                                     {Count: 1},
		`{"count":1000}`:                                  {Count: 1000},
		`{"seconds":30}`:                                  {Back: 30 * time.Second},
		`{"seconds":0.5}`:                                 {Back: 500 * time.Millisecond},
		`{"seconds":1.5e2,"count":null}`:                  {Back: 150 * time.Second},
		`{"seconds":1e-9}`:                                {Back: time.Millisecond},
		`{"seconds":1e300}`:                               {Back: mostSeconds * time.Second},
		`{"seconds":1e999}`:                               {Back: mostSeconds * time.Second},
		`{"since_ms":1732350000123,"from":"anybody"}`:     {Since: time.UnixMilli(1732350000123).UTC()},
		`{"since_ms":0,"seconds":null}`:                   {Since: time.UnixMilli(0).UTC()},
		`{"since_ms":9007199254740991}`:                   {Since: time.UnixMilli(9007199254740991).UTC()},
		`{"s\u0069nce_ms":5,"since_ms":7,"count" : null}`: {Since: time.UnixMilli(7).UTC()},
	} {
		got, err := decoded(t, `{"event":"pusher:subscribe","data":{"channel":"c","rewind":`+rewind+`}}`).Subscribe()
		if err != nil {
			t.Errorf("%s: %v", rewind, err)
			continue
		}
		if diff := cmp.Diff(&want, got.Rewind); diff != "" {
			t.Errorf("%s (-want +got):\n%s", rewind, diff)
		}
	}
}

func TestRewindRefuses(t *testing.T) {
	t.Parallel()
	const (
		object  = "Invalid parameter: data.rewind must be an object"
		one     = "Invalid parameter: data.rewind must have exactly one of count, seconds and since_ms"
		count   = "Invalid parameter: data.rewind.count must be an integer from 1 to 1000"
		seconds = "Invalid parameter: data.rewind.seconds must be a number over 0"
		since   = "Invalid parameter: data.rewind.since_ms must be an integer, Unix time in milliseconds"
	)
	for rewind, want := range map[string]string{
		`5`:                                object,
		`true`:                             object,
		`"5"`:                              object,
		`[]`:                               object,
		`{}`:                               one,
		`{"count":null}`:                   one,
		`{"Count":5}`:                      one,
		`{"count":5,"seconds":5}`:          one,
		`{"seconds":5,"since_ms":5}`:       one,
		`{"count":0}`:                      count,
		`{"count":-5}`:                     count,
		`{"count":1001}`:                   count,
		`{"count":5.0}`:                    count,
		`{"count":"5"}`:                    count,
		`{"count":123456789012345678901}`:  count,
		`{"seconds":0}`:                    seconds,
		`{"seconds":-0.1}`:                 seconds,
		`{"seconds":1e-999}`:               seconds,
		`{"seconds":"30"}`:                 seconds,
		`{"seconds":[30]}`:                 seconds,
		`{"since_ms":1.5}`:                 since,
		`{"since_ms":-1}`:                  since,
		`{"since_ms":"2024-11-23T08:20"}`:  since,
		`{"since_ms":false}`:               since,
		`{"since_ms":9007199254740992}`:    since,
		`{"since_ms":17323500000000000e9}`: since,
	} {
		got, err := decoded(t, `{"event":"pusher:subscribe","data":{"channel":"c","rewind":`+rewind+`}}`).Subscribe()
		if !errors.Is(err, ErrResume) || err.Error() != want || got.Channel != "c" || got.Rewind != nil {
			t.Errorf("%s: %+v, %v; want %s", rewind, got, err, want)
		}
	}
}

// FuzzRewind checks that exactly one thing is asked for, within the bounds, whatever is sent.
func FuzzRewind(f *testing.F) {
	for _, s := range []string{`{"count":50}`, `{"seconds":0.5}`, `{"since_ms":1732350000000}`, `{"count":1,"seconds":1}`, `{"seconds":1e400}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rewind string) {
		frame, err := Decode([]byte(`{"event":"pusher:subscribe","data":{"channel":"c","rewind":` + rewind + `}}`))
		if err != nil {
			return
		}
		s, err := frame.Subscribe()
		r := s.Rewind
		switch {
		case err != nil && r != nil:
			t.Fatalf("%s: both %+v and %v", rewind, r, err)
		case err != nil || r == nil:
			return
		}
		given := 0
		for _, set := range []bool{r.Count != 0, r.Back != 0, !r.Since.IsZero()} {
			if set {
				given++
			}
		}
		if given != 1 || r.Count < 0 || r.Count > MostEvents || r.Back < 0 || r.Back > mostSeconds*time.Second ||
			!r.Since.IsZero() && r.Since.Before(time.UnixMilli(0)) {
			t.Fatalf("%s: %+v", rewind, r)
		}
	})
}
