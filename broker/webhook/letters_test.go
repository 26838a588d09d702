package webhook

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

func newMemory(t *testing.T, cfg MemoryConfig) *Memory {
	t.Helper()
	m, err := NewMemory(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMemoryContract(t *testing.T) {
	t.Parallel()
	brokertest.TestLetters(t, func(t *testing.T, b brokertest.LettersBounds) (one, other brokertest.Letters) {
		m := newMemory(t, MemoryConfig{MaxLetters: b.MaxLetters, Window: b.Window})
		return m, m
	})
}

// Nothing is kept of what is done: neither boxes nor letters, and IDs for two minutes.
func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, MemoryConfig{MaxDead: 3})
		for e := range 10 {
			name := fmt.Sprint("e", e)
			letters := brokertest.SomeLetters("shop", name, 0, 10)
			brokertest.PutLetters(t, m, letters...)
			k := brokertest.TakeLetters(t, m, "shop", name)
			got := k.Next(t, 10)
			if err := m.Done(t.Context(), got[:9]...); err != nil {
				t.Fatal(err)
			}
			if err := m.Bury(t.Context(), "no", got[9]); err != nil {
				t.Fatal(err)
			}
			k.End(t)
		}
		if len(m.boxes) != 0 || len(m.waiting) != 0 || len(m.dead) != 3 || len(m.ids) != 100 {
			t.Errorf("%d boxes, %d letters, %d dead, %d IDs", len(m.boxes), len(m.waiting), len(m.dead), len(m.ids))
		}
		time.Sleep(idsKept + time.Second)
		brokertest.PutLetters(t, m, brokertest.SomeLetters("shop", "e1", 0, 1)...)
		if len(m.ids) != 1 || len(m.known) != 1 || len(m.waiting) != 1 {
			t.Errorf("%d IDs, %d known, %d letters; want the one put last", len(m.ids), len(m.known), len(m.waiting))
		}
	})
}

func TestMemoryIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	m := newMemory(t, MemoryConfig{MaxBytes: 2000})
	big := func(n int) *broker.Letter {
		return &broker.Letter{ID: fmt.Sprint(n), App: "shop", Endpoint: "one", Body: make([]byte, 600)}
	}
	refused, err := m.Put(t.Context(), big(0), big(1), big(2))
	if err != nil || len(refused) != 1 {
		t.Fatalf("%d refused: %v", len(refused), err)
	}
	k := brokertest.TakeLetters(t, m, "shop", "one")
	for n := 2; n < 10; n++ {
		if err := m.Done(t.Context(), k.Next(t, 1)...); err != nil {
			t.Fatal(err)
		}
		brokertest.PutLetters(t, m, big(n))
	}
}

func TestMemoryConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []MemoryConfig{{MaxLetters: -1}, {MaxBytes: -1}, {MaxDead: -1}, {Window: -1}} {
		if _, err := NewMemory(cfg); err == nil {
			t.Errorf("%+v accepted", cfg)
		}
	}
}
