package krun

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode/utf8"
)

const (
	// maxVector is how many pointers libkrun reads at most, less the NULL at the end.
	maxVector = 4095
	// maxTag is the room for a virtio-fs tag in the device's configuration.
	maxTag = 36
	// maxSocketPath is the room in a sockaddr_un, less the NUL.
	maxSocketPath = 107
	// maxGramPath leaves room for "-krun.sock": libkrun before 1.19 appends that to
	// make the name of its own end.
	maxGramPath = maxSocketPath - len("-krun.sock")
	// maxCommandLine bounds what the caller puts on the guest's kernel command line.
	// libkrun's own part and the kernel's limit of 2,048 leave a little more: 1,320
	// bytes were seen to boot, 1,650 to hang.
	maxCommandLine = 1320
	// rootTag is the tag of the guest's root.
	rootTag = "/dev/root"
	// initName is libkrun's own init, in the guest's root.
	initName = "init.krun"
)

// RootTag is the tag under which AddVirtioFS3 gives the guest its root.
const RootTag = rootTag

// checkStrings refuses strings with a NUL byte, which would cut them, strings that are
// not UTF-8, and vectors that libkrun would not read whole.
func checkStrings(symbol string, args []arg) error {
	for _, a := range args {
		switch a := a.(type) {
		case str:
			if err := checkString(symbol, string(a)); err != nil {
				return err
			}
		case opt:
			if err := checkString(symbol, string(a)); err != nil {
				return err
			}
		case vec:
			if len(a) > maxVector {
				return invalid(symbol, "%d strings, at most %d are read", len(a), maxVector)
			}
			for _, s := range a {
				if err := checkString(symbol, s); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func checkString(symbol, s string) error {
	if strings.ContainsRune(s, 0) {
		return invalid(symbol, "%q has a NUL byte", s)
	}
	if !utf8.ValidString(s) {
		return invalid(symbol, "%q is not UTF-8", s)
	}
	return nil
}

// checkWord refuses an s that would break the guest's kernel command line, where it
// stands without quotes.
func checkWord(symbol, s string) error {
	if strings.ContainsRune(s, ' ') {
		return invalid(symbol, "%q has a space, which would end it on the kernel command line", s)
	}
	return checkQuoted(symbol, s)
}

// checkQuoted is checkWord for an s that stands in double quotes.
func checkQuoted(symbol, s string) error {
	for _, c := range s {
		if c == '"' {
			return invalid(symbol, "%q has a double quote, which would break the kernel command line", s)
		}
		if c < ' ' || c > '~' {
			return invalid(symbol, "%q has a character that the kernel command line cannot carry", s)
		}
	}
	return nil
}

// checkEnv refuses environment entries that the guest would not get unchanged.
func checkEnv(symbol string, env []string) error {
	for _, e := range env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return invalid(symbol, "%q is not NAME=value", e)
		}
		// The kernel takes a name with a dot for a module's parameter.
		if strings.ContainsAny(name, ". ") {
			return invalid(symbol, "the name %q has a dot or a space, so the kernel would not pass it on", name)
		}
		if err := checkQuoted(symbol, e); err != nil {
			return err
		}
	}
	return nil
}

// checkShare refuses a share root that would fail when the guest mounts it, or that may
// be another directory by then.
func checkShare(symbol, path string) error {
	if clean := filepath.Clean(path); clean != path { // link/ would be followed
		return invalid(symbol, "%q is not a clean path, as %q is", path, clean)
	}
	info, err := checkPath(symbol, path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return invalid(symbol, "%s is a symlink, and libkrun follows none: resolve it first", path)
	}
	if !info.IsDir() {
		return invalid(symbol, "%s is not a directory", path)
	}
	return nil
}

// checkDir refuses what is not a directory. It follows symlinks.
func checkDir(symbol, path string) error {
	if info, err := os.Stat(path); err != nil {
		return invalid(symbol, "%v", err)
	} else if !info.IsDir() {
		return invalid(symbol, "%s is not a directory", path)
	}
	return nil
}

// checkFile refuses a path without a file, and directories. It follows symlinks.
func checkFile(symbol, path string) error {
	if _, err := checkPath(symbol, path); err != nil {
		return err
	}
	if info, err := os.Stat(path); err != nil {
		return invalid(symbol, "%v", err)
	} else if info.IsDir() {
		return invalid(symbol, "%s is a directory", path)
	}
	return nil
}

func checkPath(symbol, path string) (fs.FileInfo, error) {
	if err := checkAbsolute(symbol, path); err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, invalid(symbol, "%v", err)
	}
	return info, nil
}

func checkAbsolute(symbol, path string) error {
	if !filepath.IsAbs(path) {
		return invalid(symbol, "%q is not an absolute path", path)
	}
	return nil
}

// checkSocketPath refuses paths that do not fit into a socket's address.
func checkSocketPath(symbol, path string, most int) error {
	if len(path) > most {
		return invalid(symbol, "this socket's path can have %d bytes at most, and has %d", most, len(path))
	}
	return checkAbsolute(symbol, path)
}

// checkSocket refuses a path without a socket. libkrun connects when the guest starts
// the device, and a virtual CPU's thread panics if that fails.
func checkSocket(symbol, path string, most int) error {
	if err := checkSocketPath(symbol, path, most); err != nil {
		return err
	}
	if info, err := os.Stat(path); err != nil {
		return invalid(symbol, "%v", err)
	} else if info.Mode()&fs.ModeSocket == 0 {
		return invalid(symbol, "%s is not a socket", path)
	}
	return nil
}

// interruptLines is how many virtio devices a VM can have. x86-64 has the lines 5 to 15;
// elsewhere the address space for devices is the limit.
func interruptLines() int {
	if runtime.GOARCH == "amd64" {
		return 11
	}
	return 96
}
