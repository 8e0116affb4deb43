//go:build !cgo || !(linux || darwin)

package krun

import (
	"errors"
	"runtime"
	"unsafe"
)

// Nothing can be loaded here: Open fails before it calls any function below.
const unavailable = "this program was built without cgo, or " + runtime.GOOS + " has no libkrun"

type address unsafe.Pointer

func load(path string, resident bool) (unsafe.Pointer, error) { return nil, errors.New(unavailable) }
func find(handle unsafe.Pointer, symbol string) address       { return nil }
func origin(a address) string                                 { return "" }
func keep(data []byte) unsafe.Pointer                         { return nil }
func release(p unsafe.Pointer)                                {}
func duplicate(fd uintptr) (int, error)                       { return 0, errors.New(unavailable) }
func shut(fd int)                                             {}
func readDefaultInit(f address) ([]byte, int32)               { return nil, -1 }
func kernelEnd(f address) uint64                              { return 0 }
func invoke(f address, args ...arg) int32                     { return -1 }
