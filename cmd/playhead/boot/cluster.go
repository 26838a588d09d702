package boot

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// clusterPath is where the second listener says what the node knows of the cluster.
const clusterPath = "/cluster"

// ClusterStatus is what one node knows of all nodes, as JSON.
type ClusterStatus struct {
	// Node is the one that was asked, Alone that there is no other: then Nodes is empty.
	Node  string `json:"node"`
	Alone bool   `json:"alone"`

	// Standing: the node is among the others, and clients may join channels.
	Standing bool `json:"standing"`

	Nodes []ClusterNode `json:"nodes"`

	// Replicas is how many servers hold each stream.
	Replicas int `json:"replicas"`

	// Streams are those of the apps in use on the node, with the servers that lead them, as they were
	// at the last look. Empty where the medium is inside one process.
	Streams []ClusterStream `json:"streams"`
}

// ClusterNode is a node that lives, as far as the one that was asked knows.
type ClusterNode struct {
	Name string `json:"name"`
	Life string `json:"life"` // another one after each start
	Self bool   `json:"self,omitempty"`

	AgeMS       int64     `json:"age_ms"`      // since it was heard of
	Started     time.Time `json:"started"`     // when its life began
	Connections int       `json:"connections"` // as it said with its last heartbeat
	LagMS       int64     `json:"lag_ms"`      // by how much it was behind the log then
}

// ClusterStream is an app's stream and who leads it.
type ClusterStream struct {
	App    string `json:"app"`
	Leader string `json:"leader"`
}

// MetricsURL is where the second listener of a node on this machine is, as its configuration has it.
func MetricsURL(cfg Config) string {
	cfg.fill()
	return fmt.Sprintf("http://127.0.0.1:%d", cfg.Metrics.Port.number())
}

// clusterStatus is what this node knows.
func (n *Node) clusterStatus() ClusterStatus {
	status := ClusterStatus{
		Node: n.cfg.Node, Alone: n.cfg.alone(), Replicas: n.replicas,
		Nodes: []ClusterNode{}, Streams: []ClusterStream{},
	}
	members, medium := n.members.Load(), n.medium.Load()
	if members == nil || medium == nil {
		return status
	}
	status.Standing = members.Standing()
	for _, p := range members.Nodes() {
		status.Nodes = append(status.Nodes, ClusterNode{
			Name: p.Name, Life: p.Life, Self: p.Self, AgeMS: p.Age.Milliseconds(),
			Started: time.UnixMilli(p.Started).UTC(), Connections: p.Connections, LagMS: p.Lag,
		})
	}
	status.Streams = medium.leaders()
	return status
}

func (n *Node) serveCluster(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(n.clusterStatus()) // whoever asked has gone
}
