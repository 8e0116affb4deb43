//go:build cgo && (linux || darwin)

package krun

/*
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
static int32_t call_iuuu(void *f, int a, uint32_t b, uint32_t c, uint32_t d)
{ return ((int32_t (*)(int, uint32_t, uint32_t, uint32_t))f)(a, b, c, d); }
static int32_t call_uiii(void *f, uint32_t a, int b, int c, int d) { return ((int32_t (*)(uint32_t, int, int, int))f)(a, b, c, d); }
static int32_t call_ussb(void *f, uint32_t a, S b, S c, bool d) { return ((int32_t (*)(uint32_t, S, S, bool))f)(a, b, c, d); }
static int32_t call_usss(void *f, uint32_t a, S b, S c, S d) { return ((int32_t (*)(uint32_t, S, S, S))f)(a, b, c, d); }
static int32_t call_ussu(void *f, uint32_t a, S b, S c, uint32_t d) { return ((int32_t (*)(uint32_t, S, S, uint32_t))f)(a, b, c, d); }
static int32_t call_ussw(void *f, uint32_t a, S b, S c, uint64_t d) { return ((int32_t (*)(uint32_t, S, S, uint64_t))f)(a, b, c, d); }
static int32_t call_usvv(void *f, uint32_t a, S b, V c, V d) { return ((int32_t (*)(uint32_t, S, V, V))f)(a, b, c, d); }
static int32_t call_uusb(void *f, uint32_t a, uint32_t b, S c, bool d) { return ((int32_t (*)(uint32_t, uint32_t, S, bool))f)(a, b, c, d); }
static int32_t call_uusi(void *f, uint32_t a, uint32_t b, S c, int d) { return ((int32_t (*)(uint32_t, uint32_t, S, int))f)(a, b, c, d); }
static int32_t call_usmuu(void *f, uint32_t a, S b, P c, uint32_t d, uint32_t e)
{ return ((int32_t (*)(uint32_t, S, P, uint32_t, uint32_t))f)(a, b, c, d, e); }
static int32_t call_ussub(void *f, uint32_t a, S b, S c, uint32_t d, bool e)
{ return ((int32_t (*)(uint32_t, S, S, uint32_t, bool))f)(a, b, c, d, e); }
static int32_t call_usswb(void *f, uint32_t a, S b, S c, uint64_t d, bool e)
{ return ((int32_t (*)(uint32_t, S, S, uint64_t, bool))f)(a, b, c, d, e); }
static int32_t call_ususs(void *f, uint32_t a, S b, uint32_t c, S d, S e)
{ return ((int32_t (*)(uint32_t, S, uint32_t, S, S))f)(a, b, c, d, e); }
static int32_t call_uusii(void *f, uint32_t a, uint32_t b, S c, int d, int e)
{ return ((int32_t (*)(uint32_t, uint32_t, S, int, int))f)(a, b, c, d, e); }
static int32_t call_usimuu(void *f, uint32_t a, S b, int c, P d, uint32_t e, uint32_t g)
{ return ((int32_t (*)(uint32_t, S, int, P, uint32_t, uint32_t))f)(a, b, c, d, e, g); }
static int32_t call_ussubbu(void *f, uint32_t a, S b, S c, uint32_t d, bool e, bool g, uint32_t h)
{ return ((int32_t (*)(uint32_t, S, S, uint32_t, bool, bool, uint32_t))f)(a, b, c, d, e, g, h); }
static int32_t call_usspwub(void *f, uint32_t a, S b, S c, P d, size_t e, uint32_t g, bool h)
{ return ((int32_t (*)(uint32_t, S, S, P, size_t, uint32_t, bool))f)(a, b, c, d, e, g, h); }
*/
import "C"

import "unsafe"

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
	// As many pointers as libkrun may read, though it stops at a NULL.
	block := fr.own(C.calloc(maxVector+1, C.size_t(word)))
	entries := unsafe.Slice((**C.char)(block), maxVector+1)
	for j, s := range a {
		entries[j] = (*C.char)(fr.own(unsafe.Pointer(C.CString(s))))
	}
	return C.V(block)
}

