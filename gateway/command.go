package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// guestPath is where a program is looked for when nothing else is said.
const guestPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// imageName is what names an image, roughly: what docker run takes first.
var imageName = regexp.MustCompile(`^[a-z0-9]+([._/-][a-z0-9]+|:[0-9]+/[a-z0-9]+)*(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]+)?$`)

// checkCommand refuses a command that the root surely has not, before anything
// is booted to find that out. It knows only a root that is a directory, and
// where it is not sure it says nothing: the guest will.
func checkCommand(spec drivers.Spec) error {
	if spec.Rootfs == "" || len(spec.Process.Args) == 0 {
		return nil
	}
	name := spec.Process.Args[0]
	files := places(name, spec.Process)
	if name == "" || path.IsAbs(name) || strings.Contains(name, "/") && !imageName.MatchString(name) || !surelyMissing(spec, files) {
		return nil
	}
	hint := "give a program of its root"
	if imageName.MatchString(name) {
		hint = fmt.Sprintf("give a program of its root; if %s is an image: openshell-vm run --image %s", name, strings.Join(spec.Process.Args, " "))
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
func surelyMissing(spec drivers.Spec, files []string) bool {
	root, err := os.OpenRoot(spec.Rootfs)
	if err != nil {
		return false
	}
	defer root.Close()
	for _, file := range files {
		for _, m := range spec.Mounts {
			if strings.HasPrefix(file, strings.TrimSuffix(m.Target(), "/")+"/") {
				return false
			}
		}
		if _, err := root.Lstat(strings.TrimPrefix(file, "/")); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}
