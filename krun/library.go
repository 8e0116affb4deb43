package krun

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// The names under which the dynamic linker knows the two libraries. A libkrun
// up to 1.16 is linked with the older libkrunfw.
const (
	libraryName = "libkrun.so.1"
	firmware5   = "libkrunfw.so.5"
	firmware4   = "libkrunfw.so.4"
)

// Options say which libkrun to load. The zero value searches.
type Options struct {
	// Path is libkrun itself. When it is set nothing else is tried.
	Path string
	// Firmware is libkrunfw, the guest kernel. When it is set nothing else is tried.
	Firmware string
	// Dirs are searched before the system's libraries, for both. Nil stands
	// for the program's own directory and libexec/openshell-vm beside it.
	Dirs []string
	// NoFirmware leaves libkrunfw alone, for VMs that get another kernel by
	// SetKernel or SetFirmware.
	NoFirmware bool
}

// Library is a loaded libkrun. It is safe for concurrent use.
type Library struct {
	path, firmware string
	addresses      [fnCount]address

	mu     sync.Mutex
	logged bool
}

// Open loads libkrunfw and libkrun. The order for each is the explicit path,
// Options.Dirs, the system's libraries. libkrunfw comes first: libkrun asks the
// dynamic linker for it by name, and gets the one that is loaded already.
func Open(o Options) (*Library, error) {
	if unavailable != "" {
		return nil, &Error{Err: ErrNoLibrary, Detail: unavailable}
	}
	l := &Library{}
	if !o.NoFirmware {
		if err := l.openFirmware(o); err != nil {
			return nil, err
		}
	}
	for _, path := range candidates(o.Path, o.dirs(), libraryName) {
		handle, err := load(path, false)
		if err != nil {
			if o.Path != "" || !isMissing(path) {
				return nil, &Error{Err: ErrNoLibrary, Detail: err.Error()}
			}
			continue
		}
		for i, s := range bound {
			l.addresses[i] = find(handle, s.Name)
		}
		if l.addresses[createCtx] == nil {
			return nil, &Error{Err: ErrNoLibrary, Detail: path + " is not a libkrun: it lacks krun_create_ctx"}
		}
		l.path = cmp.Or(origin(l.addresses[createCtx]), path)
		return l, nil
	}
	return nil, &Error{Err: ErrNoLibrary, Detail: "found no " + libraryName}
}

