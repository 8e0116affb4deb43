//go:build cgo && (linux || darwin)

package krun

/*
#cgo CFLAGS: -D_GNU_SOURCE
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

static int duplicate(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 3); }
static int32_t default_init(void *f, const uint8_t **data, size_t *size)
{
	return ((int32_t (*)(const uint8_t **, size_t *))f)(data, size);
}
static void kernel_place(void *f, uint64_t *guest, size_t *size)
{
	uint64_t entry;
	((char *(*)(uint64_t *, uint64_t *, size_t *))f)(guest, &entry, size);
}
*/
import "C"

import (
	"bytes"
	"errors"
	"unsafe"
)

// unavailable says why nothing can be loaded.
const unavailable = ""

// address is where a C function lies.
type address unsafe.Pointer

// load opens a shared library, which is never closed. With resident it finds only one
// that is loaded already.
func load(path string, resident bool) (unsafe.Pointer, error) {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	flags := C.int(C.RTLD_NOW | C.RTLD_LOCAL)
	if resident {
		flags |= C.RTLD_NOLOAD
	}
	if handle := C.dlopen(cpath, flags); handle != nil {
		return handle, nil
	}
	if text := C.dlerror(); text != nil {
		return nil, errors.New(C.GoString(text))
	}
	return nil, errors.New(path + " is not loaded")
}

// find returns a symbol's address; nil if the library lacks it.
func find(handle unsafe.Pointer, symbol string) address {
	csymbol := C.CString(symbol)
	defer C.free(unsafe.Pointer(csymbol))
	return address(C.dlsym(handle, csymbol))
}

// origin returns the file that an address was loaded from; "" if not known.
func origin(a address) string {
	var info C.Dl_info
	if C.dladdr(unsafe.Pointer(a), &info) == 0 || info.dli_fname == nil {
		return ""
	}
	return C.GoString(info.dli_fname)
}

// keep copies data to C memory. The caller frees it by release.
func keep(data []byte) unsafe.Pointer {
	if len(data) == 0 {
		return nil
	}
	return C.CBytes(data)
}

func release(p unsafe.Pointer) { C.free(p) }

// duplicate returns another descriptor of the same file, above the standard ones.
func duplicate(fd uintptr) (int, error) {
	n, err := C.duplicate(C.int(fd))
	if n < 0 {
		return 0, err
	}
	return int(n), nil
}

func shut(fd int) { C.close(C.int(fd)) }

// readDefaultInit copies libkrun's built-in init, whose memory is static.
func readDefaultInit(f address) ([]byte, int32) {
	var data *C.uint8_t
	var size C.size_t
	if ret := C.default_init(unsafe.Pointer(f), &data, &size); ret != 0 {
		return nil, int32(ret)
	}
	return bytes.Clone(unsafe.Slice((*byte)(data), int(size))), 0
}

// kernelEnd asks krunfw_get_kernel where the kernel ends in the guest's memory.
func kernelEnd(f address) uint64 {
	var guest C.uint64_t
	var size C.size_t
	C.kernel_place(unsafe.Pointer(f), &guest, &size)
	return uint64(guest) + uint64(size)
}
