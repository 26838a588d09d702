package bench

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"
)

// The scenarios.
const (
	Connect   = "connect"   // connections are opened and subscribed, and an event reaches them all
	Fanout    = "fanout"    // events reach the subscribers of channels
	Publish   = "publish"   // events are published, with one subscriber per channel to check them
	Reconnect = "reconnect" // clients are cut and come back with their positions while events flow
	Churn     = "churn"     // visitors come and go while events flow to those who stay
)

// None is the value of a setting that is not to have any effect.
const None = -1

// Config says what is done to which server.
type Config struct {
	Scenario string `arg:"" optional:"" default:"fanout" enum:"connect,fanout,publish,reconnect,churn" help:"What to do: connect, fanout, publish, reconnect (where the server offers replay) or churn. Default: fanout."`

	// Channels is how many channels there are, each with Subscribers connections. Default 1 and 100;
	// the scenario publish has one subscriber per channel.
	Channels    int `placeholder:"N" help:"Channels. Default: 1."`
	Subscribers int `placeholder:"N" help:"Connections per channel, one channel each. Default: 100, and 1 for publish."`

	// DialRate is how many connections are opened per second; −1: as fast as 64 at a time go. Default −1.
	DialRate float64 `placeholder:"N" help:"Connections to open per second. Default: as fast as 64 at a time go."`

	// Rate is how many events are published per second, in all. −1 publishes as many as are
	// delivered. Default 100; for the scenario publish −1.
	Rate float64 `placeholder:"N" help:"Events per second, in all; -1: as many as go. Default: 100; for publish as many as go."`

	// Publishers is how many requests may be under way at a time. Default 4.
	Publishers int `placeholder:"N" help:"Publishers, each with one request under way at a time. Default: 4."`

	// Batch is how many events a request has. Default 1; servers commonly take 10.
	Batch int `placeholder:"N" help:"Events per request. Default: 1; servers commonly take 10."`

	// Size is the bytes of an event's data, 80 at the least. Default 256.
	Size int `placeholder:"BYTES" help:"Bytes of an event's data, 80 or more. Default: 256."`

	// Turns is how many connections are cut, or visitors come, per second. Default 20.
	Turns float64 `placeholder:"N" help:"Connections cut (reconnect), or visitors (churn), per second. Default: 20."`

	// Seconds is how long is measured, after Warmup seconds that are checked but not measured. Default
	// 10 and 2; −1 is no warm-up.
	Seconds float64 `placeholder:"N" help:"Seconds to measure for. Default: 10."`
	Warmup  float64 `placeholder:"N" help:"Seconds before, which are checked but not measured; -1: none. Default: 2."`

	// JSON is the file that gets the result too; - is Output, in place of the table.
	JSON string `name:"json" placeholder:"FILE" help:"File for the result as JSON; - prints it in place of the table."`

	// Where the server is, and which of its apps is used. The secret's bearer may publish. Required.
	URL    string `kong:"-"`
	AppID  string `kong:"-"`
	Key    string `kong:"-"`
	Secret string `kong:"-"`

	// Output takes the result; Progress a line now and then. Default: discard.
	Output   io.Writer `kong:"-"`
	Progress io.Writer `kong:"-"`

	// ProgressEvery is the time between lines of progress. Default 10 s.
	ProgressEvery time.Duration `kong:"-"`

	// Patience is how long to wait for an answer, and for deliveries after the last event. Default 10 s.
	Patience time.Duration `kong:"-"`
}

// setDefaults fills in what is zero and checks the rest. It reports all problems together.
func (cfg *Config) setDefaults() error {
	set := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	setRate := func(n *float64, value float64) {
		if *n == 0 {
			*n = value
		}
	}
	if cfg.Scenario == "" {
		cfg.Scenario = Fanout
	}
	set(&cfg.Channels, 1)
	if cfg.Scenario == Publish {
		set(&cfg.Subscribers, 1)
		setRate(&cfg.Rate, None)
	}
	set(&cfg.Subscribers, 100)
	set(&cfg.Publishers, 4)
	set(&cfg.Batch, 1)
	set(&cfg.Size, 256)
	setRate(&cfg.DialRate, None)
	setRate(&cfg.Rate, 100)
	setRate(&cfg.Turns, 20)
	setRate(&cfg.Seconds, 10)
	setRate(&cfg.Warmup, 2)
	if cfg.Output == nil {
		cfg.Output = io.Discard
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	if cfg.ProgressEvery == 0 {
		cfg.ProgressEvery = 10 * time.Second
	}
	if cfg.Patience == 0 {
		cfg.Patience = 10 * time.Second
	}
	return cfg.check()
}

func (cfg *Config) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch cfg.Scenario {
	case Connect, Fanout, Publish, Reconnect, Churn:
	default:
		wrong("no scenario %q", cfg.Scenario)
	}
	for _, n := range []struct {
		name         string
		value, least int
	}{
		{"channels", cfg.Channels, 1}, {"subscribers", cfg.Subscribers, 1}, {"publishers", cfg.Publishers, 1},
		{"batch", cfg.Batch, 1}, {"size", cfg.Size, 80},
	} {
		if n.value < n.least {
			wrong("%s: %d is less than %d", n.name, n.value, n.least)
		}
	}
	for _, n := range []struct {
		name  string
		value float64
		none  bool
	}{
		{"dial-rate", cfg.DialRate, true}, {"rate", cfg.Rate, true}, {"warmup", cfg.Warmup, true},
		{"turns", cfg.Turns, false}, {"seconds", cfg.Seconds, false},
	} {
		if !(n.value > 0 && n.value <= 1e9) && !(n.none && n.value == None) {
			wrong("%s: %v is no number of them", n.name, n.value)
		}
	}
	if cfg.ProgressEvery < 0 || cfg.Patience < 0 {
		wrong("times can't be negative")
	}
	if u, err := url.Parse(cfg.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		wrong("url: %q is no http or https URL", cfg.URL)
	}
	if cfg.AppID == "" || cfg.Key == "" || cfg.Secret == "" {
		wrong("the app's id, key and secret are needed")
	}
	return errors.Join(errs...)
}
