package prove

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay/client"
)

// Config says what is proved. Its fields are the flags of a command.
type Config struct {
	Nodes   int     `placeholder:"N" help:"Nodes to start, 2 to 9. Default: 3."`
	Minutes float64 `placeholder:"N" help:"About how long to go on with troubles. From 2 on each kind comes at least once. Default: 2."`
	Seed    uint64  `placeholder:"N" help:"Draws the plan: the same seed, the same troubles. Default: one by chance."`
	Kinds   string  `placeholder:"KIND,…" help:"Kinds of trouble to have: kill-node, kill-leader, kill-follower, cut-links, stall-links, slow-links, pause-short, pause-long, roll-nodes, roll-nats. Default: all."`
	Rate    int     `placeholder:"N" help:"Events to publish per second. Default: 300."`
	JSON    string  `name:"json" placeholder:"FILE" help:"File to write the report to, as JSON."`
	Keep    bool    `help:"Keep the data and the logs. They are kept anyway when there are faults."`
	Data    string  `placeholder:"FOLDER" help:"Folder for data and logs; it must be empty, or not be there, and is kept. Default: a temporary one."`

	// Output takes progress and the report. Default: nowhere.
	Output io.Writer `kong:"-"`
}

// Proof is one run of a cluster.
type Proof struct {
	cfg   Config
	kinds []Kind
}

// New checks cfg. It starts nothing.
func New(cfg Config) (*Proof, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	if cfg.Minutes == 0 {
		cfg.Minutes = 2
	}
	if cfg.Rate == 0 {
		cfg.Rate = 300
	}
	if cfg.Seed == 0 {
		cfg.Seed = uint64(1 + rand.IntN(999_999))
	}
	if cfg.Output == nil {
		cfg.Output = io.Discard
	}
	kinds, err := ParseKinds(cfg.Kinds)
	errs := []error{err}
	if cfg.Nodes < 2 || cfg.Nodes > 9 {
		errs = append(errs, fmt.Errorf("nodes: %d is not between 2 and 9", cfg.Nodes))
	}
	if !(cfg.Minutes > 0 && cfg.Minutes <= 7*24*60) {
		errs = append(errs, fmt.Errorf("minutes: %v is not between 0 and a week", cfg.Minutes))
	}
	if cfg.Rate < publishers || cfg.Rate > 10_000 {
		errs = append(errs, fmt.Errorf("rate: %d is not between %d and 10,000", cfg.Rate, publishers))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	return &Proof{cfg: cfg, kinds: kinds}, nil
}

// FaultsError says that the cluster did what it must not.
type FaultsError struct{ Count int }

// Error says how many faults there are.
func (e *FaultsError) Error() string {
	if e.Count == 1 {
		return "not proved: there is 1 fault"
	}
	return fmt.Sprintf("not proved: there are %d faults", e.Count)
}

// Run starts the cluster, carries out the plan, and reports. It returns when all processes are gone.
// Errors: [FaultsError]; something could not be started, with the end of its log; the context's.
func (p *Proof) Run(ctx context.Context) (err error) {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find out which program this is: %w", err)
	}
	dir, temporary, err := folder(p.cfg.Data)
	if err != nil {
		return err
	}
	defer func() {
		if temporary && !p.cfg.Keep && (err == nil || ctx.Err() != nil) {
			err = errors.Join(err, os.RemoveAll(dir))
			return
		}
		fmt.Fprintf(p.cfg.Output, "\nData and logs are in %s\n", dir)
	}()
	r := &run{cfg: p.cfg, plan: plan(p.cfg.Seed, p.cfg.Nodes, p.kinds, time.Duration(p.cfg.Minutes*float64(time.Minute))), began: time.Now(), faults: newFaults()}
	if err := r.prepare(binary, dir); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	report, err := r.all(ctx)
	if err != nil {
		return err
	}
	report.write(p.cfg.Output)
	if p.cfg.JSON != "" {
		if err := report.save(p.cfg.JSON); err != nil {
			return err
		}
	}
	if report.FaultCount > 0 {
		return &FaultsError{report.FaultCount}
	}
	return nil
}

// folder makes the folder for data and logs.
func folder(given string) (dir string, temporary bool, err error) {
	if given == "" {
		dir, err = os.MkdirTemp("", "playhead-prove-")
		return dir, true, err
	}
	if dir, err = filepath.Abs(given); err != nil {
		return "", false, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", false, err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("folder %s is not empty", dir)
	}
	return dir, false, err
}

