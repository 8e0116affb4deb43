package krun

import "unsafe"

// An arg is one argument of a C function. Its Go type says its C type, and the
// types of all arguments together, as a word of these letters, choose the
// prototype under which the function is called.
type arg interface{ letter() byte }

type (
	u8   uint8    // uint8_t
	u32  uint32   // uint32_t
	u64  uint64   // uint64_t
	i32  int32    // int
	flag bool     // bool
	str  string   // const char *, freed after the call
	opt  string   // the same, NULL when empty
	vec  []string // const char *const[], NULL-terminated, freed after the call
	mac  [6]byte  // const uint8_t[6], freed after the call
	mem  struct { // const uint8_t *: C memory that outlives the call
		p unsafe.Pointer
	}
)

func (u8) letter() byte   { return 'c' }
func (u32) letter() byte  { return 'u' }
func (u64) letter() byte  { return 'w' }
func (i32) letter() byte  { return 'i' }
func (flag) letter() byte { return 'b' }
func (str) letter() byte  { return 's' }
func (opt) letter() byte  { return 's' }
func (vec) letter() byte  { return 'v' }
func (mac) letter() byte  { return 'm' }
func (mem) letter() byte  { return 'p' }
