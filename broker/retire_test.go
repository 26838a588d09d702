package broker_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// All sessions of a retired app leave: those with subscriptions at once, the others when they want
// one. Other apps notice nothing, and should the app come back it works as before.
func TestRetire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := run(t, broker.Config{Log: &brokertest.Memory{}})
		f, release := feed(t, n, app)
		idle, releaseIdle := feed(t, n, app)
		other, _ := feed(t, n, "other")
		subscribed, _ := subscribe(t, f, ch, "1.1")
		bystander, _ := subscribe(t, other, ch, "1.2")

		n.Retire(app)
		n.Retire("never used here")
		synctest.Wait()
		if diff := cmp.Diff([]broker.Reason{broker.AppRetired}, subscribed.closed()); diff != "" {
			t.Errorf("session of the app (-want +got):\n%s", diff)
		}
		if _, _, err := idle.Subscribe(ch, "1.3", &recorder{}); !errors.Is(err, broker.ErrBroken) {
			t.Errorf("subscribe after it: %v, want ErrBroken", err)
		}
		if got := bystander.closed(); got != nil {
			t.Errorf("session of another app closed: %v", got)
		}
		release()
		releaseIdle()
		n.Retire(app) // nobody is there

		f, _ = feed(t, n, app)
		r, _ := subscribe(t, f, ch, "1.4")
		publish(t, n, ch, "a")
		synctest.Wait()
		r.want(t, "the app's next session", "a")
	})
}
