package brokertest

import (
	"testing"

	"github.com/playhead/playhead/broker"
)

func TestMemoryContract(t *testing.T) {
	t.Parallel()
	open := func(*testing.T) Medium {
		m := &Memory{}
		return Medium{
			Log: m, Other: m, Cache: m, History: m,
			Forget: func(_ *testing.T, app broker.AppID, upto uint64) { m.Forget(app, upto) },
		}
	}
	TestLog(t, open)
	TestCache(t, open)
	TestHistory(t, open)
}

// One medium for all subtests: they must not get into each other's way.
func TestSharedMemoryContract(t *testing.T) {
	t.Parallel()
	m := &Memory{}
	open := func(*testing.T) Medium { return Medium{Log: m, Other: m, Cache: m, History: m} }
	TestLog(t, open)
	TestCache(t, open)
	TestHistory(t, open)
}

func TestCarrierContract(t *testing.T) {
	t.Parallel()
	TestLog(t, func(*testing.T) Medium {
		c := NewCarrier()
		return Medium{Log: c, Other: c}
	})
}

// Wrapped, but with no fault ordered, a medium still keeps its contract.
func TestFaultyContract(t *testing.T) {
	t.Parallel()
	open := func(*testing.T) Medium {
		m := &Memory{}
		f := &Faulty{Log: m}
		return Medium{Log: f, Other: f, History: &FaultyHistory{History: m}}
	}
	TestLog(t, open)
	TestHistory(t, open)
}
