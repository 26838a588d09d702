package streams_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
)

// disk is a Commit whose ends the test decides on.
type disk struct {
	begun chan struct{}
	end   chan error
}

func newDisk() *disk {
	return &disk{begun: make(chan struct{}), end: make(chan error)}
}

func (d *disk) commit() error {
	d.begun <- struct{}{}
	return <-d.end
}

// serve ends every commit well from now on, until the test ends.
func serve(t *testing.T, d *disk) {
	over := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			select {
			case <-d.begun:
				d.end <- nil
			case <-over:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(over)
		<-gone
	})
}

// commitsTo makes streams that commit to a disk.
func commitsTo(commit func() error) func(*streams.Config) {
	return func(c *streams.Config) {
		c.Sync, c.Commit = streams.SyncInterval, commit
	}
}

// under starts an append and returns where its answer comes.
func under(t *testing.T, s *streams.Streams, events ...*broker.Event) <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.Append(soon(t), events...) }()
	return done
}

// waiting fails the test when an append has an answer already.
func waiting(t *testing.T, what string, appends ...<-chan error) {
	t.Helper()
	for i, done := range appends {
		select {
		case err := <-done:
			t.Fatalf("%s: append %d was answered: %v", what, i, err)
		default:
		}
	}
}

// storedUpto waits until another node's eyes see the serial.
func storedUpto(t *testing.T, s *streams.Streams, serial uint64) {
	t.Helper()
	eventually(t, fmt.Sprint("stored: ", serial), func() bool {
		e, err := s.At(soon(t), "app", serial)
		return err == nil && e != nil
	})
}

// Stored, then the commit begins, then it ends, then the answer; who is stored while one runs is
// answered after the next, duplicates and batches like others, and the next is one for all of them.
func TestCommitBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	d := newDisk()
	s, eyes := r.streams(commitsTo(d.commit)), r.streams(interval)

	first := event("app", "a")
	one := under(t, s, first)
	<-d.begun
	if e, err := eyes.At(soon(t), "app", 1); err != nil || e == nil || e.ID != first.ID {
		t.Fatalf("the commit began before the event was stored: %v, %v", e, err)
	}
	again := event("app", "a")
	again.ID = first.ID
	more := []<-chan error{
		under(t, s, again),
		under(t, s, event("app", "b")),
		under(t, s, event("app", "c"), event("app", "c"), event("app", "c")),
		under(t, s, event("app", "d")),
	}
	storedUpto(t, eyes, 6)
	waiting(t, "during the first commit", append(more, one)...)
	d.end <- nil
	if err := <-one; err != nil {
		t.Fatal(err)
	}
	if first.Position.Serial != 1 || first.Duplicate {
		t.Errorf("the first: duplicate %v, %+v", first.Duplicate, first.Position)
	}
	<-d.begun
	waiting(t, "during the second commit", more...)
	d.end <- nil
	// One whose caller hadn't heard the acknowledgement when the second began has a third.
	serve(t, d)
	for i, done := range more {
		if err := <-done; err != nil {
			t.Errorf("append %d: %v", i, err)
		}
	}
	if !again.Duplicate || again.Position.Serial != 1 {
		t.Errorf("the duplicate: %v, %+v", again.Duplicate, again.Position)
	}
}

// Many at a time share commits; each is answered after one that began when it was stored.
func TestCommitIsShared(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	var mu sync.Mutex
	commits := 0
	s := r.streams(commitsTo(func() error {
		mu.Lock()
		defer mu.Unlock()
		commits++
		time.Sleep(2 * time.Millisecond) // a disk's time
		return nil
	}))
	const callers, each = 32, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			app := broker.AppID(fmt.Sprint("app-", c%4)) // groups reach over apps
			for range each {
				if err := s.Append(soon(t), event(app, "a")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if commits < each || commits > callers*each/4 {
		t.Errorf("%d commits for %d events", commits, callers*each)
	}
	t.Logf("%d commits for %d events", commits, callers*each)
}

// A commit that could not be made fails all whom it was for, those who were stored since it began,
// and all who come; it isn't tried again, and those who come are not stored.
func TestCommitInVain(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	d := newDisk()
	s, eyes := r.streams(commitsTo(d.commit)), r.streams(interval)
	letters, err := streams.NewLetters(streams.LettersConfig{Streams: s})
	if err != nil {
		t.Fatal(err)
	}
	first := event("app", "a")
	all := []<-chan error{under(t, s, first)}
	<-d.begun
	again := event("app", "a")
	again.ID = first.ID
	put := make(chan error, 1)
	go func() {
		_, err := letters.Put(soon(t), &broker.Letter{ID: "l", App: "app", Endpoint: "e", Time: time.Now(), Body: []byte("{}")})
		put <- err
	}()
	all = append(all, under(t, s, event("app", "b")), under(t, s, again), put)
	storedUpto(t, eyes, 2)
	d.end <- errors.New("input/output error")
	for i, done := range all {
		if err := <-done; !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("%d: %v", i, err)
		}
	}
	if first.Position != (broker.Position{}) {
		t.Errorf("the first has position %+v", first.Position)
	}
	for range 3 {
		if err := s.Append(soon(t), event("app", "late")); !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("later: %v", err)
		}
	}
	if late := stored(t, eyes, "app", "late", 2); len(late) > 0 {
		t.Errorf("%d events stored after the error", len(late))
	}
	select {
	case <-d.begun:
		t.Error("committed again")
	default:
	}
}

// What hangs in a commit ends with its caller, with its time, and with Run after a last commit.
func TestCommitHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	d := newDisk()
	s, err := streams.New(streams.Config{
		Publish: r.connect(), Tail: r.connect(), Read: r.connect(), NodeName: "n",
		Sync: streams.SyncInterval, Commit: d.commit, AppendTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	one := under(t, s, event("app", "a"))
	<-d.begun
	left, leave := context.WithCancel(t.Context())
	two := make(chan error, 1)
	go func() { two <- s.Append(left, event("app", "a")) }()
	leave()
	if err := <-two; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	if err := <-one; !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "not on the disk") {
		t.Errorf("who waited too long: %v", err)
	}
	d.end <- nil
	last := under(t, s, event("app", "a"))
	<-d.begun
	stop()
	d.end <- nil
	serve(t, d) // Run's last commit, for who joined meanwhile
	if err := <-last; err != nil && !errors.Is(err, broker.ErrClosed) {
		t.Errorf("the last: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := s.Append(soon(t), event("app", "a")); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// The letters that come out of an event are on the disk before Put returns.
func TestCommitOfLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	d := newDisk()
	s := r.streams(commitsTo(d.commit))
	letters, err := streams.NewLetters(streams.LettersConfig{Streams: s})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := letters.Put(soon(t), &broker.Letter{ID: "l", App: "app", Endpoint: "e", Time: time.Now(), Body: []byte("{}")})
		done <- err
	}()
	<-d.begun
	backlog, err := letters.Backlog(soon(t))
	if err != nil || len(backlog) != 1 {
		t.Errorf("the commit began before the letter was stored: %v, %v", backlog, err)
	}
	waiting(t, "during the commit", done)
	d.end <- nil
	if err := <-done; err != nil {
		t.Error(err)
	}
}
