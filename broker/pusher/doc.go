// Package pusher is the Pusher protocol on paper: frames, names, codes, signatures; no I/O.
//
// What comes in is read by [Decode] and the methods of [Frame]; what goes out is written by the
// Append functions, which add one frame to a byte slice and return it. Names, members and
// signatures are checked here, HTTP requests by [Request.Verify].
//
// Everything a peer can get wrong is an error that matches one of this package's Err values with
// errors.Is, and whose text is what the peer may be told, in Pusher's own words where they are
// known. Which code or status goes with it is for the doors to choose.
package pusher