// run is everything that a proof needs while it lasts.
type run struct {
	cfg    Config
	plan   []Step
	began  time.Time
	faults *faults

	receiver *receiver
	cluster  *cluster
	door     *door
	overseer *overseer
	load     *load
	crowd    *crowd
	guests   int // how often guests were invited
}

// prepare makes everything, and starts nothing.
func (r *run) prepare(binary, dir string) error {
	var err error
	if r.receiver, err = newReceiver(filepath.Join(dir, "webhooks.log"), r.faults); err != nil {
		return err
	}
	died := func(why string) { r.faults.add(faultProcess, "%s", why) }
	if r.cluster, err = newCluster(binary, dir, r.cfg.Nodes, r.receiver.url(), died); err != nil {
		return err
	}
	r.receiver.app = &r.cluster.app
	if r.door, err = newDoor("127.0.0.1:0", r.cluster.nodeAddr); err != nil {
		return err
	}
	if r.overseer, err = newOverseer(r.cluster.natsAddr); err != nil {
		return err
	}
	r.load = &load{ledger: &ledger{}, faults: r.faults, ends: map[*clientLog]int{}}
	for i := range followers * r.cfg.Nodes {
		r.load.logs = append(r.load.logs, r.load.newLog(i))
	}
	r.crowd = newCrowd(r.cluster, r.door.addr(), r.faults)
	return nil
}

// say writes a line of progress.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.cfg.Output, "%7.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// all is the run from the first process to the last.
func (r *run) all(ctx context.Context) (*Report, error) {
	out := r.cfg.Output
	fmt.Fprintf(out, "Proving %d nodes on %d NATS servers, seed %d, with %d troubles:\n", r.cfg.Nodes, servers, r.cfg.Seed, len(r.plan))
	for i, s := range r.plan {
		fmt.Fprintf(out, "%4d  %s\n", i+1, s)
	}
	fmt.Fprintln(out)
	infra, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	defer r.overseer.close()
	defer r.cluster.end()
	running.Go(func() { r.cluster.carry(infra) })
	running.Go(func() { r.door.run(infra) })
	running.Go(func() { r.receiver.run(infra) })
	if err := r.cluster.startAll(ctx, r.overseer); err != nil {
		return nil, err
	}
	r.say("the cluster is up")
	outcomes, stored, err := r.underLoad(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.shutDown(ctx); err != nil {
		return nil, err
	}
	return r.report(outcomes, stored), nil
}

// underLoad carries out the plan while there is load, and returns when everybody has left: what became
// of each step, and what is stored.
func (r *run) underLoad(ctx context.Context) ([]outcome, map[broker.Channel][]eventID, error) {
	following, unfollow := context.WithCancel(ctx)
	staying, empty := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer unfollow()
	defer empty()
	for _, log := range r.load.logs {
		c, err := r.cluster.newClient(r.door.addr())
		if err != nil {
			return nil, nil, err
		}
		clients.Go(func() { r.load.follow(following, c, log) })
	}
	clients.Go(func() { r.crowd.run(ctx, staying) })
	clients.Go(func() { r.cutClients(staying) })
	if err := await(ctx, startTime, r.load.subscribed, r.cluster.nodes...); err != nil {
		return nil, nil, fmt.Errorf("subscribe: %w", err)
	}
	if err := r.heal(ctx); err != nil {
		return nil, nil, err
	}
	r.say("%d clients keep their place, %d people come and go on presence channels", len(r.load.logs), len(r.crowd.people))

	publishing, stop := context.WithCancel(ctx)
	var busy sync.WaitGroup
	defer busy.Wait()
	defer stop()
	last, err := r.startPublishers(ctx, publishing, &busy)
	if err != nil {
		return nil, nil, err
	}
	outcomes, err := r.carryOutAll(ctx)
	if err != nil {
		return nil, nil, err
	}
	r.say("publishing ends")
	stop()
	busy.Wait()
	stored, err := r.settle(ctx, last)
	if err != nil {
		return nil, nil, err
	}
	r.say("everybody leaves")
	empty()
	unfollow()
	clients.Wait()
	r.leave(ctx)
	return outcomes, stored, ctx.Err()
}

// startPublishers has publishers publish until stop ends, and returns a client for what comes after.
func (r *run) startPublishers(ctx, stop context.Context, all *sync.WaitGroup) (last *client.Client, err error) {
	every := time.Second * publishers / time.Duration(r.cfg.Rate)
	for i := range publishers {
		c, err := r.cluster.newClient(r.door.addr())
		if err != nil {
			return nil, err
		}
		all.Go(func() { r.load.publish(ctx, stop, c, i, every) })
	}
	return r.cluster.newClient(r.door.addr())
}

// carryOutAll carries out the plan. A step that doesn't heal is the last, and a fault.
func (r *run) carryOutAll(ctx context.Context) ([]outcome, error) {
	var outcomes []outcome
	for i, s := range r.plan {
		if err := pass(ctx, s.Rest); err != nil {
			return nil, err
		}
		r.say("%d/%d  %s", i+1, len(r.plan), s)
		o, err := r.carryOut(ctx, s)
		outcomes = append(outcomes, o)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			r.faults.add(faultHeal, "%s: %v", s, err)
			r.say("%d/%d  did not heal: %v", i+1, len(r.plan), err)
			break
		}
		published, acked := r.load.ledger.numbers()
		line := fmt.Sprintf("healed in %s, agreed in %s", short(o.healed), short(o.agreed))
		if o.ghosts > 0 {
			line += ", ghosts gone after " + short(o.ghosts)
		}
		line += fmt.Sprintf("; %d of %d acknowledged", acked, published)
		r.say("%d/%d  %s", i+1, len(r.plan), line)
		for _, f := range r.faults.news() {
			r.say("          FAULT  %s: %s", f.Kind, f.Text)
		}
	}
	return outcomes, nil
}

