package prove

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlanIsOfItsSeed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		one := plan(seed, 3, Kinds(), 10*time.Minute)
		if diff := cmp.Diff(one, plan(seed, 3, Kinds(), 10*time.Minute)); diff != "" {
			t.Fatalf("seed %d gives two plans:\n%s", seed, diff)
		}
		if cmp.Equal(one, plan(seed+1, 3, Kinds(), 10*time.Minute)) {
			t.Errorf("seeds %d and %d give the same plan", seed, seed+1)
		}
		longer := plan(seed, 3, Kinds(), 20*time.Minute)
		if !cmp.Equal(one, longer[:len(one)]) {
			t.Errorf("seed %d: a longer run doesn't begin like a shorter one", seed)
		}
	}
}

func TestPlanHasEveryKind(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		times := map[Kind]int{}
		for _, s := range plan(seed, 5, Kinds(), 3*time.Minute) {
			times[s.Kind]++
		}
		for _, k := range Kinds() {
			if times[k] != 2 {
				t.Errorf("seed %d: %s comes %d times in three minutes, want 2", seed, k, times[k])
			}
		}
	}
}

func TestPlanSteps(t *testing.T) {
	t.Parallel()
	texts := map[string]bool{}
	for seed := range uint64(100) {
		for _, s := range plan(seed, 4, Kinds(), 10*time.Minute) {
			texts[strings.Trim(s.String(), "0123456789.ms")] = true
			links := s.Kind == CutLinks || s.Kind == StallLinks || s.Kind == SlowLinks
			node := s.Kind == KillNode || s.Kind == PauseShort || s.Kind == PauseLong
			switch {
			case s.Node < 0 || s.Node > 4 || s.NATS < 0 || s.NATS > servers:
				t.Errorf("%+v means somebody who isn't there", s)
			case node && s.Node == 0, links && s.Node+s.NATS == 0:
				t.Errorf("%+v means nobody", s)
			case links && s.Lasts == 0, (s.Latency > 0) != (s.Kind == SlowLinks):
				t.Errorf("%+v has not the times it should have", s)
			case s.Kind == PauseShort && s.Lasts > nodeTimeout/2, s.Kind == PauseLong && s.Lasts < 2*nodeTimeout:
				t.Errorf("%+v lasts %v, where nodes wait %v", s, s.Lasts, nodeTimeout)
			case s.Rest == 0:
				t.Errorf("%+v has no rest", s)
			}
		}
	}
	if len(texts) < 20 {
		t.Errorf("only %d different texts: %v", len(texts), texts)
	}
}

func TestShortPlanHasOneStep(t *testing.T) {
	t.Parallel()
	if n := len(plan(1, 3, []Kind{KillNode}, time.Millisecond)); n != 1 {
		t.Errorf("%d steps", n)
	}
}

func TestParseKinds(t *testing.T) {
	t.Parallel()
	for text, tt := range map[string]struct {
		want []Kind
		err  string
	}{
		"":                     {want: Kinds()},
		"kill-node":            {want: []Kind{KillNode}},
		"roll-nats, cut-links": {want: []Kind{RollNATS, CutLinks}},
		"kill-node,":           {err: `unknown kind ""; known: kill-node, kill-leader,`},
		"fire":                 {err: `unknown kind "fire"`},
	} {
		got, err := ParseKinds(text)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
		if tt.err == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %v, want %q", text, err, tt.err)
		}
	}
}

func TestNewReportsEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Nodes: 1, Minutes: -1, Rate: 1, Kinds: "fire"})
	for _, want := range []string{"nodes: 1", "minutes: -1", "rate: 1", `"fire"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't say %s", err, want)
		}
	}
	if _, err := New(Config{}); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
