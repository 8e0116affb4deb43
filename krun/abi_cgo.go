//go:build cgo && (linux || darwin)

package krun

/*
#cgo CFLAGS: -D_GNU_SOURCE
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef const char *S;
typedef const char *const *V;
typedef const uint8_t *P;

// One caller for each prototype that occurs in the C API.
static int32_t call_(void *f) { return ((int32_t (*)(void))f)(); }
static int32_t call_w(void *f, uint64_t a) { return ((int32_t (*)(uint64_t))f)(a); }
static int32_t call_u(void *f, uint32_t a) { return ((int32_t (*)(uint32_t))f)(a); }
static int32_t call_ub(void *f, uint32_t a, bool b) { return ((int32_t (*)(uint32_t, bool))f)(a, b); }
static int32_t call_ui(void *f, uint32_t a, int b) { return ((int32_t (*)(uint32_t, int))f)(a, b); }
static int32_t call_um(void *f, uint32_t a, P b) { return ((int32_t (*)(uint32_t, P))f)(a, b); }
static int32_t call_us(void *f, uint32_t a, S b) { return ((int32_t (*)(uint32_t, S))f)(a, b); }
static int32_t call_uu(void *f, uint32_t a, uint32_t b) { return ((int32_t (*)(uint32_t, uint32_t))f)(a, b); }
static int32_t call_uv(void *f, uint32_t a, V b) { return ((int32_t (*)(uint32_t, V))f)(a, b); }
static int32_t call_ucu(void *f, uint32_t a, uint8_t b, uint32_t c) { return ((int32_t (*)(uint32_t, uint8_t, uint32_t))f)(a, b, c); }
static int32_t call_uii(void *f, uint32_t a, int b, int c) { return ((int32_t (*)(uint32_t, int, int))f)(a, b, c); }
static int32_t call_uss(void *f, uint32_t a, S b, S c) { return ((int32_t (*)(uint32_t, S, S))f)(a, b, c); }
static int32_t call_uus(void *f, uint32_t a, uint32_t b, S c) { return ((int32_t (*)(uint32_t, uint32_t, S))f)(a, b, c); }
static int32_t call_uuw(void *f, uint32_t a, uint32_t b, uint64_t c) { return ((int32_t (*)(uint32_t, uint32_t, uint64_t))f)(a, b, c); }
static int32_t call_iuuu(void *f, int a, uint32_t b, uint32_t c, uint32_t d) { return ((int32_t (*)(int, uint32_t, uint32_t, uint32_t))f)(a, b, c, d); }
static int32_t call_uiii(void *f, uint32_t a, int b, int c, int d) { return ((int32_t (*)(uint32_t, int, int, int))f)(a, b, c, d); }
static int32_t call_ussb(void *f, uint32_t a, S b, S c, bool d) { return ((int32_t (*)(uint32_t, S, S, bool))f)(a, b, c, d); }
static int32_t call_usss(void *f, uint32_t a, S b, S c, S d) { return ((int32_t (*)(uint32_t, S, S, S))f)(a, b, c, d); }
static int32_t call_ussu(void *f, uint32_t a, S b, S c, uint32_t d) { return ((int32_t (*)(uint32_t, S, S, uint32_t))f)(a, b, c, d); }
static int32_t call_ussw(void *f, uint32_t a, S b, S c, uint64_t d) { return ((int32_t (*)(uint32_t, S, S, uint64_t))f)(a, b, c, d); }
static int32_t call_usvv(void *f, uint32_t a, S b, V c, V d) { return ((int32_t (*)(uint32_t, S, V, V))f)(a, b, c, d); }
static int32_t call_uusb(void *f, uint32_t a, uint32_t b, S c, bool d) { return ((int32_t (*)(uint32_t, uint32_t, S, bool))f)(a, b, c, d); }
static int32_t call_uusi(void *f, uint32_t a, uint32_t b, S c, int d) { return ((int32_t (*)(uint32_t, uint32_t, S, int))f)(a, b, c, d); }
static int32_t call_usmuu(void *f, uint32_t a, S b, P c, uint32_t d, uint32_t e) { return ((int32_t (*)(uint32_t, S, P, uint32_t, uint32_t))f)(a, b, c, d, e); }
static int32_t call_ussub(void *f, uint32_t a, S b, S c, uint32_t d, bool e) { return ((int32_t (*)(uint32_t, S, S, uint32_t, bool))f)(a, b, c, d, e); }
static int32_t call_usswb(void *f, uint32_t a, S b, S c, uint64_t d, bool e) { return ((int32_t (*)(uint32_t, S, S, uint64_t, bool))f)(a, b, c, d, e); }
static int32_t call_ususs(void *f, uint32_t a, S b, uint32_t c, S d, S e) { return ((int32_t (*)(uint32_t, S, uint32_t, S, S))f)(a, b, c, d, e); }
static int32_t call_uusii(void *f, uint32_t a, uint32_t b, S c, int d, int e) { return ((int32_t (*)(uint32_t, uint32_t, S, int, int))f)(a, b, c, d, e); }
static int32_t call_usimuu(void *f, uint32_t a, S b, int c, P d, uint32_t e, uint32_t g) { return ((int32_t (*)(uint32_t, S, int, P, uint32_t, uint32_t))f)(a, b, c, d, e, g); }
static int32_t call_ussubbu(void *f, uint32_t a, S b, S c, uint32_t d, bool e, bool g, uint32_t h) { return ((int32_t (*)(uint32_t, S, S, uint32_t, bool, bool, uint32_t))f)(a, b, c, d, e, g, h); }
static int32_t call_usspwub(void *f, uint32_t a, S b, S c, P d, size_t e, uint32_t g, bool h) { return ((int32_t (*)(uint32_t, S, S, P, size_t, uint32_t, bool))f)(a, b, c, d, e, g, h); }
static int32_t default_init(void *f, P *data, size_t *size) { return ((int32_t (*)(P *, size_t *))f)(data, size); }
*/
import "C"

