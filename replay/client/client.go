package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// Client is one app's client of a server. It is safe for concurrent use, and holds nothing that
// would have to be closed.
type Client struct {
	cfg  Config
	cred broker.Credential
}

// New checks cfg and returns a client. It doesn't connect.
func New(cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, cred: broker.Credential{Key: cfg.Key, Secret: cfg.Secret}}, nil
}

// signs says whether the client has what it takes to sign a request.
func (c *Client) signs() error {
	switch {
	case c.cfg.AppID == "":
		return errors.New("app id: required")
	case c.cfg.Secret == "":
		return errors.New("secret: required")
	}
	return nil
}

// request makes a signed request. Its signature is good for ten minutes.
func (c *Client) request(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Request, error) {
	// The URL is put together as text: to join would clean it, and a channel may be named "..".
	u, err := url.Parse(c.cfg.URL + "/apps/" + url.PathEscape(string(c.cfg.AppID)) + path)
	if err != nil {
		return nil, err
	}
	signed := pusher.Request{Method: method, Path: u.EscapedPath(), RawQuery: query.Encode(), Body: body}
	if u.RawQuery, err = signed.Sign(c.cred, time.Now()); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// ask sends a request until it is answered, for as long as RetryFor and ctx allow, and returns the
// body of the 200. An error is that of the last attempt.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, error) {
	if err := c.signs(); err != nil {
		return nil, err
	}
	until := time.Now().Add(c.cfg.RetryFor)
	wait := backoff{least: c.cfg.BackoffMin, most: c.cfg.BackoffMax}
	for {
		answer, after, err := c.attempt(ctx, method, path, query, body)
		if err == nil {
			return answer, nil
		}
		var status *StatusError
		if ctx.Err() != nil || errors.Is(err, errAnswerSize) || errors.As(err, &status) && !status.temporary() {
			return nil, err
		}
		d := max(after, wait.next())
		next := time.Now().Add(d)
		if deadline, ok := ctx.Deadline(); next.After(until) || ok && next.After(deadline) {
			return nil, err
		}
		c.cfg.Logger.Debug("request is tried again", "app", c.cfg.AppID, "err", err, "dur", d)
		if pause(ctx, d) != nil {
			return nil, err // why it was not answered says more than that it was given up
		}
	}
}

// errAnswerSize says that an answer is larger than MaxMessageBytes.
var errAnswerSize = errors.New("the answer is too large")

// attempt sends a request once. after is how long the server wants to be left alone.
func (c *Client) attempt(ctx context.Context, method, path string, query url.Values, body []byte) (answer []byte, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return nil, 0, err
	}
	res, err := c.cfg.HTTPClient.Do(req)
	if err != nil {
		// The URL in the error would be long and its signature of no use to anybody.
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, 0, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, int64(c.cfg.MaxMessageBytes)+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("read the answer: %w", err)
	case len(answer) > c.cfg.MaxMessageBytes:
		return nil, 0, fmt.Errorf("read the answer: %w: more than %d bytes", errAnswerSize, c.cfg.MaxMessageBytes)
	case res.StatusCode != http.StatusOK:
		if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
			after = time.Duration(min(seconds, 3600)) * time.Second
		}
		return nil, after, newStatusError(res.StatusCode, answer)
	}
	return answer, 0, nil
}
