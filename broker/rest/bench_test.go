package rest

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"testing"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

// void is a log that stores nothing at once.
type void struct{}

func (void) Append(context.Context, ...*broker.Event) error { return nil }

func (void) Tail(context.Context, broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	return broker.Position{}, func(func(*broker.Event, error) bool) {}, nil
}

// sink takes an answer and forgets it.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

// again is a body that can be read again.
type again struct{ *strings.Reader }

func (again) Close() error { return nil }

// BenchmarkPublish is one request through the handler and a node, without network and log.
func BenchmarkPublish(b *testing.B) {
	data := strings.Repeat(`{\"some\":\"data\"}`, 16) // 256 bytes, 320 with their escapes
	one := fmt.Sprintf(`{"name":"order.updated","channels":["private-orders"],"data":"%s"}`, data)
	item := fmt.Sprintf(`{"name":"order.updated","channel":"private-orders","data":"%s"}`, data)
	for _, v := range []struct{ name, path, body string }{
		{"one", "/apps/3/events", one},
		{"batch of 10", "/apps/3/batch_events", `{"batch":[` + strings.Repeat(item+",", 9) + item + `]}`},
		{"to 100 channels", "/apps/3/events", `{"name":"order.updated","channels":[` + names(100) + `],"data":"x"}`},
	} {
		b.Run(v.name, func(b *testing.B) {
			node, err := broker.New(broker.Config{Log: void{}})
			if err != nil {
				b.Fatal(err)
			}
			s := open(b, func(c *Config, _ *broker.App) { c.Node = node })
			r := s.request(b, "POST", v.path, "", v.body)
			body := again{strings.NewReader(v.body)}
			r.Body = body
			w := &sink{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(v.body)
				clear(w.header)
				s.api.ServeHTTP(w, r)
			}
			if w.status != 0 {
				b.Fatalf("status %d", w.status)
			}
		})
	}
}

// BenchmarkPublishInfo is a publish to a log with memory, and what it costs to be told where the event
// stands: compare the two.
func BenchmarkPublishInfo(b *testing.B) {
	data := strings.Repeat(`{\"some\":\"data\"}`, 16)
	for _, v := range []struct{ name, info string }{{"none", ""}, {"position", `,"info":"position"`}} {
		b.Run(v.name, func(b *testing.B) {
			memory := &brokertest.Memory{}
			node, err := broker.New(broker.Config{Log: memory})
			if err != nil {
				b.Fatal(err)
			}
			s := open(b, func(c *Config, _ *broker.App) { c.Node = node })
			text := fmt.Sprintf(`{"name":"order.updated","channels":["private-orders"],"data":"%s"%s}`, data, v.info)
			r := s.request(b, "POST", "/apps/3/events", "", text)
			body := again{strings.NewReader(text)}
			r.Body = body
			w := &sink{header: http.Header{}}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%10_000 == 9_999 {
					memory.Reset("3") // the log isn't measured, and must not fill the memory
				}
				body.Reset(text)
				clear(w.header)
				s.api.ServeHTTP(w, r)
			}
			if w.status != 0 {
				b.Fatalf("status %d", w.status)
			}
		})
	}
}

// BenchmarkReadTrigger is the body alone.
func BenchmarkReadTrigger(b *testing.B) {
	benchmarkRead(b, readTrigger, oneBody)
}

// BenchmarkReadBatch is the same for ten events.
func BenchmarkReadBatch(b *testing.B) {
	item := fmt.Sprintf(`{"name":"order.updated","channel":"private-orders","data":"%s"}`, escapedData)
	benchmarkRead(b, readBatch, `{"batch":[`+strings.Repeat(item+",", 9)+item+`]}`)
}

func benchmarkRead(b *testing.B, read func(*broker.App, []byte, string) (publication, error), text string) {
	app := &broker.App{ID: "3", Limits: broker.Limits{}.WithDefaults()}
	body := []byte(text)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read(app, body, ""); err != nil {
			b.Fatal(err)
		}
	}
}
