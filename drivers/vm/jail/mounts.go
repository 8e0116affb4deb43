package jail

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/fault"
	"openshell-vm/internal/inode"
)

// staging is where the new root is put together. Any existing directory would do: all
// sources are cloned before it is covered.
const staging = "/dev"

// clone is a mount that is attached nowhere yet.
type clone struct {
	fd     int
	target string
	dir    bool
	rights rights // that Landlock allows there
	label  string // for the report
}

// composeRoot makes the root of Config, enters it, and returns what is mounted in it. A
// source that is missing or can't be made read-only is an error.
func composeRoot(cfg Config, r *Report) ([]clone, error) {
	// Mounts made here must not spread to the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make the jail's mounts private: %w", err)
	}
	clones, err := gather(cfg)
	if err != nil {
		return nil, err
	}
	root, err := tmpfs("mode=0755", "size=4m")
	if err != nil {
		return nil, err
	}
	if err := attach(root, unix.AT_FDCWD, staging); err != nil {
		return nil, err
	}
	tree, err := os.OpenRoot(staging)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	for _, c := range clones {
		if err := place(tree, c); err != nil {
			return nil, fmt.Errorf("show %s in the jail: %w", c.target, err)
		}
		r.Mounts = append(r.Mounts, c.target+" "+c.label)
	}
	if cfg.Proc {
		if err := linkProc(tree); err != nil {
			return nil, err
		}
	}
	if err := setAttributes(root, unix.MOUNT_ATTR_RDONLY, 0); err != nil {
		return nil, fmt.Errorf("make the jail's root read-only: %w", err)
	}
	if err := enterRoot(staging); err != nil {
		return nil, err
	}
	return clones, enterDir(cfg.Dir)
}

// gather clones every source, in the order in which they will be attached.
func gather(cfg Config) ([]clone, error) {
	var clones []clone
	for _, b := range cfg.Binds {
		c, err := cloneBind(b)
		if err != nil {
			return nil, fmt.Errorf("take %s into the jail: %w", b.Source, err)
		}
		clones = append(clones, c)
	}
	for _, dev := range cfg.Devices {
		c, err := cloneDevice(dev, dev)
		if err != nil {
			return nil, fmt.Errorf("take %s into the jail: %w", dev, err)
		}
		clones = append(clones, c)
	}
	for _, dir := range cfg.Tmpfs {
		fd, err := tmpfs("mode=0700", "size=64m")
		if err != nil {
			return nil, err
		}
		clones = append(clones, clone{fd: fd, target: dir, dir: true, rights: readDir | writeDir, label: "rw tmpfs"})
	}
	for _, dir := range cfg.Masks {
		fd, err := tmpfs("mode=0555", "size=4k")
		if err == nil {
			err = setAttributes(fd, unix.MOUNT_ATTR_RDONLY, 0)
		}
		if err != nil {
			return nil, err
		}
		clones = append(clones, clone{fd: fd, target: dir, dir: true, rights: readDir, label: "ro masked"})
	}
	if cfg.Proc {
		proc, err := cloneProc()
		if err != nil {
			return nil, err
		}
		clones = append(clones, proc...)
	}
	return clones, nil
}

// cloneBind clones a file or a directory with all mounts below it.
func cloneBind(b Bind) (clone, error) {
	if b.Device {
		return cloneDevice(b.Source, b.Target)
	}
	fd, st, err := openTree(b.Source)
	if err != nil {
		return clone{}, err
	}
	if is := (inode.ID{Device: uint64(st.Dev), Inode: st.Ino}); b.Is != (inode.ID{}) && is != b.Is {
		unix.Close(fd)
		return clone{}, &fault.Error{
			Err:  errors.New("it is another directory than the one that was checked: its path was changed meanwhile"),
			Hint: "mount a directory whose path nobody else can change"}
	}
	c := clone{fd: fd, target: b.Target, dir: st.Mode&unix.S_IFMT == unix.S_IFDIR, rights: readFile, label: "ro"}
	attr := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if c.dir {
		c.rights = readDir
	}
	if b.Exec {
		c.rights |= execute
	} else {
		attr |= unix.MOUNT_ATTR_NOEXEC
	}
	switch {
	case !b.Writable:
		attr |= unix.MOUNT_ATTR_RDONLY
	case c.dir:
		c.rights, c.label = c.rights|writeDir, "rw"
	default:
		c.rights, c.label = c.rights|writeFile, "rw"
	}
	if err := setAttributes(fd, attr, unix.AT_RECURSIVE); err != nil {
		unix.Close(fd)
		return clone{}, err
	}
	return c, nil
}

// cloneDevice clones one device node. A read-only mount protects the node's mode and
// owner, and does not keep anybody from using the device.
func cloneDevice(name, target string) (clone, error) {
	fd, st, err := openTree(name)
	if err != nil {
		return clone{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR {
		err = errors.New("it is no character device")
	} else {
		err = setAttributes(fd, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_RDONLY, unix.AT_RECURSIVE)
	}
	if err != nil {
		unix.Close(fd)
		return clone{}, err
	}
	return clone{fd: fd, target: target, rights: device, label: "device"}, nil
}

// openTree clones what is at source and returns its status. Later changes of the path
// make no difference to the clone.
func openTree(source string) (fd int, st unix.Stat_t, err error) {
	fd, err = unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, st, fmt.Errorf("open_tree: %w", err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

func setAttributes(fd int, attr uint64, flags uint) error {
	a := &unix.MountAttr{Attr_set: attr, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|flags, a); err != nil {
		return fmt.Errorf("mount_setattr (Linux 5.12 or later is needed): %w", err)
	}
	return nil
}

// tmpfs makes a tmpfs that is attached nowhere.
func tmpfs(options ...string) (int, error) {
	return newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, options...)
}

func newMount(fstype string, attr int, options ...string) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen %s: %w", fstype, err)
	}
	defer unix.Close(fs)
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return -1, fmt.Errorf("%s %s: %w", fstype, option, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("make a %s: %w", fstype, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, fmt.Errorf("mount a %s: %w", fstype, err)
	}
	return fd, nil
}

func attach(mount, dirfd int, target string) error {
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH
	if target == "" {
		flags |= unix.MOVE_MOUNT_T_EMPTY_PATH
	}
	if err := unix.MoveMount(mount, "", dirfd, target, flags); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// place attaches c at its target. It makes the target unless an earlier mount has it.
// It follows no symlink on the way: one in a sandbox's rootfs must not lead the mount
// elsewhere.
func place(tree *os.Root, c clone) error {
	defer unix.Close(c.fd)
	rel := strings.TrimPrefix(c.target, "/")
	if err := makeTarget(tree, rel, c.dir); err != nil {
		return err
	}
	dir, err := tree.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	target, err := unix.Openat2(int(dir.Fd()), rel, how)
	if err != nil {
		return fmt.Errorf("openat2: %w", err)
	}
	defer unix.Close(target)
	return attach(c.fd, target, "")
}

func makeTarget(tree *os.Root, rel string, dir bool) error {
	if _, err := tree.Lstat(rel); err == nil {
		return nil
	}
	if dir {
		return tree.MkdirAll(rel, 0o755)
	}
	if err := tree.MkdirAll(path.Dir(rel), 0o755); err != nil {
		return err
	}
	f, err := tree.OpenFile(rel, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

// enterRoot makes dir the root and detaches the old one.
func enterRoot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	// The old root lands on top of the new one; the Unmount detaches it there.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	return unix.Chdir("/")
}

// enterDir enters the program's working directory.
func enterDir(dir string) error {
	if dir == "" {
		return nil
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("enter %s in the jail: %w", dir, err)
	}
	return nil
}
