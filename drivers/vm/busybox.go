package vm

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"openshell-vm/drivers"
)

// The default root is made of a static busybox: what a shell needs, and the
// files that C programs expect.

const userlandFormat = 1 // changes when the same busybox must give another root

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

// userland gives the directory of the default root, and makes it first if the
// cache has none of the busybox that is installed now. Older ones stay: a
// sandbox may have one as its root.
func (d *Driver) userland(ctx context.Context) (string, error) {
	busybox, info, err := d.findBusyBox()
	if err != nil {
		return "", &drivers.Error{
			Op: "make the default root", Err: err,
			Hint: "install a static busybox (Debian: apt install busybox-static), or give --rootfs DIR",
		}
	}
	cache := filepath.Join(d.cfg.CacheDir, cacheUserland)
	name := fmt.Sprintf("busybox-%d-%d-%x", userlandFormat, info.Size(), info.ModTime().UnixNano())
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	if err := buildUserland(ctx, busybox, dir); err != nil {
		return "", fmt.Errorf("make the default root from %s: %w", busybox, err)
	}
	return dir, nil
}

// buildUserland makes the root beside dir and renames it there. A second
// builder that was quicker has made the same.
func buildUserland(ctx context.Context, busybox, dir string) error {
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := fillUserland(ctx, busybox, temp); err != nil {
		return err
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	err = os.Rename(temp, dir)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

func fillUserland(ctx context.Context, busybox, root string) error {
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
	if err := copyProgram(busybox, filepath.Join(root, "bin/busybox")); err != nil {
		return err
	}
	return linkApplets(ctx, root)
}

// linkApplets makes the links that busybox lists: "bin/ls", "usr/bin/awk", ….
func linkApplets(ctx context.Context, root string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(root, "bin/busybox"), "--list-full").Output()
	if err != nil {
		return fmt.Errorf("list its applets: %w", err)
	}
	for applet := range strings.FieldsSeq(string(out)) {
		if applet == "bin/busybox" || !filepath.IsLocal(applet) {
			continue
		}
		path := filepath.Join(root, applet)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("/bin/busybox", path); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
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
	return errors.Join(err, out.Chmod(0o755), out.Sync(), out.Close())
}

// findBusyBox gives the path of a static busybox.
func (d *Driver) findBusyBox() (string, os.FileInfo, error) {
	places := []string{"/bin/busybox", "/usr/bin/busybox", "/sbin/busybox", "/usr/lib/initcpio/busybox", "/bin/busybox.static", "/usr/sbin/busybox"}
	if d.cfg.BusyBox != "" {
		places = []string{d.cfg.BusyBox}
	}
	problem := errors.New("no busybox is installed")
	for _, path := range places {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if err := isStatic(path); err != nil {
			problem = fmt.Errorf("%s: %w", path, err)
			continue
		}
		return path, info, nil
	}
	return "", nil, problem
}

// isStatic refuses a program that needs an interpreter, which the root has not.
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
