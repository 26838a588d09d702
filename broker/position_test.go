package broker_test

import (
	"errors"
	"math"
	"net/url"
	"strings"
	"testing"

	"github.com/playhead/playhead/broker"
)

func TestPositionRoundTrip(t *testing.T) {
	t.Parallel()
	longest := broker.Position{
		Epoch:  broker.Epoch(strings.Repeat("Z", 32)),
		Serial: math.MaxUint64,
		Time:   math.MaxInt64,
	}
	for want, p := range map[string]broker.Position{
		"":                {},
		"1-a-0-0":         {Epoch: "a"},
		"1-Ab9-1-0":       {Epoch: "Ab9", Serial: 1},
		"1-x-2s-loyw3v28": {Epoch: "x", Serial: 100, Time: 1_700_000_000_000},
		"1-x-zz-zz":       {Epoch: "x", Serial: 1295, Time: 1295},
		"1-" + strings.Repeat("Z", 32) + "-3w5e11264sgsf-1y2p0ij32e8e7": longest,
	} {
		s := p.String()
		if s != want {
			t.Errorf("%+v is written %q, want %q", p, s, want)
		}
		if len(s) > 128 {
			t.Errorf("%q has %d bytes, clients are promised at most 128", s, len(s))
		}
		if url.QueryEscape(s) != s {
			t.Errorf("%q can't stand in a query as it is", s)
		}
		if p.IsZero() {
			continue
		}
		if back, err := broker.ParsePosition(s); err != nil || back != p {
			t.Errorf("%q reads as %+v, %v, want %+v", s, back, err, p)
		}
		if b := string(p.AppendText([]byte("p="))); b != "p="+want {
			t.Errorf("appended: %q, want %q", b, "p="+want)
		}
	}
}

func TestPositionRejects(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]string{
		"empty":                            "",
		"nothing like it":                  "yesterday",
		"no epoch":                         "1--1-1",
		"no serial":                        "1-a--1",
		"no time":                          "1-a-1-",
		"too few parts":                    "1-a-1",
		"too many parts":                   "1-a-1-1-1",
		"another version":                  "2-a-1-1",
		"leading zero in serial":           "1-a-01-1",
		"leading zero in time":             "1-a-1-01",
		"capital in serial":                "1-a-A-1",
		"capital in time":                  "1-a-1-A",
		"negative serial":                  "1-a--1-1",
		"negative time":                    "1-a-1--1",
		"sign":                             "1-a-+1-1",
		"serial out of range":              "1-a-3w5e11264sgsg-1",
		"time out of range":                "1-a-1-1y2p0ij32e8e8",
		"epoch of 33":                      "1-" + strings.Repeat("a", 33) + "-1-1",
		"odd epoch":                        "1-a_b-1-1",
		"epoch with a letter not of ASCII": "1-ä-1-1",
		"space before":                     " 1-a-1-1",
		"space after":                      "1-a-1-1 ",
		"newline after":                    "1-a-1-1\n",
		"zero byte":                        "1-a-1-1\x00",
		"long":                             strings.Repeat("1", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p, err := broker.ParsePosition(s); !errors.Is(err, broker.ErrPosition) || p != (broker.Position{}) {
				t.Errorf("%+v, %v, want the zero position and ErrPosition", p, err)
			}
		})
	}
}

func TestPositionIsWrittenWithoutAllocation(t *testing.T) {
	p := broker.Position{Epoch: "0123456789abcdef", Serial: 123_456, Time: 1_700_000_000_000}
	b := make([]byte, 0, 128)
	if n := testing.AllocsPerRun(100, func() { b = p.AppendText(b[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPosition(f *testing.F) {
	f.Add("1-a-0-0", "a", uint64(0), int64(0))
	f.Add("1-Ab9-3w5e11264sgsf-1y2p0ij32e8e7", "Z9", uint64(math.MaxUint64), int64(math.MaxInt64))
	f.Add("1--1-1", "", uint64(1), int64(-1))
	f.Fuzz(func(t *testing.T, s, epoch string, serial uint64, at int64) {
		p, err := broker.ParsePosition(s)
		switch {
		case err == nil && p.String() != s:
			t.Errorf("%q reads as %+v, which is written %q", s, p, p)
		case err != nil && !errors.Is(err, broker.ErrPosition):
			t.Errorf("%q: %v is not ErrPosition", s, err)
		}
		p = broker.Position{Epoch: broker.Epoch(epoch), Serial: serial, Time: at}
		if at < 0 || !isEpoch(epoch) {
			return // no server makes such a position
		}
		if back, err := broker.ParsePosition(p.String()); err != nil || back != p {
			t.Errorf("%+v is written %q, which reads as %+v, %v", p, p, back, err)
		}
	})
}

func isEpoch(s string) bool {
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 32
}