// openFirmware loads libkrunfw and makes sure that libkrun will find it.
func (l *Library) openFirmware(o Options) error {
	for _, path := range candidates(o.Firmware, o.dirs(), firmware5, firmware4) {
		handle, err := load(path, false)
		if err != nil {
			if o.Firmware != "" || !isMissing(path) {
				return &Error{Err: ErrNoLibrary, Detail: err.Error()}
			}
			continue
		}
		kernel := find(handle, "krunfw_get_kernel")
		if kernel == nil {
			return &Error{Err: ErrNoLibrary, Detail: path + " is not a libkrunfw: it lacks krunfw_get_kernel"}
		}
		_, err5 := load(firmware5, true)
		_, err4 := load(firmware4, true)
		if err5 != nil && err4 != nil {
			return &Error{Err: ErrNoLibrary, Detail: fmt.Sprintf(
				"%s is neither %s nor %s by its own name, so libkrun would not find it", path, firmware5, firmware4)}
		}
		l.firmware = cmp.Or(origin(kernel), path)
		return nil
	}
	return &Error{Err: ErrNoLibrary, Detail: "found no " + firmware5 + " (the guest kernel)"}
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

// candidates lists what to try to load. A bare name is looked up by the
// dynamic linker.
func candidates(explicit string, dirs []string, names ...string) []string {
	if explicit != "" {
		return []string{explicit}
	}
	var paths []string
	for _, dir := range dirs {
		for _, name := range names {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return append(paths, names...)
}

// isMissing tells a candidate that is not there from one that is broken.
func isMissing(path string) bool {
	if !strings.Contains(path, "/") {
		return true // the linker knows; what it found is not told apart
	}
	_, err := os.Stat(path)
	return err != nil
}

// Path is the file that libkrun was loaded from.
func (l *Library) Path() string { return l.path }

// Firmware is the file that libkrunfw was loaded from; "" with Options.NoFirmware.
func (l *Library) Firmware() string { return l.firmware }

// Has says whether the library has a C function of this name.
func (l *Library) Has(symbol string) bool {
	for i, s := range bound {
		if s.Name == symbol {
			return l.addresses[i] != nil
		}
	}
	return false
}

// Version is the version that has the newest of the functions present, so the
// library is this one or a later one.
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

// gate finds a function's address, or says since when there is one.
func (l *Library) gate(f fn) (address, error) {
	if a := l.addresses[f]; a != nil {
		return a, nil
	}
	return nil, &Error{Symbol: bound[f].Name, Since: bound[f].Since, Err: ErrUnsupported}
}

// call is the way of every call to C: gate, check what is the same for all
// strings, invoke, make an error of the result.
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

// The features of the C API.
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

// HasFeature says whether the library was built with f. One that f is unknown
// to answers with an error that wraps syscall.EINVAL.
func (l *Library) HasFeature(f Feature) (bool, error) {
	n, err := l.call(hasFeature, true, u64(f))
	return n > 0, err
}

// MaxVCPUs is how many virtual CPUs the host's KVM allows a VM.
func (l *Library) MaxVCPUs() (int, error) { return l.call(getMaxVCPUs, true) }

// CheckNestedVirt says whether guests could run VMs themselves.
func (l *Library) CheckNestedVirt() (bool, error) {
	n, err := l.call(checkNestedVirt, true)
	return n > 0, err
}

// LogLevel is how much libkrun logs.
type LogLevel uint32

// The levels.
const (
	LogOff LogLevel = iota
	LogError
	LogWarn
	LogInfo
	LogDebug
	LogTrace
)

// LogStyle says when the log has colours.
type LogStyle uint32

// The styles.
const (
	LogStyleAuto LogStyle = iota
	LogStyleAlways
	LogStyleNever
)

// Log says where and how libkrun logs.
type Log struct {
	// File gets the log and belongs to libkrun from then on; nil for
	// standard error.
	File  *os.File
	Level LogLevel
	Style LogStyle
	// NoEnv ignores RUST_LOG and RUST_LOG_STYLE of the environment.
	NoEnv bool
}

// SetLogLevel starts logging to standard error, at level or as RUST_LOG says.
// libkrun panics when logging is started twice, so the second call of SetLogLevel
// or InitLog is refused.
func (l *Library) SetLogLevel(level LogLevel) error {
	return l.startLog(setLogLevel, u32(level))
}

// InitLog starts logging. See SetLogLevel.
func (l *Library) InitLog(c Log) error {
	target := i32(-1)
	if c.File != nil {
		if target = i32(c.File.Fd()); target == 0 {
			return invalid(bound[initLog].Name, "descriptor 0 cannot take the log")
		}
	}
	options := u32(0)
	if c.NoEnv {
		options = 1
	}
	if err := l.startLog(initLog, target, u32(c.Level), u32(c.Style), options); err != nil {
		return err
	}
	if c.File != nil {
		keepOpen(c.File)
	}
	return nil
}

func (l *Library) startLog(f fn, args ...arg) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.logged {
		return invalid(bound[f].Name, "logging was started before")
	}
	err := l.do(f, args...)
	l.logged = err == nil
	return err
}

// DefaultInit is a copy of the init program that libkrun puts into the guest's
// root unless Context.DisableImplicitInit was called.
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

var (
	openMu sync.Mutex
	opened []*os.File
)

// keepOpen keeps files reachable for the rest of the process's life, so that no
// finalizer closes a descriptor that C uses.
func keepOpen(files ...*os.File) {
	openMu.Lock()
	defer openMu.Unlock()
	opened = append(opened, files...)
}
