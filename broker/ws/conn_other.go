//go:build !unix

package ws

import "errors"

// hasDescriptors says that bytes can't be moved straight on a descriptor here; every connection is
// read and written through package net.
const hasDescriptors = false

// writeDescriptor is never called where hasDescriptors is false.
func writeDescriptor(uintptr, []byte) (n int, blocked bool, err error) {
	return 0, false, errors.ErrUnsupported
}

// readDescriptor is never called where hasDescriptors is false.
func readDescriptor(uintptr, []byte) (n int, empty bool, err error) {
	return 0, false, errors.ErrUnsupported
}
