package prove

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// Everything that compare promises to find, one by one, and nothing where there is nothing.
func TestCompare(t *testing.T) {
	t.Parallel()
	a, b, c := eventID{0, 1}, eventID{0, 2}, eventID{1, 1}
	all := []eventID{a, b, c}
	for name, tt := range map[string]struct {
		unacked eventID
		stored  []eventID
		got     []eventID
		other   bool // the first of got comes in a channel that nobody asked for
		want    map[string]int
	}{
		"whole":                                    {stored: all, got: all},
		"whole, as the log has it":                 {stored: []eventID{c, a, b}, got: []eventID{c, a, b}},
		"lost on the way":                          {stored: all, got: []eventID{a, c}, want: map[string]int{faultLost: 1}},
		"lost at the end":                          {stored: all, got: []eventID{a, b}, want: map[string]int{faultLost: 1}},
		"all lost":                                 {stored: all, want: map[string]int{faultLost: 3}},
		"lost in the log":                          {stored: []eventID{a, c}, got: []eventID{a, c}, want: map[string]int{faultLost: 2}},
		"doubled":                                  {stored: all, got: []eventID{a, b, c, b}, want: map[string]int{faultDoubled: 1}},
		"doubled at once":                          {stored: all, got: []eventID{a, a, b, c}, want: map[string]int{faultDoubled: 1}},
		"stored twice":                             {stored: []eventID{a, b, c, a}, got: []eventID{a, b, c, a}, want: map[string]int{faultDoubled: 2}},
		"reordered":                                {stored: all, got: []eventID{b, a, c}, want: map[string]int{faultReordered: 1}},
		"reordered between publishers":             {stored: all, got: []eventID{c, a, b}, want: map[string]int{faultReordered: 2}},
		"stored out of order":                      {stored: []eventID{b, a, c}, got: []eventID{b, a, c}, want: map[string]int{faultReordered: 1}},
		"not in the log":                           {stored: all, got: []eventID{a, b, c, {7, 7}}, want: map[string]int{faultUnknown: 1}},
		"not its channel":                          {stored: all, got: all, other: true, want: map[string]int{faultUnknown: 1, faultLost: 1}},
		"not acknowledged, not stored":             {unacked: b, stored: []eventID{a, c}, got: []eventID{a, c}},
		"not acknowledged, stored":                 {unacked: b, stored: all, got: all},
		"not acknowledged, stored late":            {unacked: a, stored: []eventID{b, c, a}, got: []eventID{b, c, a}},
		"not acknowledged, doubled":                {unacked: b, stored: all, got: []eventID{a, b, b, c}, want: map[string]int{faultDoubled: 1}},
		"not acknowledged, not in the log's order": {unacked: b, stored: all, got: []eventID{b, a, c}, want: map[string]int{faultReordered: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var published []publication
			for _, id := range all {
				p := publication{id: id, channels: []broker.Channel{"ch"}, began: time.Now()}
				if id != tt.unacked {
					p.acked = time.Now()
				}
				published = append(published, p)
			}
			log := &clientLog{name: "client-1", channels: []broker.Channel{"ch"}}
			for i, id := range tt.got {
				ch := broker.Channel("ch")
				if tt.other && i == 0 {
					ch = "other"
				}
				log.got(delivery{id: id, ch: ch, at: time.Now()})
			}
			f := newFaults()
			compare(published, map[broker.Channel][]eventID{"ch": tt.stored}, []*clientLog{log}, f)
			if tt.want == nil {
				tt.want = map[string]int{}
			}
			if diff := cmp.Diff(tt.want, f.counts); diff != "" {
				t.Errorf("faults (-want +got):\n%s\n%v", diff, f.list())
			}
		})
	}
}

// An event of two channels is looked for in both, and each client answers for its own.
func TestCompareChannels(t *testing.T) {
	t.Parallel()
	id := eventID{0, 1}
	published := []publication{{id: id, channels: []broker.Channel{"x", "y"}, acked: time.Now()}}
	follows := func(name string, ch ...broker.Channel) *clientLog { return &clientLog{name: name, channels: ch} }
	x, both, z := follows("x", "x"), follows("both", "x", "y"), follows("z", "z")
	x.got(delivery{id: id, ch: "x"})
	both.got(delivery{id: id, ch: "y"})
	f := newFaults()
	compare(published, map[broker.Channel][]eventID{"x": {id}, "y": {id}}, []*clientLog{x, both, z}, f)
	want := []Fault{{faultLost, "both did not get p0-1 in x"}}
	if diff := cmp.Diff(want, f.list()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEventIDSurvivesItsData(t *testing.T) {
	t.Parallel()
	want := eventID{3, 17}
	if got, err := readID(want.data()); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := readID("hello"); err == nil {
		t.Error("hello is an event of ours")
	}
}

func TestFaultsAreCountedAndSomeTold(t *testing.T) {
	t.Parallel()
	f := newFaults()
	for range 25 {
		f.add(faultLost, "x")
	}
	f.add(faultGhost, "y")
	if f.total() != 26 || f.count(faultLost) != 25 || len(f.list()) != mostTexts+1 {
		t.Errorf("%d, %d, %d told", f.total(), f.count(faultLost), len(f.list()))
	}
}

func TestLongest(t *testing.T) {
	t.Parallel()
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	for name, tt := range map[string]struct {
		times []time.Time
		want  time.Duration
	}{
		"nothing":            {nil, 10 * time.Second},
		"only outside":       {[]time.Time{at(-1), at(11)}, 10 * time.Second},
		"from the beginning": {[]time.Time{at(-1), at(4), at(6), at(9)}, 4 * time.Second},
		"in the middle":      {[]time.Time{at(1), at(8)}, 7 * time.Second},
		"to the end":         {[]time.Time{at(1), at(2), at(3), at(20)}, 7 * time.Second},
		"at its ends":        {[]time.Time{at(0), at(5), at(10)}, 5 * time.Second},
	} {
		if got := longest(tt.times, span{at(0), at(10)}); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	published := []publication{
		{began: at(0), acked: at(1)},
		{began: at(2), acked: at(9)}, // was under way when it began
		{began: at(9), acked: at(10)},
		{began: at(5)},
	}
	c := &clientLog{}
	for _, s := range []int{1, 6, 7, 8, 10} {
		c.got(delivery{at: at(s)})
	}
	got := listen([]span{{at(3), at(10)}}, published, []*clientLog{c})
	want := []silences{{Ack: 6 * time.Second, Publish: 7 * time.Second, Delivery: 3 * time.Second}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
