package prove

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// view is who somebody is told to be present, from the answer to a subscribe and what comes after it.
type view map[string]bool

// newView begins a view.
func newView(ids []string) view {
	v := view{}
	for _, id := range ids {
		v[id] = true
	}
	return v
}

// added notes that a member came. The error says that it is there already.
func (v view) added(id string) error {
	if v[id] {
		return fmt.Errorf("%s was added who is there", id)
	}
	v[id] = true
	return nil
}

// removed notes that a member left. The error says that it isn't there.
func (v view) removed(id string) error {
	if !v[id] {
		return fmt.Errorf("%s was removed who isn't there", id)
	}
	delete(v, id)
	return nil
}

// differs says who is in v and isn't there, and who is there and not in v; empty when nobody.
func (v view) differs(there view) string {
	var says []string
	if extra := missing(v, there); len(extra) > 0 {
		says = append(says, "has "+strings.Join(extra, ", ")+" who isn't there")
	}
	if lacks := missing(there, v); len(lacks) > 0 {
		says = append(says, "lacks "+strings.Join(lacks, ", "))
	}
	return strings.Join(says, "; ")
}

// missing lists who is in v and not in other.
func missing(v, other view) []string {
	return slices.Sorted(maps.Keys(maps.Collect(func(yield func(string, bool) bool) {
		for id := range v {
			if !other[id] && !yield(id, true) {
				return
			}
		}
	})))
}

// turns is what webhooks tell of one thing that is either so or not: a channel is occupied, a user is
// in it. They come at least once and in order, so that one that comes again is no fault while some
// process is in trouble; which is for the caller to say.
type turns struct {
	is   bool
	made time.Time // of the newest
}

// turn takes the next one. again says that it tells nothing new: it was told before, or what should
// have come in between is missing; or a newer one was before it.
func (t *turns) turn(is bool, made time.Time) (again bool) {
	if made.Before(t.made) {
		return true // from a process that was held up; receivers see that by its time
	}
	again = t.is == is
	t.is, t.made = is, made
	return again
}
