package console

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/playhead/playhead/cmd/playhead/boot"
)

// Cluster looks at the nodes of a cluster.
type Cluster struct {
	Status ClusterStatus `cmd:"" help:"List the nodes that one of them knows, and who leads the streams."`
}

// ClusterStatus asks one node what it knows of the others.
type ClusterStatus struct {
	Config string `placeholder:"FILE" help:"YAML file with the configuration. Default: what $$PLAYHEAD_CONFIG names, else none."`
	URL    string `name:"url" placeholder:"URL" help:"Second listener of the node to ask. Default: http://127.0.0.1 and the configured metrics port."`
	JSON   bool   `name:"json" help:"Print what the node answers."`
}

// Run prints a line per node and per stream.
func (c *ClusterStatus) Run(ctx context.Context, std Stdio) error {
	if c.URL == "" {
		cfg, err := boot.Load(boot.Source{File: c.Config})
		if err != nil {
			return err
		}
		c.URL = boot.MetricsURL(cfg)
	}
	text, err := c.ask(ctx)
	if err != nil {
		return fmt.Errorf("cluster status: %w", explain(err))
	}
	if c.JSON {
		_, err := std.Out.Write(text)
		return err
	}
	var status boot.ClusterStatus
	if err := json.Unmarshal(text, &status); err != nil {
		return fmt.Errorf("cluster status: read the answer of %s: %w", c.URL, err)
	}
	return printCluster(std.Out, &status)
}

func (c *ClusterStatus) ask(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+"/cluster", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s: %s", c.URL, res.Status, strings.TrimSpace(string(text)))
	}
	return text, nil
}

func printCluster(out io.Writer, s *boot.ClusterStatus) error {
	if s.Alone {
		_, err := fmt.Fprintf(out, "%s is alone.\n", s.Node)
		return err
	}
	if !s.Standing {
		if _, err := fmt.Fprintf(out, "%s is not among the others now.\n", s.Node); err != nil {
			return err
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tLIFE\tUP\tHEARD OF\tCONNECTIONS\tLAG")
	for _, n := range s.Nodes {
		name := n.Name
		if n.Self {
			name += " *"
		}
		fmt.Fprintf(w, "%s\t%.8s\t%v\t%v ago\t%d\t%v\n", name, n.Life, time.Since(n.Started).Round(time.Second),
			time.Duration(n.AgeMS)*time.Millisecond, n.Connections, time.Duration(n.LagMS)*time.Millisecond)
	}
	if len(s.Streams) > 0 {
		fmt.Fprintf(w, "\nSTREAM OF APP\tLEADER (of %d replicas)\n", s.Replicas)
		for _, st := range s.Streams {
			fmt.Fprintf(w, "%s\t%s\n", st.App, st.Leader)
		}
	}
	return w.Flush() // what was printed is kept until then
}
