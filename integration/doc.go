// Package integration drives whole nodes against real NATS, real Redis, real Pusher clients.
package integration
