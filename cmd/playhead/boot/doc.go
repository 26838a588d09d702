// Package boot assembles a node from its configuration, runs it, takes it apart again.
//
// It is the only package that reads files and the environment ([Load]), and the only one that
// knows all others ([New]). What it starts it stops in reverse, step by step, under one timeout
// ([Node.Run]). What it knows of apps the commands that talk to a running server get as a [Target].
package boot
