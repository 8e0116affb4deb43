package host

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"openshell-vm/drivers"
)

// The default root is a static busybox, with what a shell needs and the files that C
// programs expect. Each sandbox has one of its own in its directory, made anew at each
// start. So a clean-up or a power cut can't leave half of one, and no running VM has its
// root in a cache.

var userlandDirs = []struct {
	name string
	mode os.FileMode
}{
	{"bin", 0o755}, {"sbin", 0o755}, {"usr", 0o755}, {"usr/bin", 0o755}, {"usr/sbin", 0o755}, {"usr/local", 0o755},
	{"etc", 0o755}, {"dev", 0o755}, {"proc", 0o555}, {"sys", 0o555}, {"run", 0o755}, {"home", 0o755}, {"mnt", 0o755},
	{"opt", 0o755}, {"srv", 0o755}, {"var", 0o755}, {"var/log", 0o755}, {"root", 0o700},
	{"tmp", 0o777 | os.ModeSticky}, {"var/tmp", 0o777 | os.ModeSticky},
}

var userlandFiles = map[string]string{
	"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
	"etc/group":         "root:x:0:\nnogroup:x:65534:\n",
	"etc/hosts":         "127.0.0.1 localhost\n::1 localhost\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	"etc/profile":       "export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n",
	"etc/os-release":    "ID=openshell-vm\nNAME=\"openshell-vm minimal userland\"\n",
}

// cachedRoot matches what older versions recorded as the default root: a directory in
// the cache, which may be gone.
var cachedRoot = regexp.MustCompile(`/userland/busybox-[0-9]+-[0-9]+-[0-9a-f]+$`)

// OwnRoot reports whether a recorded root stands for the default root.
func OwnRoot(rootfs string) bool { return rootfs == "" || cachedRoot.MatchString(rootfs) }

// Stock lists the names in the default root; see drivers.Stocker.
func (h *Host) Stock(ctx context.Context) (map[string]string, error) {
	b, err := h.busyBox(ctx)
	if err != nil {
		return nil, err
	}
	stock := maps.Clone(userlandFiles)
	stock[busyBoxFile] = ""
	for _, dir := range userlandDirs {
		stock[dir.name] = ""
	}
	for _, file := range b.applets {
		stock[file] = ""
	}
	return stock, nil
}

// CheckUserland returns what is missing for the default root; nil if nothing is.
func (h *Host) CheckUserland(ctx context.Context) error {
	_, err := h.busyBox(ctx)
	return err
}

// MakeRoot makes the default root in dir. It removes first what is there.
func (h *Host) MakeRoot(ctx context.Context, dir string) error {
	b, err := h.busyBox(ctx)
	if err != nil {
		return err
	}
	err = errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755))
	if err == nil {
		err = fillUserland(b, dir)
	}
	if err != nil {
		return &drivers.Error{Op: opUserland, Err: err, Hint: "see that the state directory has room"}
	}
	return nil
}

const (
	opUserland  = "make the default root"
	busyBoxFile = "bin/busybox"
)

// busyBox is a static busybox and the names of its applets' files.
type busyBox struct {
	path    string
	applets []string
}

func (h *Host) busyBox(ctx context.Context) (busyBox, error) {
	path, err := h.findBusyBox()
	var b busyBox
	if err == nil {
		b, err = h.busyBoxes.Find(path, func() (busyBox, error) {
			applets, err := applets(ctx, path)
			return busyBox{path, applets}, err
		})
	}
	if err != nil {
		return busyBox{}, &drivers.Error{Op: opUserland, Err: err,
			Hint: "install a static busybox (Debian: apt install busybox-static), or give --rootfs DIR"}
	}
	return b, nil
}

// applets lists the files that become links to a busybox: "bin/ls", "usr/bin/awk", ….
func applets(ctx context.Context, busybox string) (files []string, err error) {
	out, err := exec.CommandContext(ctx, busybox, "--list-full").Output()
	if err != nil {
		return nil, fmt.Errorf("list the applets of %s: %w", busybox, err)
	}
	for file := range strings.FieldsSeq(string(out)) {
		if file != busyBoxFile && filepath.IsLocal(file) {
			files = append(files, file)
		}
	}
	return files, nil
}

func fillUserland(busybox busyBox, root string) error {
	for _, d := range userlandDirs {
		path := filepath.Join(root, d.name)
		if err := errors.Join(os.Mkdir(path, 0o755), os.Chmod(path, d.mode)); err != nil {
			return err
		}
	}
	for name, text := range userlandFiles {
		path := filepath.Join(root, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chmod(path, 0o644)); err != nil {
			return err
		}
	}
	for _, file := range busybox.applets {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("/"+busyBoxFile, path); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return copyProgram(busybox.path, filepath.Join(root, busyBoxFile))
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o755), out.Close())
}

// findBusyBox returns the path of a static busybox.
func (h *Host) findBusyBox() (string, error) {
	places := []string{"/bin/busybox", "/usr/bin/busybox", "/sbin/busybox", "/usr/lib/initcpio/busybox",
		"/bin/busybox.static", "/usr/sbin/busybox"}
	if h.BusyBox != "" {
		places = []string{h.BusyBox}
	}
	problem := errors.New("no busybox is installed")
	for _, path := range places {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := isStatic(path); err != nil {
			problem = fmt.Errorf("%s: %w", path, err)
			continue
		}
		return path, nil
	}
	return "", problem
}

// isStatic refuses a program that needs an interpreter: the root has none.
func isStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("it is no program: %w", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it is not a static program")
		}
	}
	return nil
}