import (
	"errors"
	"unsafe"
)

// unavailable says why nothing can be loaded.
const unavailable = ""

// address is where a C function lies.
type address unsafe.Pointer

// load opens a shared library for the rest of the process's life. With
// resident it only finds one that is loaded already.
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

// find gives a symbol's address, nil when the library lacks it.
func find(handle unsafe.Pointer, symbol string) address {
	csymbol := C.CString(symbol)
	defer C.free(unsafe.Pointer(csymbol))
	return address(C.dlsym(handle, csymbol))
}

// origin is the file that an address was loaded from; "" if it cannot be told.
func origin(a address) string {
	var info C.Dl_info
	if C.dladdr(unsafe.Pointer(a), &info) == 0 || info.dli_fname == nil {
		return ""
	}
	return C.GoString(info.dli_fname)
}

// keep copies data to C memory, for as long as the caller likes.
func keep(data []byte) unsafe.Pointer {
	if len(data) == 0 {
		return nil
	}
	return C.CBytes(data)
}

func release(p unsafe.Pointer) { C.free(p) }

// readDefaultInit copies libkrun's built-in init, whose memory is static.
func readDefaultInit(f address) ([]byte, int32) {
	var data C.P
	var size C.size_t
	if ret := C.default_init(unsafe.Pointer(f), &data, &size); ret != 0 {
		return nil, int32(ret)
	}
	return C.GoBytes(unsafe.Pointer(data), C.int(size)), 0
}

// frame is the arguments of one call in C's types.
type frame struct {
	args  []arg
	freed []unsafe.Pointer
}

func (fr *frame) own(p unsafe.Pointer) unsafe.Pointer {
	fr.freed = append(fr.freed, p)
	return p
}

func (fr *frame) free() {
	for _, p := range fr.freed {
		C.free(p)
	}
}

func (fr *frame) u(i int) C.uint32_t { return C.uint32_t(fr.args[i].(u32)) }
func (fr *frame) w(i int) C.uint64_t { return C.uint64_t(fr.args[i].(u64)) }
func (fr *frame) c(i int) C.uint8_t  { return C.uint8_t(fr.args[i].(u8)) }
func (fr *frame) i(i int) C.int      { return C.int(fr.args[i].(i32)) }
func (fr *frame) b(i int) C.bool     { return C.bool(fr.args[i].(flag)) }
func (fr *frame) p(i int) C.P        { return C.P(fr.args[i].(mem).p) }

func (fr *frame) s(i int) C.S {
	var s string
	switch a := fr.args[i].(type) {
	case str:
		s = string(a)
	case opt:
		if a == "" {
			return nil
		}
		s = string(a)
	}
	return C.S(fr.own(unsafe.Pointer(C.CString(s))))
}

func (fr *frame) m(i int) C.P {
	a := fr.args[i].(mac)
	return C.P(fr.own(C.CBytes(a[:])))
}

