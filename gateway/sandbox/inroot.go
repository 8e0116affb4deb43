package sandbox

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

// guestPath is where a program is looked for when nothing else is said.
const guestPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// imageName is what names an image, roughly: what docker run takes first.
var imageName = regexp.MustCompile(`^[a-z0-9]+([._/-][a-z0-9]+|:[0-9]+/[a-z0-9]+)*(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]+)?$`)

// checkInRoot refuses a user, a directory and a command that the root surely has
// not, before anything is booted to find that out. It knows only a root that is a
// directory, or the driver's own, and where it is not sure it says nothing: the guest
// will. own says that the user named the root.
func checkInRoot(ctx context.Context, driver drivers.Driver, spec drivers.Spec, own bool) error {
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

// view is a spec, and what its root holds if that is the driver's own.
type view struct {
	drivers.Spec
	stock map[string]string
}

// checkUsers is for the workload's and the token's.
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

// maxNames bounds what is read of a rootfs's list of users.
const maxNames = 1 << 20

// read reads a file of the root that is there, however no link out of it.
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

// checkWorkdir is for the directory that the workload starts in.
func checkWorkdir(spec view) error {
	dir := path.Clean(spec.Process.Dir)
	if spec.Process.Dir == "" || madeInside(spec, dir) || !surelyMissing(spec, []string{dir}) {
		return nil
	}
	return &api.Error{Code: api.CodeNotExecutable, Message: fmt.Sprintf("working directory %s: no such directory", dir),
		Hint: "name a directory of the rootfs, or leave --workdir out and make it in the command"}
}

// madeInside says whether dir is, or may be, made when the sandbox starts: the
// kernel's directories, and those that lead to a mount.
func madeInside(spec view, dir string) bool {
	targets := []string{"/dev", "/proc", "/sys", "/run", "/tmp", drivers.AuthDir}
	for _, m := range spec.Mounts {
		targets = append(targets, m.Target())
	}
	return slices.ContainsFunc(targets, func(t string) bool { return mounts.Within(t, dir) || mounts.Within(dir, t) })
}

// covered says whether a mount may stand in the place of what the root has there.
func covered(spec view, file string) bool {
	return slices.ContainsFunc(spec.Mounts, func(m drivers.Mount) bool { return mounts.Within(file, m.Target()) })
}

// checkCommand is for the program itself.
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
		hint = fmt.Sprintf("give a program of its root; if %s is an image: openshell-vm run --image %s",
			name, strings.Join(spec.Process.Args, " "))
	}
	where := "not found in $PATH"
	if strings.Contains(name, "/") {
		where = "no such file"
	}
	return &api.Error{Code: api.CodeNoCommand, Message: fmt.Sprintf("exec %q: %s", name, where), Hint: hint}
}

// places are the files that a command may be, absolute in the root.
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

// surelyMissing says whether none of the files is there: neither in the root,
// nor by a link that leaves it, nor in a mount.
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
