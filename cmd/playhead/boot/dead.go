package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/webhook"
)

// deadPath is where the second listener serves webhooks that couldn't be delivered.
const deadPath = "/webhooks/dead"

// DeadConfig is about webhooks that couldn't be delivered, and which node to ask. What is left empty
// comes from the configuration.
type DeadConfig struct {
	URL   string // of the node's second listener. Default: http://127.0.0.1 and the metrics port
	AppID string // default: all apps
	Limit int    // the most to list; default 100

	// Numbers are the ones to deliver again, All has all of them, or all of the app's.
	Numbers []uint64
	All     bool

	// Output takes what is to be told. Default: nowhere.
	Output io.Writer
}

// ListDead lists what a node could not deliver, a line each. Error: the node can't be reached, or what
// it answered other than 200.
func ListDead(ctx context.Context, cfg Config, c DeadConfig) error {
	query := url.Values{}
	if c.AppID != "" {
		query.Set("app", c.AppID)
	}
	if c.Limit != 0 {
		query.Set("limit", strconv.Itoa(c.Limit))
	}
	var list webhook.DeadList
	if err := c.ask(ctx, &cfg, http.MethodGet, query, nil, &list); err != nil {
		return fmt.Errorf("list dead webhooks: %w", err)
	}
	var b strings.Builder
	for _, d := range list.Dead {
		fmt.Fprintf(&b, "%d  %s  app %s  endpoint %s  %s\n    %s\n",
			d.Number, d.Died.UTC().Format(time.RFC3339), strconv.Quote(string(d.App)), d.Endpoint, d.Why, d.Event)
	}
	if len(list.Dead) == 0 {
		b.WriteString("No webhook is dead.\n")
	}
	if list.More {
		b.WriteString("There are more; --limit shows up to 1,000.\n")
	}
	return c.write(b.String())
}

// RetryDead has a node deliver dead webhooks again. Errors are as of [ListDead].
func RetryDead(ctx context.Context, cfg Config, c DeadConfig) error {
	body, err := json.Marshal(webhook.RetryRequest{Numbers: c.Numbers, All: c.All, App: broker.AppID(c.AppID)})
	if err != nil {
		return fmt.Errorf("retry dead webhooks: %w", err)
	}
	var answer webhook.RetryAnswer
	if err := c.ask(ctx, &cfg, http.MethodPost, nil, body, &answer); err != nil {
		return fmt.Errorf("retry dead webhooks: %w", err)
	}
	return c.write(fmt.Sprintf("%d put into the queue again.\n", answer.Retried))
}

func (c *DeadConfig) write(text string) error {
	if c.Output == nil {
		return nil
	}
	_, err := io.WriteString(c.Output, text)
	return err
}

// ask sends a request to the node's second listener, and reads the answer.
func (c *DeadConfig) ask(ctx context.Context, cfg *Config, method string, query url.Values, body []byte, answer any) error {
	if c.URL == "" {
		c.URL = MetricsURL(*cfg)
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is not the URL of a node's second listener; write it like http://127.0.0.1:9601", c.URL)
	}
	u = u.JoinPath(deadPath)
	u.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return fmt.Errorf("ask %s: %w; is the server running, and metrics.enabled?", c.URL, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.URL, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s: %s", c.URL, res.Status, bytes.TrimSpace(text))
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.URL, err)
	}
	return nil
}

// dead serves webhooks that couldn't be delivered, once there are webhooks.
func (n *Node) dead(w http.ResponseWriter, r *http.Request) {
	hooks := n.webhooks.Load()
	if hooks == nil {
		http.Error(w, "not serving yet", http.StatusServiceUnavailable)
		return
	}
	hooks.DeadHandler().ServeHTTP(w, r)
}
