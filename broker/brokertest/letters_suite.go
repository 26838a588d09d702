package brokertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// Letters is what [TestLetters] tests: a queue of webhooks and its archive, as package webhook wants them.
type Letters interface {
	Put(ctx context.Context, letters ...*broker.Letter) (refused []*broker.Letter, err error)
	Take(ctx context.Context, app broker.AppID, endpoint string) iter.Seq2[*broker.Letter, error]
	Done(ctx context.Context, letters ...*broker.Letter) error
	Bury(ctx context.Context, why string, letters ...*broker.Letter) error
	Backlog(ctx context.Context) ([]broker.Backlog, error)
	Dead(ctx context.Context, app broker.AppID) iter.Seq2[*broker.DeadLetter, error]
	Retry(ctx context.Context, numbers ...uint64) (int, error)
}

// LettersBounds are what a queue is to be opened with. Zero is its own default.
type LettersBounds struct {
	MaxLetters int64 // of an endpoint
	Window     int
}

// TestLetters is the contract of a queue of webhooks as subtests of t. open is called once for each; it
// gives two nodes of one queue, which may be the same where a queue has only one. What it gives may be
// used by other tests: each subtest has an app of its own.
func TestLetters(t *testing.T, open func(t *testing.T, b LettersBounds) (one, other Letters)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func(LettersBounds) (one, other Letters)){
		"InOrder":       testLettersInOrder,
		"EndedTaker":    testLettersOfEndedTaker,
		"OneTaker":      testLettersOfOneTaker,
		"Refused":       testLettersRefused,
		"Window":        testLettersWindow,
		"WordsOfOthers": testLettersOfOthers,
		"Dead":          testDeadLetters,
		"AnyBytes":      testLettersOfAnyBytes,
		"EndedContext":  testLettersCanceled,
		"Concurrently":  testLettersConcurrently,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(b LettersBounds) (one, other Letters) { return open(t, b) })
		})
	}
}

// SomeLetters makes n letters for an endpoint, numbered from from.
func SomeLetters(app broker.AppID, endpoint string, from, n int) []*broker.Letter {
	letters := make([]*broker.Letter, n)
	for i := range letters {
		letters[i] = &broker.Letter{
			ID: fmt.Sprintf("%s-%s-%d", app, endpoint, from+i), App: app, Endpoint: endpoint,
			Time: time.UnixMilli(1_700_000_000_000 + int64(i)).UTC(), Body: fmt.Appendf(nil, `{"n":%d}`, from+i),
		}
	}
	return letters
}

// LetterIDs are the letters' IDs.
func LetterIDs(letters []*broker.Letter) []string {
	all := []string{}
	for _, l := range letters {
		all = append(all, l.ID)
	}
	return all
}

