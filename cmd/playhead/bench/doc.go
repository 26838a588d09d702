// Package bench loads any server that speaks the Pusher protocol, checks every delivery, and says how
// long things took.
package bench
