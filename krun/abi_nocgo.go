//go:build !cgo || !(linux || darwin)

package krun

import (
	"errors"
	"unsafe"
)

// Without cgo Open fails before anything below is called.
const unavailable = "this program was built without cgo"

type address unsafe.Pointer

func load(string, bool) (unsafe.Pointer, error) { return nil, errors.New(unavailable) }
func find(unsafe.Pointer, string) address       { return nil }
func origin(address) string                     { return "" }
func keep([]byte) unsafe.Pointer                { return nil }
func release(unsafe.Pointer)                    {}
func readDefaultInit(address) ([]byte, int32)   { return nil, -1 }
func invoke(address, ...arg) int32              { return -1 }
