package krun

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"
)

// The sonames of the two libraries. libkrun before 1.17 needs the older libkrunfw.
var (
	libraryName = soname("krun", 1)
	firmware5   = soname("krunfw", 5)
	firmware4   = soname("krunfw", 4)
)

const firmware5Since = "1.17.0"

func soname(name string, version int) string {
	if runtime.GOOS == "darwin" {
		return fmt.Sprintf("lib%s.%d.dylib", name, version)
	}
	return fmt.Sprintf("lib%s.so.%d", name, version)
}

// Options say which libkrun to load. The zero value searches for both libraries.
type Options struct {
	Path     string // libkrun; if it is set nothing else is tried
	Firmware string // libkrunfw, the guest kernel; if it is set nothing else is tried
	// Dirs are searched for both before the system's libraries. Nil stands for the
	// program's own directory and libexec/openshell-vm beside it.
	Dirs []string
	// NoFirmware loads no libkrunfw, for VMs with a kernel from SetKernel or SetFirmware.
	NoFirmware bool
}

// Library is a loaded libkrun. Open makes it; the zero value is of no use. It is safe
// for concurrent use. Two Libraries of one file are the same libkrun.
type Library struct {
	path, firmware string
	kernelEnd      uint64 // where libkrunfw's kernel ends in the guest's memory; 0 if not known
	addresses      [fnCount]address
}

// Open loads libkrunfw and libkrun. It takes each from the explicit path, or else from
// Options.Dirs, or else from the system's libraries. libkrunfw comes first: libkrun asks
// the dynamic linker for it by name, and gets the one that is loaded already.
func Open(o Options) (*Library, error) {
	if unavailable != "" {
		return nil, noLibrary(unavailable)
	}
	l := &Library{}
	var firmware unsafe.Pointer
	if !o.NoFirmware {
		var err error
		if firmware, err = l.openFirmware(o, firmware5, firmware4); err != nil {
			if _, _, newer := openLibrary(o); errors.Is(newer, ErrNewer) {
				return nil, newer // it has its own libkrunfw
			}
			return nil, err
		}
	}
	handle, path, err := openLibrary(o)
	if err != nil {
		return nil, err
	}
	for i, s := range bound {
		l.addresses[i] = find(handle, s.Name)
	}
	if l.addresses[createCtx] == nil {
		return nil, noLibrary("%s is not a libkrun: it lacks krun_create_ctx", path)
	}
	l.path = cmp.Or(origin(l.addresses[createCtx]), path)
	if !o.NoFirmware {
		if err := l.matchFirmware(o, firmware); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// openFirmware loads libkrunfw by the first of names that exists.
func (l *Library) openFirmware(o Options, names ...string) (unsafe.Pointer, error) {
	handle, path, err := loadFirst(o.Firmware, o.dirs(), names...)
	if err != nil {
		return nil, err
	}
	kernel := find(handle, "krunfw_get_kernel")
	if kernel == nil {
		return nil, noLibrary("%s is not a libkrunfw: it lacks krunfw_get_kernel", path)
	}
	l.firmware = cmp.Or(origin(kernel), path)
	l.kernelEnd = kernelEnd(kernel)
	return handle, nil
}

// matchFirmware makes sure that this libkrun will find the loaded libkrunfw. If the
// search found a newer one than libkrun needs, it loads another.
func (l *Library) matchFirmware(o Options, loaded unsafe.Pointer) error {
	name := firmware5
	if olderThan(l.Version(), firmware5Since) {
		name = firmware4
	}
	resident, err := load(name, true)
	if (err != nil || resident != loaded) && o.Firmware == "" {
		if loaded, err = l.openFirmware(o, name); err != nil {
			return err
		}
		resident, err = load(name, true)
	}
	if err != nil || resident != loaded {
		return noLibrary("%s is not %s by its own name, so libkrun %s would not find it", l.firmware, name, l.Version())
	}
	return nil
}

func (o Options) dirs() []string {
	if o.Dirs != nil {
		return o.Dirs
	}
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	dir := filepath.Dir(self)
	return []string{dir, filepath.Join(dir, "..", "libexec", "openshell-vm")}
}

// loadFirst loads the explicit path, or else the first of names in one of dirs, or else
// the first that the dynamic linker knows. A file in dirs that can't be loaded ends the
// search.
func loadFirst(explicit string, dirs []string, names ...string) (unsafe.Pointer, string, error) {
	if explicit != "" {
		handle, err := load(explicit, false)
		if err != nil {
			return nil, "", noLibrary("%v", err)
		}
		return handle, explicit, nil
	}
	for _, dir := range dirs {
		for _, name := range names {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); err != nil {
				continue
			}
			handle, err := load(path, false)
			if err != nil {
				return nil, "", noLibrary("%v", err)
			}
			return handle, path, nil
		}
	}
	var first error
	for _, name := range names {
		handle, err := load(name, false)
		if err == nil {
			return handle, name, nil
		}
		first = cmp.Or(first, err)
	}
	nowhere := noLibrary("%v; nor is it in %s", first, cmp.Or(strings.Join(dirs, " or "), "a directory of ours"))
	nowhere.Err = errNowhere
	return nil, "", nowhere
}

// errNowhere is ErrNoLibrary if there was nothing to load.
var errNowhere = fmt.Errorf("%w", ErrNoLibrary)

func noLibrary(format string, args ...any) *Error {
	return &Error{Err: ErrNoLibrary, Detail: fmt.Sprintf(format, args...)}
}

// Path returns the file that libkrun was loaded from.
func (l *Library) Path() string { return l.path }

// Firmware returns the file that libkrunfw was loaded from; "" with Options.NoFirmware.
func (l *Library) Firmware() string { return l.firmware }

// Has reports whether the library has a C function of this name. It knows only those
// that this package binds.
func (l *Library) Has(symbol string) bool {
	f, ok := lookup(symbol)
	return ok && l.addresses[f] != nil
}

// Version returns the first version with the newest function that is present. The
// library is that version or a later one.
func (l *Library) Version() string {
	newest := "0.1.1"
	for i, s := range bound {
		if l.addresses[i] != nil && olderThan(newest, s.Since) {
			newest = s.Since
		}
	}
	return newest
}

// olderThan compares versions of three numbers.
func olderThan(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range as {
		x, _ := strconv.Atoi(as[i])
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x < y
		}
	}
	return false
}

