// Package console is the commands that talk to a running server: [Tail], [History] and [Publish]; and
// [Apps], which change what one reads. Each is a struct that the command line is read into, and a Run.
package console
