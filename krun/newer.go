package krun

import (
	"errors"
	"unsafe"
)

// lastMajor is the last major version that is looked for.
const lastMajor = 9

// openLibrary loads libkrun by its known name. It refuses one of a later major version:
// functions may be gone, or take other arguments under the same name. If there is no
// known one it looks for a later one, only to say so.
func openLibrary(o Options) (unsafe.Pointer, string, error) {
	handle, path, err := loadFirst(o.Path, o.dirs(), libraryName)
	switch {
	case err == nil:
		return handle, path, checkName(handle, path)
	case errors.Is(err, errNowhere):
		if _, later, none := loadFirst("", o.dirs(), laterNames()...); none == nil {
			return nil, "", tooNew(later)
		}
	}
	return nil, "", err
}

func laterNames() (names []string) {
	for major := 2; major <= lastMajor; major++ {
		names = append(names, soname("krun", major))
	}
	return names
}

// checkName refuses a library that the linker knows by a later name. A library without
// any of the names is judged by its functions.
func checkName(handle unsafe.Pointer, path string) error {
	for _, name := range append([]string{libraryName}, laterNames()...) {
		resident, err := load(name, true)
		switch {
		case err != nil || resident != handle:
		case name == libraryName:
			return nil
		default:
			return tooNew(path)
		}
	}
	return nil
}

func tooNew(path string) error {
	return &Error{Err: ErrNewer, Detail: path + " is of a later major version than " + known}
}

// newer reports whether the library is a later one under the known name.
func (l *Library) newer() bool {
	version := l.Version()
	for _, f := range everywhere {
		if l.addresses[f] == nil && !olderThan(version, bound[f].Since) {
			return true
		}
	}
	return false
}

// lacks returns the error for a function that is not there.
func (l *Library) lacks(f fn) *Error {
	s := bound[f]
	switch {
	case olderThan(l.Version(), s.Since):
		return &Error{Symbol: s.Name, Since: s.Since, Err: ErrUnsupported}
	case l.newer():
		return &Error{Symbol: s.Name, Until: s.Until, Err: ErrNewer}
	}
	return &Error{Symbol: s.Name, Err: ErrUnsupported, Detail: "left out of this build, or dropped by a libkrun newer than " + known}
}

// Require returns an error about the first of some C functions that the library lacks.
// With Error.Since the library is too old, with ErrNewer too new.
func (l *Library) Require(symbols ...string) error {
	for _, symbol := range symbols {
		f, ok := lookup(symbol)
		if !ok {
			return &Error{Symbol: symbol, Err: ErrUnsupported, Detail: "not bound by this package"}
		}
		if l.addresses[f] == nil {
			return l.lacks(f)
		}
	}
	return nil
}

func lookup(symbol string) (fn, bool) {
	for f, s := range bound {
		if s.Name == symbol {
			return fn(f), true
		}
	}
	return 0, false
}
