package integration

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// publisher is an application's server: it publishes over the signed HTTP API. Its signature is
// made here from the protocol's text, not with the node's own code.
type publisher struct {
	url    string // of the node
	app    string
	key    string
	secret string
	client *http.Client
}

// publisher returns one with connections of its own, for the default app.
func (n *node) publisher() *publisher {
	p := &publisher{
		url: n.url(""), app: appID, key: appKey, secret: appSecret,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}},
	}
	n.tb.Cleanup(p.client.CloseIdleConnections)
	return p
}

// publication is one event to be published.
type publication struct {
	Channel string `json:"channel,omitempty"`
	Name    string `json:"name"`
	Data    string `json:"data"`
}

// answer is what the node said to a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// publish publishes one event. An error means that no answer was received.
func (p *publisher) publish(ctx context.Context, channel, name, data string) (answer, error) {
	return p.post(ctx, "events", publication{channel, name, data})
}

func (p *publisher) post(ctx context.Context, what string, content any) (answer, error) {
	body, err := json.Marshal(content)
	if err != nil {
		return answer{}, err
	}
	return p.do(ctx, http.MethodPost, "/apps/"+p.app+"/"+what, body)
}

func (p *publisher) do(ctx context.Context, method, path string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path+"?"+p.sign(method, path, body), bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{resp.StatusCode, resp.Header, string(text)}, nil
}

// sign returns the signed query of a request.
func (p *publisher) sign(method, path string, body []byte) string {
	query := "auth_key=" + p.key + "&auth_timestamp=" + strconv.FormatInt(time.Now().Unix(), 10) + "&auth_version=1.0"
	if len(body) > 0 {
		sum := md5.Sum(body)
		query += "&body_md5=" + hex.EncodeToString(sum[:])
	}
	return query + "&auth_signature=" + signature(p.secret, method+"\n"+path+"\n"+query)
}

func signature(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// publishStored publishes one event, and returns an error unless the node says that it is stored.
func (p *publisher) publishStored(ctx context.Context, channel, name, data string) error {
	a, err := p.publish(ctx, channel, name, data)
	if err == nil && a.status != http.StatusOK {
		err = errors.New(a.String())
	}
	if err != nil {
		return fmt.Errorf("publish to %s: %w", channel, err)
	}
	return nil
}

// mustPublish publishes one event and fails the test unless it is stored.
func (p *publisher) mustPublish(tb testing.TB, channel, name, data string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.publishStored(ctx, channel, name, data); err != nil {
		tb.Fatal(err)
	}
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }
