package names

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
)

// Files are mounts of the files of names, attached nowhere yet, by their place in the
// sandbox. They are mounted over the rootfs's own, so that these stay as they are.
type Files map[string]int

// contents are the files about names that a guest with a network gets.
func contents(spec guest.BootSpec) map[string]string {
	return map[string]string{
		"/etc/hosts":       hostsFile(spec.Hostname) + spec.Network.Hosts,
		"/etc/hostname":    spec.Hostname + "\n",
		"/etc/resolv.conf": spec.Network.Resolv,
	}
}

// Write writes these files into dir, in the init's own namespace, and returns a mount of
// each. Without a network there are none. Close has to be called after an error, too.
func Write(spec guest.BootSpec, dir string) (Files, error) {
	files := Files{}
	if spec.Network == nil {
		return files, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return files, err
	}
	for target, content := range contents(spec) {
		name := filepath.Join(dir, filepath.Base(target))
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return files, err
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return files, fmt.Errorf("take %s for the sandbox: %w", target, err)
		}
		files[target] = fd
	}
	return files, nil
}

// Mount mounts the files in the sandbox. As docker does it makes a file that is missing,
// and follows a link, whose target it makes. It runs on the sandbox's thread.
func (files Files) Mount() error {
	for target, fd := range files {
		if err := makeFile(target); err != nil {
			return fmt.Errorf("make %s: %w", target, err)
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	return nil
}

// Close closes the mounts. One that is attached stays.
func (files Files) Close() {
	for _, fd := range files {
		unix.Close(fd)
	}
}

// mostLinks is how many links makeFile follows, as the kernel does.
const mostLinks = 40

// makeFile makes an empty file where name, or a link there, leads, unless there is one.
func makeFile(name string) error {
	for range mostLinks {
		to, err := os.Readlink(name)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(name), to)
		}
		name = to
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
