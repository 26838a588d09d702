package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Bench is a load on a server.
type Bench struct{ cfg Config }

// New checks what is to be done. It does nothing yet.
func New(cfg Config) (*Bench, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return &Bench{cfg}, nil
}

// Run does it and writes the result. It is an error, told after the result, when anything accepted was
// lost, or delivered twice or out of its publisher's order, or when the server ended a connection.
func (b *Bench) Run(ctx context.Context) error {
	result, err := b.run(ctx)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := b.write(result); err != nil {
		return fmt.Errorf("bench: write the result: %w", err)
	}
	switch {
	case result.Faults.sum() > 0:
		return fmt.Errorf("bench: %s; first %s", result.Faults, result.First)
	case result.Published == 0:
		return fmt.Errorf("bench: no event was accepted: %s", result.Refusal)
	case ctx.Err() != nil:
		return fmt.Errorf("bench: %w", errInterrupted)
	}
	return nil
}

func (b *Bench) run(ctx context.Context) (*Result, error) {
	cfg := b.cfg
	r := &run{
		cfg: cfg, id: strconv.FormatUint(rand.Uint64N(1<<40), 36), began: time.Now(),
		lanes: make([]lane, cfg.Channels*cfg.Publishers),
		client: &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConns: cfg.Publishers, MaxIdleConnsPerHost: cfg.Publishers, IdleConnTimeout: time.Minute,
		}},
	}
	defer r.client.CloseIdleConnections()
	telling, told := context.WithCancel(ctx)
	var progress sync.WaitGroup
	progress.Go(func() { r.tell(telling) })
	defer progress.Wait()
	defer told()

	usedBefore, from := cpuTime(), time.Now()
	conns, err := r.open(ctx, cfg.Scenario == Reconnect)
	if err != nil {
		if ctx.Err() != nil {
			err = errInterrupted
		}
		return nil, err
	}
	opening := time.Since(from)
	var ending atomic.Bool
	var reading sync.WaitGroup
	reads, stop := context.WithCancel(context.WithoutCancel(ctx))
	for _, c := range conns {
		c.end = make(chan struct{})
	}
	r.loadFrom = time.Since(r.began)
	r.measure.from = r.loadFrom
	if cfg.Warmup != None {
		r.measure.from += seconds(cfg.Warmup)
	}
	r.measure.upto = r.measure.from + seconds(cfg.Seconds)
	if cfg.Scenario == Connect { // what is measured is over
		r.measure = span{r.loadFrom, r.loadFrom + cfg.Patience}
	}
	for _, c := range conns {
		reading.Go(func() { c.stay(reads, &ending) })
	}
	var used, span time.Duration
	if cfg.Scenario == Connect {
		used, span = cpuTime()-usedBefore, opening
		r.publish(ctx, conns)
	} else {
		used, span = r.watched(ctx, func() { r.publish(ctx, conns) })
	}
	_ = r.wait(context.WithoutCancel(ctx), func() bool { return whole(conns) }) // what isn't here by then is lost
	for _, c := range conns {
		c.account(c.marks())
	}
	ending.Store(true)
	stop()
	for _, c := range conns {
		c.hangUp()
	}
	reading.Wait()
	return r.result(opening, used, span), nil
}

// watched measures the processor time over the measured span of what do does.
func (r *run) watched(ctx context.Context, do func()) (used, over time.Duration) {
	var watching sync.WaitGroup
	done, over0 := context.WithCancel(ctx)
	watching.Go(func() {
		if pause(done, r.measure.from-time.Since(r.began)) != nil {
			return
		}
		before, from := cpuTime(), time.Now()
		_ = pause(done, r.measure.upto-time.Since(r.began)) // either way it is over
		used, over = cpuTime()-before, time.Since(from)
	})
	do()
	over0()
	watching.Wait()
	return used, over
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// tell writes a line of progress now and then.
func (r *run) tell(ctx context.Context) {
	every := time.NewTicker(r.cfg.ProgressEvery)
	defer every.Stop()
	total := r.cfg.Channels * r.cfg.Subscribers
	for last, before := time.Now(), [2]int64{}; ; {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		now, s := [2]int64{r.published.Load(), r.delivered.Load()}, time.Since(last).Seconds()
		fmt.Fprintf(r.cfg.Progress, "%4.0f s: %d of %d connected, %.0f events/s published, %.0f deliveries/s\n",
			time.Since(r.began).Seconds(), r.opened.Load(), total, float64(now[0]-before[0])/s, float64(now[1]-before[1])/s)
		last, before = time.Now(), now
	}
}

// Generator says how this process did, on whose account some of the times may be.
type Generator struct {
	CPU        float64 `json:"cpu"`              // cores used, while it was measured
	Cores      int     `json:"cores"`            // cores it may use
	Lag        *Times  `json:"lag,omitempty"`    // how late it woke up for what was due
	Bottleneck string  `json:"bottleneck"`       // why its own limit was reached, or ""
	Skipped    int64   `json:"skipped"`          // cuts or visits that came too fast
	Unsent     int64   `json:"unsent,omitempty"` // events it gave up to send
}

func (r *run) generator(used, span time.Duration) Generator {
	g := Generator{Cores: runtime.GOMAXPROCS(0), Lag: r.lags.times(), Skipped: r.skipped.Load(), Unsent: r.unsent.Load()}
	if span > 0 {
		g.CPU = used.Seconds() / span.Seconds()
	}
	var why []error
	if g.CPU > 0.9*float64(g.Cores) {
		why = append(why, fmt.Errorf("it used %.1f of %d cores", g.CPU, g.Cores))
	}
	if g.Lag != nil && g.Lag.P99 > 5 {
		why = append(why, fmt.Errorf("it was %.1f ms late for one in a hundred of what was due", g.Lag.P99))
	}
	if err := errors.Join(why...); err != nil {
		g.Bottleneck = err.Error()
	}
	return g
}
