//go:build !cgo || !(linux || darwin)

package krun

import (
	"errors"
	"unsafe"
)

// Without cgo nothing can be loaded, so no Library exists and nothing below
// load is ever reached.
type address unsafe.Pointer

var errNoCgo = errors.New("this program was built without cgo")

func load(string, bool) (unsafe.Pointer, error) { return nil, errNoCgo }
func find(unsafe.Pointer, string) address       { return nil }
func keep([]byte) unsafe.Pointer                { return nil }
func release(unsafe.Pointer)                    {}
func readDefaultInit(address) ([]byte, int32)   { return nil, -1 }
func invoke(address, ...arg) int32              { return -1 }