// prototypes are the callers, by the letters of the function's arguments.
var prototypes = map[string]func(f unsafe.Pointer, a *frame) C.int32_t{
	"":     func(f unsafe.Pointer, _ *frame) C.int32_t { return C.call_(f) },
	"w":    func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_w(f, a.w(0)) },
	"u":    func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_u(f, a.u(0)) },
	"ub":   func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_ub(f, a.u(0), a.b(1)) },
	"ui":   func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_ui(f, a.u(0), a.i(1)) },
	"um":   func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_um(f, a.u(0), a.m(1)) },
	"us":   func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_us(f, a.u(0), a.s(1)) },
	"uu":   func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_uu(f, a.u(0), a.u(1)) },
	"uv":   func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_uv(f, a.u(0), a.v(1)) },
	"ucu":  func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_ucu(f, a.u(0), a.c(1), a.u(2)) },
	"uii":  func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_uii(f, a.u(0), a.i(1), a.i(2)) },
	"uss":  func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_uss(f, a.u(0), a.s(1), a.s(2)) },
	"uus":  func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_uus(f, a.u(0), a.u(1), a.s(2)) },
	"uuw":  func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_uuw(f, a.u(0), a.u(1), a.w(2)) },
	"iuuu": func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_iuuu(f, a.i(0), a.u(1), a.u(2), a.u(3)) },
	"uiii": func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_uiii(f, a.u(0), a.i(1), a.i(2), a.i(3)) },
	"ussb": func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_ussb(f, a.u(0), a.s(1), a.s(2), a.b(3)) },
	"usss": func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_usss(f, a.u(0), a.s(1), a.s(2), a.s(3)) },
	"ussu": func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_ussu(f, a.u(0), a.s(1), a.s(2), a.u(3)) },
	"ussw": func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_ussw(f, a.u(0), a.s(1), a.s(2), a.w(3)) },
	"usvv": func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_usvv(f, a.u(0), a.s(1), a.v(2), a.v(3)) },
	"uusb": func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_uusb(f, a.u(0), a.u(1), a.s(2), a.b(3)) },
	"uusi": func(f unsafe.Pointer, a *frame) C.int32_t { return C.call_uusi(f, a.u(0), a.u(1), a.s(2), a.i(3)) },
	"usmuu": func(f unsafe.Pointer, a *frame) C.int32_t {
		return C.call_usmuu(f, a.u(0), a.s(1), a.m(2), a.u(3), a.u(4))
	},
	"ussub": func(f unsafe.Pointer, a *frame) C.int32_t {
		return C.call_ussub(f, a.u(0), a.s(1), a.s(2), a.u(3), a.b(4))
	},
	"usswb": func(f unsafe.Pointer, a *frame) C.int32_t {
		return C.call_usswb(f, a.u(0), a.s(1), a.s(2), a.w(3), a.b(4))
	},
	"ususs": func(f unsafe.Pointer, a *frame) C.int32_t {
		return C.call_ususs(f, a.u(0), a.s(1), a.u(2), a.s(3), a.s(4))
	},
	"uusii": func(f unsafe.Pointer, a *frame) C.int32_t {
		return C.call_uusii(f, a.u(0), a.u(1), a.s(2), a.i(3), a.i(4))
	},
	"usimuu": func(f unsafe.Pointer, a *frame) C.int32_t {
		return C.call_usimuu(f, a.u(0), a.s(1), a.i(2), a.m(3), a.u(4), a.u(5))
	},
	"ussubbu": func(f unsafe.Pointer, a *frame) C.int32_t {
		return C.call_ussubbu(f, a.u(0), a.s(1), a.s(2), a.u(3), a.b(4), a.b(5), a.u(6))
	},
	"usspwub": func(f unsafe.Pointer, a *frame) C.int32_t {
		return C.call_usspwub(f, a.u(0), a.s(1), a.s(2), a.p(3), C.size_t(a.w(4)), a.u(5), a.b(6))
	},
}

// invoke calls the C function at f. args choose its prototype.
func invoke(f address, args ...arg) int32 {
	a := &frame{args: args}
	defer a.free()
	word := make([]byte, len(args))
	for i := range args {
		word[i] = args[i].letter()
	}
	call, ok := prototypes[string(word)]
	if !ok {
		panic("krun: no C prototype " + string(word)) // a mistake in this package
	}
	return int32(call(unsafe.Pointer(f), a))
}
