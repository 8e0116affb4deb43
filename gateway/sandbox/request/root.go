package request

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/sys/user"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/mounts"
	"openshell-vm/internal/plainfile"
)

// guestPath is the guest's PATH if the user sets none.
const guestPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// imageName matches, roughly, names of images as docker run takes them.
var imageName = regexp.MustCompile(`^[a-z0-9]+([._/-][a-z0-9]+|:[0-9]+/[a-z0-9]+)*(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]+)?$`)

// CheckRoot refuses a user, a working directory or a command that the root surely does
// not have, so that nothing is booted in vain. It knows a root that is a directory of the
// host, and a driver's own root. If it is not sure it returns nil, and the guest reports
// the error. own says that the user named the root.
func CheckRoot(ctx context.Context, driver drivers.Driver, spec drivers.Spec, own bool) error {
	if spec.Image != "" {
		return nil
	}
	v := view{Spec: spec}
	if stocker, ok := driver.(drivers.Stocker); ok && spec.VM.Rootfs == "" {
		var err error
		if v.stock, err = stocker.Stock(ctx); err != nil {
			return nil
		}
	} else if spec.VM.Rootfs == "" {
		return nil
	}
	if err := checkUsers(v); err != nil {
		return err
	}
	if err := checkWorkdir(v); err != nil {
		return err
	}
	return checkCommand(v, own)
}

// view is a spec and its root.
type view struct {
	drivers.Spec
	stock map[string]string // what the root holds, if it is the driver's own; see drivers.Stocker
}

// checkUsers checks that the root has the workload's user and the token's user.
func checkUsers(spec view) error {
	names := map[string][]byte{"/etc/passwd": nil, "/etc/group": nil}
	for file := range names {
		if covered(spec, file) {
			return nil
		}
		data, err := spec.read(file)
		if err != nil {
			return nil
		}
		names[file] = data
	}
	for _, name := range []string{spec.Process.User, spec.VM.TokenUser} {
		if name == "" {
			continue
		}
		_, err := user.GetExecUser(name, nil, bytes.NewReader(names["/etc/passwd"]), bytes.NewReader(names["/etc/group"]))
		if err != nil {
			return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("user %q: %v", name, err),
				Hint: "name a user of the rootfs's /etc/passwd and a group of its /etc/group, or give numbers"}
		}
	}
	return nil
}

// maxNames bounds what is read of a root's /etc/passwd and /etc/group, in bytes each.
const maxNames = 1 << 20

// read reads a file of the root. It follows no symbolic link out of the root.
func (v view) read(file string) ([]byte, error) {
	name := strings.TrimPrefix(file, "/")
	if v.stock != nil {
		return []byte(v.stock[name]), nil
	}
	root, err := os.OpenRoot(v.VM.Rootfs)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return plainfile.ReadIn(root, name, maxNames)
}

// checkWorkdir checks that the root has the workload's working directory.
func checkWorkdir(spec view) error {
	dir := path.Clean(spec.Process.Dir)
	if spec.Process.Dir == "" || madeInside(spec, dir) || !surelyMissing(spec, []string{dir}) {
		return nil
	}
	return &api.Error{Code: api.CodeNotExecutable, Message: fmt.Sprintf("working directory %s: no such directory", dir),
		Hint: "name a directory of the rootfs, or leave --workdir out and make it in the command"}
}

// madeInside reports whether dir may be made when the sandbox starts: it is at or in a
// standard directory such as /proc or a mount's target, or leads to one.
func madeInside(spec view, dir string) bool {
	targets := append(spec.targets(), "/dev", "/proc", "/sys", "/run", "/tmp", drivers.AuthDir)
	return slices.ContainsFunc(targets, func(t string) bool { return mounts.Within(t, dir) || mounts.Within(dir, t) })
}

// covered reports whether a mount covers this file of the root.
func covered(spec view, file string) bool {
	return slices.ContainsFunc(spec.targets(), func(target string) bool { return mounts.Within(file, target) })
}

// targets returns where the shares and the user's mounts are, those that can be written to as well.
func (v view) targets() (all []string) {
	for _, m := range v.AllShares() {
		if m != (drivers.Mount{}) {
			all = append(all, m.Target())
		}
	}
	for _, m := range v.Mounts {
		all = append(all, m.Target())
	}
	for _, w := range v.Writable {
		all = append(all, w.Target())
	}
	return all
}

// checkCommand checks that the root has the program that is to run.
func checkCommand(spec view, own bool) error {
	if len(spec.Process.Args) == 0 {
		return nil
	}
	name := spec.Process.Args[0]
	files := places(name, spec.Process)
	if name == "" || path.IsAbs(name) || strings.Contains(name, "/") && !imageName.MatchString(name) || !surelyMissing(spec, files) {
		return nil
	}
	hint := "give a program of its root"
	if !own && imageName.MatchString(name) {
		rest := strings.Join(spec.Process.Args[1:], " ")
		if len(rest) > 80 {
			rest = "…"
		}
		hint = strings.TrimSpace(fmt.Sprintf("give a program of its root; if %s is an image: openshell-vm run --image %s %s",
			name, name, rest))
	}
	where := "executable file not found in $PATH"
	if strings.Contains(name, "/") {
		where = "no such file"
	}
	return &api.Error{Code: api.CodeNoCommand, Message: fmt.Sprintf("exec: %q: %s", name, where), Hint: hint}
}

// places returns the files of the root that a command may mean, as absolute paths.
func places(name string, p drivers.Process) []string {
	if strings.Contains(name, "/") {
		return []string{path.Join("/", p.Dir, name)}
	}
	search := guestPath
	for _, kv := range p.Env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = value
		}
	}
	var files []string
	for _, dir := range filepath.SplitList(search) {
		files = append(files, path.Join("/", p.Dir, dir, name))
		if path.IsAbs(dir) {
			files[len(files)-1] = path.Join(dir, name)
		}
	}
	return files
}

// surelyMissing reports whether none of the files can exist: they are not in the root, no
// mount covers them, and no symbolic link leads out of the root.
func surelyMissing(spec view, files []string) bool {
	if spec.stock != nil {
		return !slices.ContainsFunc(files, func(file string) bool {
			_, ok := spec.stock[strings.TrimPrefix(file, "/")]
			return ok || file == "/" || covered(spec, file)
		})
	}
	root, err := os.OpenRoot(spec.VM.Rootfs)
	if err != nil {
		return false
	}
	defer root.Close()
	for _, file := range files {
		if covered(spec, file) {
			return false
		}
		if _, err := root.Lstat(strings.TrimPrefix(file, "/")); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}
