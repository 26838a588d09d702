package rest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
)

// BenchmarkServe is a whole publish over a connection that is kept: net/http, the API, a node, and no log.
// "nothing" is the same request to a handler that reads it and answers: what net/http takes by itself.
// The client's part is a write and a read without allocations.
func BenchmarkServe(b *testing.B) {
	node, err := broker.New(broker.Config{Log: void{}})
	if err != nil {
		b.Fatal(err)
	}
	s := open(b, func(c *Config, _ *broker.App) { c.Node = node })
	nothing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte("{}"))
	})
	item := fmt.Sprintf(`{"name":"order.updated","channel":"private-orders","data":"%s"}`, escapedData)
	for _, v := range []struct {
		name, path, body string
		handler          http.Handler
	}{
		{"nothing", "/apps/3/events", oneBody, nothing},
		{"one", "/apps/3/events", oneBody, s.api},
		{"batch of 10, nothing", "/apps/3/batch_events", `{"batch":[` + strings.Repeat(item+",", 9) + item + `]}`, nothing},
		{"batch of 10", "/apps/3/batch_events", `{"batch":[` + strings.Repeat(item+",", 9) + item + `]}`, s.api},
	} {
		b.Run(v.name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			srv := &http.Server{
				Handler: v.handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
				WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
			}
			var serving sync.WaitGroup
			serving.Go(func() {
				if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
					b.Error(err)
				}
			})
			defer serving.Wait()
			defer func() { _ = srv.Close() }()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			r := s.request(b, http.MethodPost, v.path, "", v.body)
			request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:6001\r\nUser-Agent: pusher-http-go\r\nX-Pusher-Library: pusher-http-go 5.1.1\r\n"+
				"Accept-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", r.URL.RequestURI(), len(v.body), v.body)
			answers := bufio.NewReader(c)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				if err := skipAnswer(answers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// skipAnswer reads an answer, which must be 200, without allocating.
func skipAnswer(r *bufio.Reader) error {
	size := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answer %q", line)
		}
		if digits, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if size, err = strconv.Atoi(string(bytes.TrimSpace(digits))); err != nil {
				return err
			}
		}
		if len(line) == 2 {
			_, err := r.Discard(size)
			return err
		}
	}
}

// escapedData is 256 bytes, 320 with their escapes; oneBody publishes it to one channel.
var (
	escapedData = strings.Repeat(`{\"some\":\"data\"}`, 16)
	oneBody     = fmt.Sprintf(`{"name":"order.updated","channels":["private-orders"],"data":"%s"}`, escapedData)
)
