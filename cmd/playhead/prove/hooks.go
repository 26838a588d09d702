package prove

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// receiver takes webhooks.
type receiver struct {
	listener net.Listener
	app      *credentials
	faults   *faults

	mu       sync.Mutex
	log      io.Writer         // guarded by mu; takes a line for each event
	received int               // guarded by mu
	repeats  []time.Time       // guarded by mu; when one came that told nothing new
	whats    []string          // guarded by mu; and what it was
	states   map[string]*turns // guarded by mu; of channels, and of users in channels
}

// newReceiver binds a port, and makes the file that all events are written to.
func newReceiver(file string, f *faults) (*receiver, error) {
	log, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &receiver{listener: listener, log: log, faults: f, states: map[string]*turns{}}, nil
}

func (r *receiver) url() string { return "http://" + r.listener.Addr().String() + "/webhooks" }

// run takes webhooks until ctx ends.
func (r *receiver) run(ctx context.Context) {
	srv := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if c, ok := r.log.(io.Closer); ok {
			c.Close()
		}
		r.log = io.Discard // for a request that is still being served
	}()
	if err := srv.Serve(r.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		r.faults.add(faultHook, "no webhooks can be taken: %v", err)
	}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 4<<20))
	if err != nil {
		return // it comes again
	}
	if want := pusher.SignWebhook(r.app.Credential, body); !hmac.Equal([]byte(want), []byte(req.Header.Get(pusher.HeaderSignature))) {
		r.faults.add(faultHook, "a webhook's signature is wrong: %s", body)
	}
	var hook struct {
		TimeMS int64 `json:"time_ms"`
		Events []struct {
			Name    string         `json:"name"`
			Channel broker.Channel `json:"channel"`
			UserID  string         `json:"user_id"`
		} `json:"events"`
	}
	if err := json.Unmarshal(body, &hook); err != nil {
		r.faults.add(faultHook, "a webhook can't be read: %v: %s", err, body)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range hook.Events {
		r.received++
		what := string(e.Channel)
		var is bool
		switch e.Name {
		case pusher.WebhookChannelOccupied, pusher.WebhookChannelVacated:
			is = e.Name == pusher.WebhookChannelOccupied
		case pusher.WebhookMemberAdded, pusher.WebhookMemberRemoved:
			what += " " + e.UserID
			is = e.Name == pusher.WebhookMemberAdded
		default:
			continue
		}
		t := r.states[what]
		if t == nil {
			t = &turns{}
			r.states[what] = t
		}
		again := ""
		if t.turn(is, time.UnixMilli(hook.TimeMS)) {
			again = "  again"
			r.repeats = append(r.repeats, time.Now())
			r.whats = append(r.whats, e.Name+" "+what)
		}
		fmt.Fprintf(r.log, "%s  %s  %s %s%s\n", clock(time.Now()), clock(time.UnixMilli(hook.TimeMS)), e.Name, what, again)
	}
}

// over returns nil when the last that was told of each channel is that it is vacated, and of each
// member that it was removed.
func (r *receiver) over(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, one := 0, ""
	for what, t := range r.states {
		if t.is {
			n, one = n+1, what
		}
	}
	if n > 0 {
		return fmt.Errorf("no webhook says that it is over: %s, and %d more", one, n-1)
	}
	return nil
}

// agree returns nil when the last that webhooks told of each channel's members is who is there.
func (r *receiver) agree(there map[broker.Channel]view) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	said := map[broker.Channel]view{}
	for what, t := range r.states {
		if ch, id, ok := strings.Cut(what, " "); ok && t.is {
			if said[broker.Channel(ch)] == nil {
				said[broker.Channel(ch)] = view{}
			}
			said[broker.Channel(ch)][id] = true
		}
	}
	for ch, who := range there {
		if says := said[ch].differs(who); says != "" {
			return fmt.Errorf("who was told by webhooks of %s %s", ch, says)
		}
	}
	return nil
}

// forgive takes for told what should have been, so that each fault is found once.
func (r *receiver) forgive(there map[broker.Channel]view) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for what, t := range r.states {
		if ch, id, ok := strings.Cut(what, " "); ok {
			t.is = there[broker.Channel(ch)][id]
		}
	}
}

// told returns nil when webhooks have told of all these channels and of all these people.
func (r *receiver) told(channels []broker.Channel, people []*person) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var never []string
	for _, ch := range channels {
		if r.states[string(ch)] == nil {
			never = append(never, string(ch))
		}
	}
	for _, p := range people {
		if what := string(p.ch) + " " + p.id; r.states[what] == nil {
			never = append(never, what)
		}
	}
	if len(never) > 0 {
		return fmt.Errorf("no webhook told of %s", strings.Join(never, ", "))
	}
	return nil
}

// repeatsAllowed is how many webhooks of a node may come again in one trouble: the four that it may have under
// way to an endpoint, and those that were answered a moment before, in a burst perhaps, so that the word of it
// was lost with the leader of the queue.
const repeatsAllowed = 16

// repeatTime is how long after a trouble they may: what a killed node held is taken over after 15 s.
const repeatTime = 20 * time.Second

// judge counts the webhooks that told nothing new. They are delivered at least once: again, when the
// process that had delivered one was held up or ended before it could note that. So in a trouble some
// are allowed; more, and any at other times, are faults.
func (r *receiver) judge(troubles []span, nodes int) (repeated int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	allowed := make([]int, len(troubles))
	for i := range allowed {
		allowed[i] = repeatsAllowed * nodes
	}
	for i, at := range r.repeats {
		in := slices.IndexFunc(troubles, func(s span) bool { return at.After(s.from) && at.Before(s.to.Add(repeatTime)) })
		if in >= 0 && allowed[in] > 0 {
			allowed[in]--
			continue
		}
		r.faults.add(faultHook, "%s told nothing new, at %s", r.whats[i], clock(at))
	}
	return len(r.repeats)
}

// span is a stretch of time.
type span struct{ from, to time.Time }

// count is how many events webhooks have told.
func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.received
}

// again tells the first of those that told nothing new.
func (r *receiver) again() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for i, what := range r.whats[:min(len(r.whats), 100)] {
		all = append(all, clock(r.repeats[i])+" "+what)
	}
	return all
}