// gate returns a function's address, or an error that says which libkrun has it.
func (l *Library) gate(f fn) (address, error) {
	if a := l.addresses[f]; a != nil {
		return a, nil
	}
	return nil, l.lacks(f)
}

// call makes a call to C: it finds the function, checks the strings, invokes it, and
// makes an error of the result.
func (l *Library) call(f fn, positive bool, args ...arg) (int, error) {
	a, err := l.gate(f)
	if err != nil {
		return 0, err
	}
	name := bound[f].Name
	if err := checkStrings(name, args); err != nil {
		return 0, err
	}
	return result(name, invoke(a, args...), positive)
}

func (l *Library) do(f fn, args ...arg) error {
	_, err := l.call(f, false, args...)
	return err
}

// Feature is something that a libkrun may have been built without.
type Feature uint64

const (
	FeatureNet              Feature = 0
	FeatureBlk              Feature = 1
	FeatureGPU              Feature = 2
	FeatureSnd              Feature = 3
	FeatureInput            Feature = 4
	FeatureEFI              Feature = 5
	FeatureTEE              Feature = 6
	FeatureAMDSEV           Feature = 7
	FeatureIntelTDX         Feature = 8
	FeatureAWSNitro         Feature = 9
	FeatureVirglResourceMap Feature = 10
	FeatureInitBlob         Feature = 11
)

// HasFeature reports whether the library was built with f. If the library does not know
// f, the error wraps syscall.EINVAL.
func (l *Library) HasFeature(f Feature) (bool, error) {
	return l.callBool(hasFeature, u64(f))
}

// MaxVCPUs returns how many virtual CPUs the host's KVM allows a VM.
func (l *Library) MaxVCPUs() (int, error) { return l.call(getMaxVCPUs, true) }

// CheckNestedVirt reports whether guests could run VMs themselves.
func (l *Library) CheckNestedVirt() (bool, error) {
	return l.callBool(checkNestedVirt)
}

// callBool calls a function that returns 0 or 1.
func (l *Library) callBool(f fn, args ...arg) (bool, error) {
	n, err := l.call(f, true, args...)
	if err == nil && n > 1 {
		return false, &Error{Symbol: bound[f].Name, Err: ErrProtocol, Detail: strconv.Itoa(n)}
	}
	return n == 1, err
}

// DefaultInit returns a copy of the init program that libkrun puts into the guest's root
// unless Context.DisableImplicitInit was called.
func (l *Library) DefaultInit() ([]byte, error) {
	a, err := l.gate(getDefaultInit)
	if err != nil {
		return nil, err
	}
	data, ret := readDefaultInit(a)
	if _, err := result(bound[getDefaultInit].Name, ret, false); err != nil {
		return nil, err
	}
	return data, nil
}
