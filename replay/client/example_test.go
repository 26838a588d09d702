package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay/client"
)

// Follow a channel from where the last run of the program stopped.
func ExampleClient_Tail() {
	c, err := client.New(client.Config{URL: "http://127.0.0.1:6001", AppID: "app-id", Key: "app-key", Secret: "app-secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	kept, _ := os.ReadFile("position") // the first time there is none
	for e, err := range c.Tail(ctx, client.TailOptions{
		Subscriptions: []client.Subscription{{Channel: "orders", After: client.Position(kept)}},
	}) {
		var gap *client.Gap
		switch {
		case errors.As(err, &gap):
			fmt.Println("read the orders anew:", gap)
			continue
		case err != nil:
			fmt.Println(err)
			return
		}
		fmt.Println(e.Name, e.Data)
		if err := os.WriteFile("position", []byte(e.Position), 0o600); err != nil {
			fmt.Println(err)
			return
		}
	}
}

// Publish an event once, however often it has to be sent.
func ExampleClient_Publish() {
	c, err := client.New(client.Config{AppID: "app-id", Key: "app-key", Secret: "app-secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	stored, err := c.Publish(context.Background(), client.Publication{
		Channels:       []broker.Channel{"orders"},
		Event:          "order.updated",
		Data:           `{"id":7}`,
		IdempotencyKey: "order-7-paid",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("stored at", stored[0].Position)
}

// Read what was published in the last hour, oldest first.
func ExampleClient_Read() {
	c, err := client.New(client.Config{AppID: "app-id", Key: "app-key", Secret: "app-secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for e, err := range c.Read(context.Background(), "orders", client.HistoryOptions{
		OldestFirst: true,
		From:        time.Now().Add(-time.Hour),
	}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(e.Time, e.Name, e.Data)
	}
}