func sameLetters(t *testing.T, what string, want, have []*broker.Letter) {
	t.Helper()
	if diff := cmp.Diff(LetterIDs(want), LetterIDs(have)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// PutLetters puts letters that are not to be refused.
func PutLetters(t *testing.T, l Letters, letters ...*broker.Letter) {
	t.Helper()
	refused, err := l.Put(bounded(t), letters...)
	if err != nil {
		t.Fatal(err)
	}
	if len(refused) > 0 {
		t.Fatalf("%d letters refused", len(refused))
	}
}

func done(t *testing.T, l Letters, letters ...*broker.Letter) {
	t.Helper()
	if err := l.Done(bounded(t), letters...); err != nil {
		t.Fatalf("done: %v", err)
	}
}

// Taker takes an endpoint's letters in a goroutine of its own.
type Taker struct {
	letters chan *broker.Letter
	ended   chan struct{}
	err     error // its last word; set before ended is closed
	stop    context.CancelFunc
}

// TakeLetters begins to take. It ends with the test at the latest.
func TakeLetters(t *testing.T, l Letters, app broker.AppID, endpoint string) *Taker {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	k := &Taker{letters: make(chan *broker.Letter), ended: make(chan struct{}), stop: cancel}
	go func() {
		defer close(k.ended)
		for letter, err := range l.Take(ctx, app, endpoint) {
			if err != nil {
				k.err = err
				return
			}
			select {
			case k.letters <- letter:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-k.ended
	})
	return k
}

// Next waits for the next n letters.
func (k *Taker) Next(t *testing.T, n int) []*broker.Letter {
	t.Helper()
	ctx := bounded(t)
	var all []*broker.Letter
	for len(all) < n {
		select {
		case l := <-k.letters:
			all = append(all, l)
		case <-k.ended:
			t.Fatalf("taker ended after %d of %d letters: %v", len(all), n, k.err)
		case <-ctx.Done():
			t.Fatalf("%d of %d letters came", len(all), n)
		}
	}
	return all
}

// Waits reports whether the taker has nothing to give at the moment.
func (k *Taker) Waits() bool {
	select {
	case <-k.letters:
		return false
	default:
		return true
	}
}

// Err waits for the taker to end by itself and returns its last word.
func (k *Taker) Err(t *testing.T) error {
	t.Helper()
	ctx := bounded(t)
	select {
	case <-k.ended:
		return k.err
	case <-ctx.Done():
		t.Fatal("the taker didn't end")
		return nil
	}
}

// End ends the taker.
func (k *Taker) End(t *testing.T) {
	t.Helper()
	k.stop()
	if <-k.ended; k.err != nil {
		t.Errorf("taker ended with %v", k.err)
	}
}

// waiting is how much waits for each of an app's endpoints.
func waiting(t *testing.T, l Letters, app broker.AppID) map[string]uint64 {
	t.Helper()
	backlog, err := l.Backlog(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]uint64{}
	for _, b := range backlog {
		if b.App == app {
			all[b.Endpoint] = b.Letters
		}
	}
	return all
}

func dead(t *testing.T, l Letters, app broker.AppID) (all []*broker.DeadLetter) {
	t.Helper()
	for d, err := range l.Dead(bounded(t), app) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// Letters come in order, each once, as they were put; those that are known aren't stored again.
func testLettersInOrder(t *testing.T, open func(LettersBounds) (one, other Letters)) {
	l, _ := open(LettersBounds{})
	app := newApp()
	want := SomeLetters(app, "one", 0, 1510)
	PutLetters(t, l, want[:1500]...)
	PutLetters(t, l, SomeLetters(app, "two", 0, 3)...)
	PutLetters(t, l, want[10:20]...)
	PutLetters(t, l, slices.Concat(want[1490:], want[:1])...)
	k := TakeLetters(t, l, app, "one")
	var got []*broker.Letter
	for len(got) < len(want) {
		some := k.Next(t, 10)
		got = append(got, some...)
		done(t, l, some...)
	}
	sameLetters(t, "letters", want, got)
	first := *got[0]
	if first.Queued.IsZero() || time.Since(first.Queued).Abs() > time.Minute || first.Serial == 0 {
		t.Errorf("queued at %v, serial %d", first.Queued, first.Serial)
	}
	first.Queued, first.Serial = time.Time{}, 0
	if diff := cmp.Diff(*want[0], first); diff != "" {
		t.Errorf("first letter (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]uint64{"two": 3}, waiting(t, l, app)); diff != "" {
		t.Errorf("backlog (-want +got):\n%s", diff)
	}
	done(t, l, got[3]) // a caller that didn't hear
	PutLetters(t, l, want[7])
	mark := SomeLetters(app, "one", 5000, 1)
	PutLetters(t, l, mark...)
	sameLetters(t, "after all are done", mark, k.Next(t, 1))
}

// What is not done is the next taker's, from the first on and at once, when the taker has ended.
func testLettersOfEndedTaker(t *testing.T, open func(LettersBounds) (one, other Letters)) {
	l, other := open(LettersBounds{})
	app := newApp()
	all := SomeLetters(app, "one", 0, 20)
	PutLetters(t, l, all...)
	k := TakeLetters(t, l, app, "one")
	got := k.Next(t, 10)
	done(t, l, got[0], got[1], got[5])
	k.End(t)
	done(t, l, got[2]) // too late: passed over
	began := time.Now()
	k = TakeLetters(t, other, app, "one")
	want := slices.Concat(all[2:5], all[6:])
	sameLetters(t, "letters", want, k.Next(t, len(want)))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took over after %v", took)
	}
}

// While a taker lives nobody else is given anything.
func testLettersOfOneTaker(t *testing.T, open func(LettersBounds) (one, other Letters)) {
	l, other := open(LettersBounds{})
	app := newApp()
	all := SomeLetters(app, "one", 0, 30)
	PutLetters(t, l, all[:10]...)
	k := TakeLetters(t, l, app, "one")
	k.Next(t, 1)
	k2 := TakeLetters(t, other, app, "one")
	for i := 10; i < 30; i++ {
		PutLetters(t, other, all[i])
		k.Next(t, 1)
		if !k2.Waits() {
			t.Fatal("two takers")
		}
	}
	k.Next(t, 9)
	k.End(t)
	sameLetters(t, "letters", all, k2.Next(t, 30))
}

// An endpoint's full part refuses, in order, without harm to the others.
func testLettersRefused(t *testing.T, open func(LettersBounds) (one, other Letters)) {
	l, _ := open(LettersBounds{MaxLetters: 5, Window: 100})
	app := newApp()
	mixed := slices.Concat(SomeLetters(app, "one", 0, 4), SomeLetters(app, "two", 0, 2), SomeLetters(app, "one", 4, 4), SomeLetters(app, "two", 2, 2))
	refused, err := l.Put(bounded(t), mixed...)
	if err != nil {
		t.Fatal(err)
	}
	sameLetters(t, "refused", SomeLetters(app, "one", 5, 3), refused)
	k := TakeLetters(t, l, app, "one")
	got := k.Next(t, 5)
	done(t, l, got...)
	PutLetters(t, l, SomeLetters(app, "one", 8, 2)...)
	PutLetters(t, l, SomeLetters(app, "one", 5, 1)...) // a refused one isn't remembered
	sameLetters(t, "letters", slices.Concat(SomeLetters(app, "one", 8, 2), SomeLetters(app, "one", 5, 1)), k.Next(t, 3))
}

// No more is given out than the window, until some is done.
func testLettersWindow(t *testing.T, open func(LettersBounds) (one, other Letters)) {
	l, _ := open(LettersBounds{Window: 4})
	app := newApp()
	PutLetters(t, l, SomeLetters(app, "one", 0, 12)...)
	k := TakeLetters(t, l, app, "one")
	var got []*broker.Letter
	for len(got) < 12 {
		some := k.Next(t, 4)
		// Had it more, it would be at the door by the time that others were put and looked at.
		PutLetters(t, l, SomeLetters(app, "two", len(got), 1)...)
		if waiting(t, l, app); !k.Waits() {
			t.Fatal("a letter over the window")
		}
		done(t, l, some...)
		got = append(got, some...)
	}
	sameLetters(t, "letters", SomeLetters(app, "one", 0, 12), got)
}

// A taker that waits is given what another node puts.
func testLettersOfOthers(t *testing.T, open func(LettersBounds) (one, other Letters)) {
	l, other := open(LettersBounds{})
	app := newApp()
	k := TakeLetters(t, l, app, "one")
	for i := range 20 {
		letter := SomeLetters(app, "one", i, 1)
		PutLetters(t, other, letter...)
		got := k.Next(t, 1)
		sameLetters(t, "letters", letter, got)
		done(t, l, got...)
	}
}

func testDeadLetters(t *testing.T, open func(LettersBounds) (one, other Letters)) {
	l, other := open(LettersBounds{})
	app := newApp()
	PutLetters(t, l, SomeLetters(app, "one", 0, 4)...)
	k := TakeLetters(t, l, app, "one")
	got := k.Next(t, 4)
	if err := l.Bury(bounded(t), "500 Internal Server Error\nboo", got[1], got[2]); err != nil {
		t.Fatal(err)
	}
	if err := l.Bury(bounded(t), "again", got[1]); err != nil { // a caller that didn't hear
		t.Fatal(err)
	}
	all := dead(t, other, app)
	if len(all) != 2 || all[0].ID != got[1].ID || all[1].ID != got[2].ID {
		t.Fatalf("dead: %v", all)
	}
	if d := all[0]; d.Why != "500 Internal Server Error\nboo" || string(d.Body) != string(got[1].Body) ||
		d.App != app || d.Endpoint != "one" || !d.Time.Equal(got[1].Time) || time.Since(d.Died).Abs() > time.Minute {
		t.Errorf("dead letter: %+v", d)
	}
	if diff := cmp.Diff(map[string]uint64{"one": 2}, waiting(t, l, app)); diff != "" {
		t.Errorf("backlog (-want +got):\n%s", diff)
	}
	if got := dead(t, l, app+"-2"); len(got) != 0 {
		t.Errorf("dead of another app: %v", got)
	}
	among := 0
	for d, err := range l.Dead(bounded(t), "") {
		if err != nil {
			t.Fatal(err)
		}
		if d.App == app {
			among++
		}
	}
	if among != 2 {
		t.Errorf("%d of the dead of all apps", among)
	}
	n, err := l.Retry(bounded(t), all[1].Number, all[0].Number, 1<<52)
	if err != nil || n != 2 {
		t.Errorf("retried %d: %v", n, err)
	}
	if left := dead(t, l, app); len(left) != 0 {
		t.Errorf("still dead: %v", left)
	}
	back := k.Next(t, 2)
	if string(back[0].Body) != string(got[2].Body) || string(back[1].Body) != string(got[1].Body) {
		t.Errorf("retried: %s, %s", back[0].Body, back[1].Body)
	}
	if err := l.Bury(bounded(t), "once more", back...); err != nil {
		t.Fatal(err)
	}
	if again := dead(t, l, app); len(again) != 2 || again[0].Why != "once more" {
		t.Errorf("dead once more: %v", again)
	}
}

// Texts and bodies are kept as they are.
func testLettersOfAnyBytes(t *testing.T, open func(LettersBounds) (one, other Letters)) {
	l, _ := open(LettersBounds{})
	app := newApp() + "/{x}: %2F*.>"
	letter := &broker.Letter{ID: "a b/ü\n%41", App: app, Endpoint: "a/b_-%", Time: time.UnixMilli(0).UTC(), Body: []byte("\x00\r\n\xff{}")}
	PutLetters(t, l, letter)
	if diff := cmp.Diff(map[string]uint64{letter.Endpoint: 1}, waiting(t, l, app)); diff != "" {
		t.Errorf("backlog (-want +got):\n%s", diff)
	}
	k := TakeLetters(t, l, app, letter.Endpoint)
	got := *k.Next(t, 1)[0]
	if err := l.Bury(bounded(t), "why: ü", &got); err != nil {
		t.Fatal(err)
	}
	serial, queued := got.Serial, got.Queued
	got.Serial, got.Queued = 0, time.Time{}
	if diff := cmp.Diff(*letter, got); diff != "" {
		t.Errorf("letter of serial %d, %v (-want +got):\n%s", serial, queued, diff)
	}
	all := dead(t, l, app)
	if len(all) != 1 {
		t.Fatalf("%d are dead", len(all))
	}
	all[0].Serial, all[0].Queued = 0, time.Time{}
	if diff := cmp.Diff(*letter, all[0].Letter); diff != "" {
		t.Errorf("dead letter (-want +got):\n%s", diff)
	}
}

func testLettersCanceled(t *testing.T, open func(LettersBounds) (one, other Letters)) {
	l, _ := open(LettersBounds{})
	app := newApp()
	ctx := canceled(t)
	if _, err := l.Put(ctx, SomeLetters(app, "one", 0, 1)...); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	for letter, err := range l.Take(ctx, app, "one") {
		t.Errorf("took %v, %v", letter, err)
	}
}

// Whatever many put at once, each endpoint's letters of one of them stay in order.
func testLettersConcurrently(t *testing.T, open func(LettersBounds) (one, other Letters)) {
	l, other := open(LettersBounds{})
	app := newApp()
	const putters, each = 4, 60
	var wg sync.WaitGroup
	defer wg.Wait()
	for p := range putters {
		wg.Go(func() {
			to := []Letters{l, other}[p%2]
			for i := range each {
				letter := &broker.Letter{ID: fmt.Sprintf("%s-%d-%d", app, p, i), App: app, Endpoint: "one", Body: fmt.Appendf(nil, "%d %d", p, i), Time: time.UnixMilli(0)}
				if _, err := to.Put(bounded(t), letter); err != nil {
					t.Errorf("put: %v", err)
					return
				}
			}
		})
	}
	k := TakeLetters(t, l, app, "one")
	var next [putters]int
	for range putters * each {
		letter := k.Next(t, 1)[0]
		var p, i int
		if _, err := fmt.Sscan(string(letter.Body), &p, &i); err != nil {
			t.Fatal(err)
		}
		if i != next[p] {
			t.Fatalf("letter %d of %d, want %d", i, p, next[p])
		}
		next[p]++
		done(t, l, letter)
	}
	if left := waiting(t, l, app); len(left) != 0 {
		t.Errorf("backlog %v", left)
	}
}
