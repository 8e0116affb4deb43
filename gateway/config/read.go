package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"openshell-vm/internal/plainfile"
)

const (
	// EnvFile names the file to read. It must be there then.
	EnvFile = "OPENSHELL_CONFIG"

	dirName  = "openshell-vm"
	fileName = "gateway.toml"
	maxFile  = 64 << 10 // bytes
)

// Reader says where settings are. The zero Reader gives the defaults.
type Reader struct {
	File     string              // "" for none
	Named    bool                // the file must be there
	Lookup   func(string) string // the environment; nil for an empty one
	Flags    map[string]string   // values by the names of settings
	Defaults map[string]string   // likewise; in place of those of this package
}

// FromEnvironment returns a reader of the file and the variables of this process's
// environment. What is wrong with them, its Read tells.
func FromEnvironment() Reader {
	r := Reader{Lookup: os.Getenv, File: os.Getenv(EnvFile), Named: true}
	if r.File == "" {
		r.File, r.Named = usualFile(), false
	}
	return r
}

// usualFile returns "" if there is no place for a file.
func usualFile() string {
	if os.Geteuid() == 0 {
		return filepath.Join("/etc", dirName, fileName)
	}
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(filepath.Clean(dir), dirName, fileName)
	}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", dirName, fileName)
	}
	return ""
}

// ReadFile reads one file alone: no environment, no flags. It must be there.
func ReadFile(path string) (*Config, error) { return Reader{File: path, Named: true}.Read() }

// Read reads all settings. Its error is an *Error, which has all that is wrong.
func (r Reader) Read() (*Config, error) {
	text, err := r.text()
	if err != nil {
		return nil, err
	}
	return r.parse(text)
}

// text reads the file. There is nothing to read if it is missing and need not be there.
func (r Reader) text() ([]byte, error) {
	if r.File == "" {
		return nil, nil
	}
	if !filepath.IsAbs(r.File) && r.Named && r.Lookup != nil {
		return nil, &Error{[]Problem{{Where: EnvFile, Message: fmt.Sprintf("%q is no absolute path", r.File),
			Hint: "set " + EnvFile + " to the file's absolute path"}}}
	}
	f, err := plainfile.Open(r.File, os.O_RDONLY, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !r.Named:
		return nil, nil
	case err != nil:
		return nil, r.unreadable(err)
	}
	defer f.Close()
	if err := safe(f, r.File); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	if err != nil {
		return nil, r.unreadable(err)
	}
	return text, nil
}

func (r Reader) unreadable(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	p := Problem{Where: r.File, Message: strings.TrimPrefix(err.Error(), r.File+" is "), Hint: "make it readable for the gateway's user"}
	if errors.Is(err, fs.ErrNotExist) {
		p.Hint = "write it, or unset " + EnvFile
	}
	return &Error{[]Problem{p}}
}

// safe refuses a file that others can write, or replace. The file may say which programs run.
func safe(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	refuse := func(message, hint string) error {
		return &Error{[]Problem{{Where: path, Message: message, Hint: hint}}}
	}
	switch {
	case foreign(info):
		return refuse(fmt.Sprintf("it belongs to user %d", owner(info)),
			fmt.Sprintf("chown %d %s, if its content is yours", os.Geteuid(), path))
	case info.Mode().Perm()&0o022 != 0:
		return refuse(fmt.Sprintf("others can write it (mode %04o)", info.Mode().Perm()), "if what is in it is yours: chmod go-w "+path)
	case foreign(dir) || dir.Mode().Perm()&0o022 != 0 && dir.Mode()&fs.ModeSticky == 0:
		return refuse("others can replace it: its directory is not only yours to write",
			"chmod go-w "+filepath.Dir(path)+", or put the file elsewhere and name it with "+EnvFile)
	}
	return nil
}

func foreign(info fs.FileInfo) bool { return owner(info) != 0 && owner(info) != os.Geteuid() }

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