// cutClients resets a client's connection every few seconds.
func (r *run) cutClients(ctx context.Context) {
	for pass(ctx, time.Duration(1000+rand.IntN(2000))*time.Millisecond) == nil {
		r.door.resetSome(1)
	}
}

// quietTime is how long clients may take to come to the end of their channels.
const quietTime = time.Minute

// settle publishes the last event of each channel, waits until all clients have it, and all see the
// same people, and reads what is stored.
func (r *run) settle(ctx context.Context, last *client.Client) (map[broker.Channel][]eventID, error) {
	for i, ch := range channelNames() {
		if !r.load.publishOne(ctx, last, eventID{publishers, i + 1}, eventEnd, ch) && ctx.Err() == nil {
			r.faults.add(faultQuiet, "the last event of %s was not acknowledged: %s", ch, r.load.lastRefusal())
		}
	}
	if err := await(ctx, quietTime, r.load.ended); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.faults.add(faultQuiet, "%v", err)
	}
	if _, err := r.agree(ctx); err != nil {
		return nil, err
	}
	r.say("reading the log")
	stored := map[broker.Channel][]eventID{}
	for _, ch := range channelNames() {
		ids, err := readLog(ctx, last, ch)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			r.faults.add(faultQuiet, "%v", err)
		}
		stored[ch] = ids
	}
	return stored, nil
}

// leftTime is how long it may take until nobody is told to be anywhere after all have left, webhooks
// included.
const leftTime = 45 * time.Second

// leave waits until nobody is told to be anywhere any more.
func (r *run) leave(ctx context.Context) {
	for _, holds := range []func(context.Context) error{r.crowd.left, r.receiver.over} {
		if err := await(ctx, leftTime, holds); err != nil && ctx.Err() == nil {
			r.faults.add(faultVacated, "%v", err)
		}
	}
	if err := r.receiver.told(append(channelNames(), roomNames()...), r.crowd.people); err != nil {
		r.faults.add(faultHook, "%v", err)
	}
}

// shutDown ends all processes as operators do, and looks into their logs.
func (r *run) shutDown(ctx context.Context) error {
	var ending sync.WaitGroup
	for _, p := range r.cluster.nodes {
		ending.Go(func() { _ = r.stop(ctx, p) }) // the context's, which is looked at below
	}
	ending.Wait()
	for _, p := range r.cluster.nats {
		if err := r.stop(ctx, p); err != nil { // one after the other: each looks for others to lead
			return err
		}
	}
	for _, p := range append(append([]*process{}, r.cluster.nodes...), r.cluster.nats...) {
		line, err := p.cried()
		if err != nil {
			return err
		}
		if line != "" {
			r.faults.add(faultProcess, "in the log of %s: %s", p.name, line)
		}
	}
	return ctx.Err()
}

// save writes the report as JSON.
func (r *Report) save(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