func (fr *frame) v(i int) C.V {
	a := fr.args[i].(vec)
	const word = unsafe.Sizeof(uintptr(0))
	block := fr.own(C.calloc(C.size_t(len(a)+1), C.size_t(word))) // the last one stays NULL
	entries := unsafe.Slice((**C.char)(block), len(a)+1)
	for j, s := range a {
		entries[j] = (*C.char)(fr.own(unsafe.Pointer(C.CString(s))))
	}
	return C.V(block)
}

// invoke calls the C function at f under the prototype that args spell.
func invoke(f address, args ...arg) int32 {
	a := &frame{args: args}
	defer a.free()
	word := make([]byte, len(args))
	for i := range args {
		word[i] = args[i].letter()
	}
	p := unsafe.Pointer(f)
	var ret C.int32_t
	switch string(word) {
	case "":
		ret = C.call_(p)
	case "w":
		ret = C.call_w(p, a.w(0))
	case "u":
		ret = C.call_u(p, a.u(0))
	case "ub":
		ret = C.call_ub(p, a.u(0), a.b(1))
	case "ui":
		ret = C.call_ui(p, a.u(0), a.i(1))
	case "um":
		ret = C.call_um(p, a.u(0), a.m(1))
	case "us":
		ret = C.call_us(p, a.u(0), a.s(1))
	case "uu":
		ret = C.call_uu(p, a.u(0), a.u(1))
	case "uv":
		ret = C.call_uv(p, a.u(0), a.v(1))
	case "ucu":
		ret = C.call_ucu(p, a.u(0), a.c(1), a.u(2))
	case "uii":
		ret = C.call_uii(p, a.u(0), a.i(1), a.i(2))
	case "uss":
		ret = C.call_uss(p, a.u(0), a.s(1), a.s(2))
	case "uus":
		ret = C.call_uus(p, a.u(0), a.u(1), a.s(2))
	case "uuw":
		ret = C.call_uuw(p, a.u(0), a.u(1), a.w(2))
	case "iuuu":
		ret = C.call_iuuu(p, a.i(0), a.u(1), a.u(2), a.u(3))
	case "uiii":
		ret = C.call_uiii(p, a.u(0), a.i(1), a.i(2), a.i(3))
	case "ussb":
		ret = C.call_ussb(p, a.u(0), a.s(1), a.s(2), a.b(3))
	case "usss":
		ret = C.call_usss(p, a.u(0), a.s(1), a.s(2), a.s(3))
	case "ussu":
		ret = C.call_ussu(p, a.u(0), a.s(1), a.s(2), a.u(3))
	case "ussw":
		ret = C.call_ussw(p, a.u(0), a.s(1), a.s(2), a.w(3))
	case "usvv":
		ret = C.call_usvv(p, a.u(0), a.s(1), a.v(2), a.v(3))
	case "uusb":
		ret = C.call_uusb(p, a.u(0), a.u(1), a.s(2), a.b(3))
	case "uusi":
		ret = C.call_uusi(p, a.u(0), a.u(1), a.s(2), a.i(3))
	case "usmuu":
		ret = C.call_usmuu(p, a.u(0), a.s(1), a.m(2), a.u(3), a.u(4))
	case "ussub":
		ret = C.call_ussub(p, a.u(0), a.s(1), a.s(2), a.u(3), a.b(4))
	case "usswb":
		ret = C.call_usswb(p, a.u(0), a.s(1), a.s(2), a.w(3), a.b(4))
	case "ususs":
		ret = C.call_ususs(p, a.u(0), a.s(1), a.u(2), a.s(3), a.s(4))
	case "uusii":
		ret = C.call_uusii(p, a.u(0), a.u(1), a.s(2), a.i(3), a.i(4))
	case "usimuu":
		ret = C.call_usimuu(p, a.u(0), a.s(1), a.i(2), a.m(3), a.u(4), a.u(5))
	case "ussubbu":
		ret = C.call_ussubbu(p, a.u(0), a.s(1), a.s(2), a.u(3), a.b(4), a.b(5), a.u(6))
	case "usspwub":
		ret = C.call_usspwub(p, a.u(0), a.s(1), a.s(2), a.p(3), C.size_t(a.w(4)), a.u(5), a.b(6))
	default:
		panic("krun: no C prototype " + string(word)) // a mistake in this package
	}
	return int32(ret)
}
