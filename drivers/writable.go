package drivers

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/inode"
)

// JudgeWritable checks the sources of spec.Writable, in order, as JudgeMounts checks those of
// spec.Mounts. It refuses more. A directory that contains a hidden one, control sockets or a
// file system of the kernel's is refused as a whole: who can write to it could rename what
// lies there, and put something else in its place. So is the root of the host. No tree has
// masks.
//
// A volume's source lies in a hidden directory, and is made by the gateway. It is exempt.
//
// It also refuses every other source of the sandbox that is reached through a link in one
// that it may write to: at the next start such a link could lead anywhere on the host.
func JudgeWritable(spec Spec, sockets ...string) (trees []Tree, err error) {
	if err := checkTargets(spec); err != nil {
		return nil, err
	}
	for _, w := range spec.Writable {
		tree, err := judgeWritable(w, spec.Hidden, sockets)
		if err != nil {
			return nil, err
		}
		trees = append(trees, tree)
	}
	if err := checkLinks(spec); err != nil {
		return nil, err
	}
	return trees, nil
}

func judgeWritable(w Writable, hidden, sockets []string) (Tree, error) {
	op := "mount " + w.Source() + " to be written to"
	if w.Volume() != "" {
		return judgeVolume(w.Source(), w.Volume())
	}
	tree, err := Judge(op, w.Source(), hidden, sockets...)
	if err != nil {
		return tree, err
	}
	if real, err := filepath.EvalSymlinks(w.Source()); err == nil && real == "/" {
		return tree, &Error{Op: op, Err: errors.New("it is the whole host"), Hint: "mount the directory in it that the sandbox needs"}
	}
	if len(tree.Masks) > 0 {
		return tree, &Error{Op: op,
			Err: fmt.Errorf("it contains %s, which no sandbox may reach (keys, tokens, control sockets, the kernel)",
				filepath.Join(w.Source(), tree.Masks[0])),
			Hint: "mount the directory in it that the sandbox needs; or mount it read-only, where that is covered"}
	}
	if err := unix.Access(w.Source(), unix.W_OK); errors.Is(err, unix.EROFS) {
		return tree, &Error{Op: op, Err: errors.New("it lies on a read-only file system"), Hint: "mount it read-only"}
	}
	return tree, nil
}

// checkLinks looks at the sources that lie in one of spec.Writable.
func checkLinks(spec Spec) error {
	sources := []string{spec.VM.Rootfs}
	for _, m := range spec.Mounts {
		sources = append(sources, m.Source())
	}
	for _, w := range spec.Writable {
		sources = append(sources, w.Source())
	}
	for _, w := range spec.Writable {
		written, err := inode.Of(w.Source())
		if err != nil {
			continue // Judge says why
		}
		for _, source := range sources {
			if linkedBelow(written, source) {
				return &Error{Op: "mount " + source,
					Err: fmt.Errorf("its path leads through a link in %s, to which the sandbox may write: the link could lead anywhere",
						w.Source()),
					Hint: "give the directory itself, without a link"}
			}
		}
	}
	return nil
}

// linkedBelow reports whether path leads through the directory, and through a link from there.
func linkedBelow(dir Directory, path string) bool {
	for above := path; len(above) > 1; {
		above = filepath.Dir(above)
		if id, err := inode.Of(above); err == nil && id == dir {
			return linked(above, path)
		}
	}
	return false
}

// linked reports whether the way from dir down to path leads through a link.
func linked(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return true
	}
	top, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // Judge says why
	}
	defer unix.Close(top)
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(top, rel, how)
	if err == nil {
		unix.Close(fd)
	}
	return errors.Is(err, unix.ELOOP)
}

// judgeVolume identifies a volume's directory.
func judgeVolume(source, volume string) (Tree, error) {
	op := "mount the volume " + volume
	if err := CheckDir(op, source); err != nil {
		return Tree{}, err
	}
	is, err := inode.Of(source)
	if err != nil {
		return Tree{}, &Error{Op: op, Err: err, Hint: "see that the state directory is there"}
	}
	return Tree{Source: source, Is: is}, nil
}
