package bench

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTally(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		before, after uint64 // events begun at the subscription, and in the end
		unsure        []uint64
		take          []uint64
		want          Faults
	}{
		{name: "all", after: 4, take: []uint64{0, 1, 2, 3}},
		{name: "none", after: 3, want: Faults{Lost: 3}},
		{name: "a hole", after: 4, take: []uint64{0, 1, 3}, want: Faults{Lost: 1}},
		{name: "a hole at the end", after: 4, take: []uint64{0, 1, 2}, want: Faults{Lost: 1}},
		{name: "a hole at the beginning", after: 3, take: []uint64{1, 2}, want: Faults{Lost: 1}},
		{name: "twice", after: 3, take: []uint64{0, 1, 1, 2}, want: Faults{Doubled: 1}},
		{name: "twice, later", after: 3, take: []uint64{0, 1, 2, 0}, want: Faults{Doubled: 1}},
		{name: "swapped", after: 3, take: []uint64{0, 2, 1}, want: Faults{Reordered: 1}},
		{name: "swapped and twice", after: 3, take: []uint64{0, 2, 1, 1}, want: Faults{Reordered: 1, Doubled: 1}},
		{name: "unanswered and not there", after: 4, unsure: []uint64{1, 3}, take: []uint64{0, 2}},
		{name: "unanswered and there", after: 3, unsure: []uint64{1}, take: []uint64{0, 1, 2}},
		{name: "unanswered and late", after: 3, unsure: []uint64{1}, take: []uint64{0, 2, 1}, want: Faults{Reordered: 1}},
		{name: "came later", before: 5, after: 8, take: []uint64{5, 6, 7}},
		{name: "came while one was under way", before: 5, after: 8, take: []uint64{4, 5, 6, 7}},
		{name: "came later and lost the first", before: 5, after: 8, take: []uint64{6, 7}, want: Faults{Lost: 1}},
		{name: "came while one was under way and lost the next", before: 5, after: 8, take: []uint64{4, 6, 7}, want: Faults{Lost: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var l lane
			var s tally
			var got Faults
			l.begun.Store(c.before)
			s.begin(&l)
			for _, n := range c.unsure {
				l.doubt(n)
			}
			for _, n := range c.take {
				s.take(n, &got)
			}
			got.Lost = s.lost(&l, c.after)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestEvent(t *testing.T) {
	t.Parallel()
	e := event{lane: 12, number: 345, due: 6_789 * time.Microsecond}
	data := string(e.appendData(nil, "abc", 100))
	if len(data) != 100 {
		t.Errorf("%d bytes: %q", len(data), data)
	}
	for _, c := range []struct {
		name, frame string
		ours, ok    bool
	}{
		{"whole", `{"event":"bench","channel":"c","data":"` + data + `"}`, true, true},
		{"with more behind", `{"data":"` + data + `","channel":"c","position":"p"}`, true, true},
		{"of another run", `{"data":"` + string(e.appendData(nil, "abd", 100)) + `"}`, false, false},
		{"none", `{"event":"pusher:ping","data":"{}"}`, false, false},
		{"too short", `{"data":"` + data[:99] + `"}`, true, false},
		{"too long", `{"data":"` + data + `."}`, true, false},
		{"changed", `{"data":"` + data[:99] + `,"}`, true, false},
		{"without a number", `{"data":"` + data[:20] + `"}`, true, false},
	} {
		got, ours, ok := findEvent([]byte(c.frame), "abc", 100)
		if ours != c.ours || ok != c.ok {
			t.Errorf("%s: ours %v, ok %v", c.name, ours, ok)
		}
		if ok && got != e {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	var r recorder
	if r.times() != nil {
		t.Error("times of nothing")
	}
	for i := range 1_000 {
		r.add(i, time.Duration(i+1)*time.Millisecond)
	}
	r.add(0, time.Hour) // counts as the longest
	got := r.times()
	near := func(got, want float64) bool { return got > want*0.995 && got < want*1.005 }
	if got.Count != 1_001 || !near(got.P50, 501) || !near(got.P99, 991) || !near(got.Max, 600_000) {
		t.Errorf("%+v", got)
	}
}
