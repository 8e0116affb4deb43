package krun

import (
	"os"
	"unsafe"
)

// An arg is one argument of a C function. Its Go type says its C type. The letters of
// all arguments form a word, which chooses the prototype for the call.
type arg interface{ letter() byte }

type (
	u8   uint8    // uint8_t
	u32  uint32   // uint32_t
	u64  uint64   // uint64_t
	i32  int32    // int
	flag bool     // bool
	str  string   // const char *, freed after the call
	opt  string   // the same, but NULL when empty
	vec  []string // const char *const[], NULL-terminated, freed after the call
	mac  [6]byte  // const uint8_t[6], freed after the call
	mem  struct { // const uint8_t *, C memory that outlives the call
		p unsafe.Pointer
	}
	file struct{ f *os.File } // int, a descriptor that duplicateFiles makes; -1 for nil
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
func (file) letter() byte { return 'i' }

// duplicateFiles replaces each file among args by a descriptor of our own, and returns
// the descriptors; after an error there are none. So neither the caller's Close, nor a
// finalizer, nor a C function that takes a descriptor over closes one that others use.
func duplicateFiles(symbol string, args []arg) ([]int, error) {
	var made []int
	for i, a := range args {
		a, ok := a.(file)
		if !ok {
			continue
		}
		if a.f == nil {
			args[i] = i32(-1)
			continue
		}
		// Fd also puts the file into blocking mode, which libkrun expects.
		fd, err := duplicate(a.f.Fd())
		if err != nil {
			shutAll(made)
			return nil, invalid(symbol, "descriptor of %s: %v", a.f.Name(), err)
		}
		made = append(made, fd)
		args[i] = i32(fd)
	}
	return made, nil
}

func shutAll(fds []int) {
	for _, fd := range fds {
		shut(fd)
	}
}
