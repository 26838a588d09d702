package boot

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestUnits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want any    // a value of the unit
		back string // what String writes; empty for the same text
		err  string // part of the error; then want is a zero value of the unit
	}{
		{text: "500ms", want: Duration(500 * time.Millisecond)},
		{text: "24h", want: Duration(24 * time.Hour)},
		{text: "1m30s", want: Duration(90 * time.Second)},
		{text: "120s", want: Duration(2 * time.Minute), back: "2m"},
		{text: "90m", want: Duration(90 * time.Minute), back: "1h30m"},
		{text: "10s", want: Duration(10 * time.Second)},
		{text: "none", want: Duration(None)},
		{text: "-1", want: Duration(None), back: "none"},
		{text: "0", want: Duration(None), back: "none"},
		{text: "0s", want: Duration(None), back: "none"},
		{text: "10", want: Duration(0), err: "write it with its unit"},
		{text: "-5s", want: Duration(0), err: "negative"},
		{text: "a day", want: Duration(0), err: "not a duration"},
		{text: "9999999999h", want: Duration(0), err: "not a duration"},

		{text: "1GiB", want: Size(1 << 30)},
		{text: "64KiB", want: Size(64 << 10)},
		{text: "1.5GiB", want: Size(3 << 29), back: "1536MiB"},
		{text: "1 MiB", want: Size(1 << 20), back: "1MiB"},
		{text: "2MB", want: Size(2e6), back: "2000000B"},
		{text: "4096", want: Size(4096), back: "4KiB"},
		{text: "7B", want: Size(7)},
		{text: "1e3", want: Size(1000), back: "1000B"},
		{text: "none", want: Size(None)},
		{text: "0", want: Size(None), back: "none"},
		{text: "1GB ", want: Size(1e9), back: "1000000000B"},
		{text: "1.5", want: Size(0), err: "whole number of bytes"},
		{text: "-1KiB", want: Size(0), err: "negative"},
		{text: "many", want: Size(0), err: "not a size"},
		{text: "NaN", want: Size(0), err: "not a size"},
		{text: "Inf", want: Size(0), err: "too large"},
		{text: "9000000TiB", want: Size(0), err: "too large"},
		{text: "5GiBs", want: Size(0), err: "not a size"},

		{text: "1000", want: Count(1000)},
		{text: "10_000", want: Count(10_000), back: "10000"},
		{text: "none", want: Count(None)},
		{text: "0", want: Count(None), back: "none"},
		{text: "1.5", want: Count(0), err: "not a whole number"},
		{text: "-2", want: Count(0), err: "negative"},
		{text: "99999999999999999999", want: Count(0), err: "too large"},

		{text: "6001", want: Port(6001)},
		{text: "0", want: AnyPort, back: "any"},
		{text: "any", want: AnyPort},
		{text: "65536", want: Port(0), err: "1 to 65535"},
		{text: "-1", want: Port(0), err: "negative"},
		{text: "http", want: Port(0), err: "not a whole number"},

		{text: "true", want: On},
		{text: "Off", want: Off, back: "false"},
		{text: "1", want: On, back: "true"},
		{text: "maybe", want: Switch(0), err: "neither true nor false"},
	} {
		t.Run(fmt.Sprintf("%T %s", tt.want, tt.text), func(t *testing.T) {
			t.Parallel()
			got := reflect.New(reflect.TypeOf(tt.want))
			err := got.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(tt.text))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Elem().Interface() != tt.want {
				t.Errorf("got %v, want %v", got.Elem(), tt.want)
			}
			back := tt.back
			if back == "" {
				back = tt.text
			}
			if s := fmt.Sprint(got.Elem().Interface()); s != back {
				t.Errorf("written back as %q, want %q", s, back)
			}
		})
	}
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"1GiB", "0", "none", "1.5MiB", "-1", "x", "1e400", "B", "9007199254740993"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s Size
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		if s < None || s == 0 {
			t.Fatalf("%q gave %d", text, int64(s))
		}
		var again Size
		if err := again.UnmarshalText([]byte(s.String())); err != nil || float64(again) != float64(s) {
			t.Fatalf("%q gave %v, read back as %v, %v", text, s, again, err)
		}
	})
}
