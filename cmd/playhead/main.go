// Command playhead is main: flags, signals, exit code, nothing else. What they set in motion is in
// packages boot, console, bench and prove.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/playhead/playhead/cmd/playhead/bench"
	"github.com/playhead/playhead/cmd/playhead/boot"
	"github.com/playhead/playhead/cmd/playhead/console"
	"github.com/playhead/playhead/cmd/playhead/prove"
)

// version is set by the linker when a release is built.
var version string

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

type cli struct {
	Serve    serveCommand    `cmd:"" default:"withargs" help:"Run a node. This is the default."`
	Tail     console.Tail    `cmd:"" help:"Follow channels of a running server, over cuts and restarts."`
	History  console.History `cmd:"" help:"Read a channel's past."`
	Publish  console.Publish `cmd:"" help:"Publish one event, signed, through a node's HTTP API."`
	Cluster  console.Cluster `cmd:"" help:"Look at the nodes of a cluster."`
	Health   healthCommand   `cmd:"" help:"Ask a node whether it is ready; the exit code says it."`
	Apps     console.Apps    `cmd:"" help:"Look at the apps and change them, in the file or the database that they are kept in."`
	Webhooks webhooksCommand `cmd:"" help:"Look at webhooks that could not be delivered, and send them again."`
	Config   configCommand   `cmd:"" help:"Look at the configuration."`
	Bench    benchCommand    `cmd:"" help:"Load any server that speaks the Pusher protocol, check every delivery, and say how long things took."`
	Prove    proveCommand    `cmd:"" help:"Start a cluster on this machine, do to it what production does, and check that nothing is lost."`
	NATS     natsCommand     `cmd:"" name:"prove-nats" hidden:"" help:"A NATS server of what is proved."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

// configFlag is shared by all commands that read the configuration.
type configFlag struct {
	Config string `placeholder:"FILE" help:"YAML file with the configuration. Default: what $$PLAYHEAD_CONFIG names, else none."`
}

type serveCommand struct {
	configFlag
	Data string `placeholder:"FOLDER" help:"Folder that holds the streams (data_dir, DATA_DIR). Default: ./data."`
	Host string `placeholder:"ADDRESS" help:"Address to listen on (host, HOST). Default: 0.0.0.0."`
	Port string `placeholder:"PORT" help:"Port for WebSockets and HTTP (port, PORT). Default: 6001; 0 picks a free one."`
}

type webhooksCommand struct {
	Dead  deadCommand  `cmd:"" help:"List the webhooks that could not be delivered."`
	Retry retryCommand `cmd:"" help:"Send dead webhooks again."`
}

// deadFlags are shared by the commands about dead webhooks.
type deadFlags struct {
	configFlag
	URL   string `name:"url" placeholder:"URL" help:"Second listener of the node to ask. Default: http://127.0.0.1 and the configured metrics port."`
	AppID string `name:"app-id" placeholder:"ID" help:"Only those of this app."`
}

type deadCommand struct {
	deadFlags
	Limit int `placeholder:"N" help:"The most to list, up to 1,000. Default: 100."`
}

type retryCommand struct {
	deadFlags
	Numbers []uint64 `arg:"" optional:"" help:"Numbers of the ones to send again, as the list has them."`
	All     bool     `help:"Send all again, or all of the app."`
}

type healthCommand struct {
	configFlag
	URL string `name:"url" placeholder:"URL" help:"The node. Default: http://127.0.0.1 and the configured port."`
}

type configCommand struct {
	Check checkCommand `cmd:"" help:"Check the configuration as serve would read it, and list every problem."`
	Print printCommand `cmd:"" help:"Print the configuration as serve would read it, and where each value is from; secrets are masked."`
	Env   envCommand   `cmd:"" help:"List every variable of the environment that is read, its default and what it means."`
}

type printCommand struct {
	configFlag
}

type envCommand struct{}

type checkCommand struct {
	configFlag
}

type benchCommand struct {
	console.Server
	bench.Config
}

type proveCommand struct{ prove.Config }

type natsCommand struct{ prove.Server }

type versionCommand struct{}

func main() { os.Exit(run(os.Args[1:], console.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})) }

// run carries out a command line and returns the exit code.
func run(args []string, std console.Stdio) int {
	var c cli
	helped := false
	parser, err := kong.New(&c,
		kong.Name("playhead"),
		kong.Description("A realtime server that speaks the Pusher protocol and keeps what was published, so that clients that return miss nothing."),
		kong.Writers(std.Out, std.Err),
		kong.Exit(func(int) { helped = true }),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(std.Err, "playhead:", err)
		return exitError
	}
	command, err := parser.Parse(args)
	if helped {
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(std.Err, "playhead: %v\nplayhead --help tells more.\n", err)
		return exitUsage
	}
	ctx, stop := notify(std.Err)
	defer stop()
	command.Bind(&c)
	command.BindTo(ctx, (*context.Context)(nil))
	command.Bind(std)
	if err := command.Run(); err != nil {
		fmt.Fprintln(std.Err, "playhead:", err)
		return exitError
	}
	return exitOK
}

// notify returns a context that the first SIGINT or SIGTERM ends; a second one ends the process.
func notify(errs io.Writer) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-signals:
			cancel()
		case <-done:
			return
		}
		select {
		case s := <-signals:
			fmt.Fprintln(errs, "playhead: told twice, ending at once")
			code := exitError
			if n, ok := s.(syscall.Signal); ok {
				code = 128 + int(n) // as a shell reports a process that a signal ended
			}
			os.Exit(code)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
		close(done)
		<-gone
	}
}

// Run runs a node until a signal to end comes. SIGHUP has it read the configuration again.
func (c *serveCommand) Run(ctx context.Context, std console.Stdio) error {
	hangup := make(chan os.Signal, 1) // one that waits is as good as several
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	source := boot.Source{File: c.Config, Flags: []boot.Flag{
		{Name: "--data", Key: "data_dir", Text: c.Data},
		{Name: "--host", Key: "host", Text: c.Host},
		{Name: "--port", Key: "port", Text: c.Port},
	}}
	cfg, err := boot.Load(source)
	if err != nil {
		return err
	}
	cfg.Source, cfg.Hangup = &source, hangup
	cfg.Output, cfg.Logger = std.Out, boot.NewLogger(cfg, std.Err)
	node, err := boot.New(cfg)
	if err != nil {
		return err
	}
	return node.Run(ctx)
}

// Run lists dead webhooks.
func (c *deadCommand) Run(ctx context.Context, std console.Stdio) error {
	cfg, err := boot.Load(boot.Source{File: c.Config})
	if err != nil {
		return err
	}
	return boot.ListDead(ctx, cfg, boot.DeadConfig{URL: c.URL, AppID: c.AppID, Limit: c.Limit, Output: std.Out})
}

// Run sends dead webhooks again.
func (c *retryCommand) Run(ctx context.Context, std console.Stdio) error {
	cfg, err := boot.Load(boot.Source{File: c.Config})
	if err != nil {
		return err
	}
	return boot.RetryDead(ctx, cfg, boot.DeadConfig{URL: c.URL, AppID: c.AppID, Numbers: c.Numbers, All: c.All, Output: std.Out})
}

// Run checks the configuration.
func (c *checkCommand) Run(std console.Stdio) error {
	if _, err := boot.Load(boot.Source{File: c.Config}); err != nil {
		return err
	}
	_, err := fmt.Fprintln(std.Out, "The configuration is fine.")
	return err
}

// Run prints the configuration.
func (c *printCommand) Run(std console.Stdio) error {
	return boot.Explain(boot.Source{File: c.Config}, std.Out)
}

// Run lists the variables of the environment.
func (envCommand) Run(std console.Stdio) error { return boot.WriteVariables(std.Out) }

// Run asks a node how it is.
func (c *healthCommand) Run(ctx context.Context, std console.Stdio) error {
	cfg, err := boot.Load(boot.Source{File: c.Config})
	if err != nil {
		return err
	}
	if err := boot.Probe(ctx, cfg, c.URL); err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.Out, "OK")
	return err
}

// Run loads a server.
func (c *benchCommand) Run(ctx context.Context, std console.Stdio) error {
	to, err := c.Server.Target()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	c.Config.URL, c.Config.AppID, c.Config.Key, c.Config.Secret = to.URL, string(to.AppID), to.Key, to.Secret
	c.Output, c.Progress = std.Out, std.Err
	if f, ok := std.Err.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			c.ProgressEvery = time.Second
		}
	}
	b, err := bench.New(c.Config)
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// Run proves a cluster.
func (c *proveCommand) Run(ctx context.Context, std console.Stdio) error {
	c.Output = std.Out
	p, err := prove.New(c.Config)
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// Run runs a NATS server of a cluster that is proved.
func (c *natsCommand) Run(ctx context.Context, std console.Stdio) error {
	return c.Server.Run(ctx, std.Err)
}

// Run prints what was built from what.
func (versionCommand) Run(std console.Stdio) error {
	v, revision, goVersion := version, "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		if v == "" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " (" + s.Value + ")"
			}
		}
	}
	if v == "" {
		v = "(devel)"
	}
	_, err := fmt.Fprintf(std.Out, "playhead %s%s %s\n", v, revision, goVersion)
	return err
}
