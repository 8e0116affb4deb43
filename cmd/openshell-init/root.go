package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/cmd/openshell-init/card"
	"openshell-vm/cmd/openshell-init/door"
	"openshell-vm/cmd/openshell-init/names"
	"openshell-vm/cmd/openshell-init/skeleton"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/fault"
)

// root is the sandbox's view of the file system: a mount namespace of its own, whose
// root is an overlay. Of the init only one thread is in it.
type root struct {
	jobs chan func()
	gone chan struct{} // closed by leave

	namespace *os.File // the mount namespace
	door      door.Door
}

// makeRoot builds the overlay in the init's namespace, so that the init can unmount it
// at the end. Then it makes the sandbox's namespace around it. If that takes long it
// calls progress about once a second.
func makeRoot(where layout, spec guest.BootSpec, progress func(guest.Progress)) (*root, error) {
	if err := mountUpper(where, spec.Ephemeral); err != nil {
		return nil, err
	}
	if err := mountOverlay(where, progress); err != nil {
		return nil, err
	}
	if err := mountWritable(spec); err != nil {
		return nil, err
	}
	trees, err := cloneTrees(where.shares, spec)
	if err != nil {
		return nil, err
	}
	defer trees.close()
	mirrors, err := mountMirrors(spec)
	if err != nil {
		return nil, err
	}
	r := &root{jobs: make(chan func()), gone: make(chan struct{})}
	entered := make(chan error)
	go r.serve(entered)
	if err := <-entered; err != nil {
		return nil, err
	}
	return r, r.do(func() (err error) {
		if err = furnish(spec, trees); err == nil {
			err = attachMirrors(spec, mirrors)
		}
		if err == nil && spec.DoorDir != "" {
			r.door, err = door.Mount(spec.DoorDir, trees.door)
		}
		return err
	})
}

// serve is the goroutine whose locked thread is in the sandbox's namespace. It ends at
// leave, and its thread with it: nothing else ever runs on a locked thread.
func (r *root) serve(entered chan<- error) {
	runtime.LockOSThread()
	var err error
	r.namespace, err = enterRoot(newRoot)
	entered <- err
	for err == nil {
		select {
		case job := <-r.jobs:
			job()
		case <-r.gone:
			return
		}
	}
}

var errLeft = errors.New("the sandbox is being taken down")

// do runs f on the sandbox's thread: paths in f are the sandbox's, and processes that f
// starts are in the sandbox. f must not call do. After leave, do fails.
func (r *root) do(f func() error) error {
	result := make(chan error, 1)
	select {
	case r.jobs <- func() { result <- f() }:
		return <-result
	case <-r.gone:
		return errLeft
	}
}

// leave ends the sandbox's thread. The namespace ends when no process is in it either.
// The init's descriptor of it would keep it, too.
func (r *root) leave() {
	close(r.gone)
	r.namespace.Close()
}

// enterRoot moves the calling thread into a new mount namespace whose root is dir. It
// is the namespace's real root and not only a chroot, so that the sandbox can make user
// namespaces. The namespace is opened while /proc is still the init's own.
func enterRoot(dir string) (namespace *os.File, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("make the sandbox's mount namespace: %w", err)
	}
	if namespace, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
		return nil, err
	}
	if err := unix.Chdir(dir); err != nil {
		return nil, fmt.Errorf("enter the root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return nil, fmt.Errorf("switch the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return nil, fmt.Errorf("switch the root: %w", err)
	}
	return namespace, unix.Chdir("/")
}

// mountUpper mounts the disk or the tmpfs that holds the sandbox's changes.
func mountUpper(where layout, ephemeral bool) error {
	if err := os.MkdirAll(upperDir, 0o700); err != nil {
		return err
	}
	if ephemeral {
		if err := unix.Mount("tmpfs", upperDir, "tmpfs", unix.MS_NOATIME, "mode=0700"); err != nil {
			return fmt.Errorf("mount the root's upper layer: %w", err)
		}
		return nil
	}
	dev, err := where.findUpper()
	if err != nil {
		return err
	}
	// noinit_itable: blank inode tables are not written, so the host's file stays sparse.
	err = unix.Mount(dev, upperDir, "ext4", unix.MS_NOATIME, "discard,noinit_itable")
	if err != nil {
		return &fault.Error{
			Op:   "mount the root's upper layer",
			Err:  err,
			Hint: "the sandbox's disk may be damaged: remove the sandbox and create it again",
		}
	}
	return nil
}

// diskDeadline is how long a disk may take to appear.
const diskDeadline = 5 * time.Second

// findUpper finds the disk for the sandbox's changes, and prepares it.
func (l layout) findUpper() (dev string, err error) {
	dev, err = findDisk("/sys/block", l.isUpper)
	if err != nil {
		return "", fmt.Errorf("find the sandbox's disk: %w", err)
	}
	// Smaller requests: what is under way when the host freezes the VM for want of room is
	// still written. If this write fails, that is a bit more.
	_ = os.WriteFile(filepath.Join("/sys/block", filepath.Base(dev), "queue/max_sectors_kb"), []byte("1024"), 0)
	return dev, nil
}

// findDisk waits for a disk, and returns its device.
func findDisk(blocks string, is func(disk string) bool) (dev string, err error) {
	for deadline := time.Now().Add(diskDeadline); ; time.Sleep(time.Millisecond) {
		disks, err := filepath.Glob(filepath.Join(blocks, "vd*"))
		if err != nil {
			return "", err
		}
		for _, disk := range disks {
			if is(disk) {
				return filepath.Join("/dev", filepath.Base(disk)), nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("it is none of the %d disks", len(disks))
		}
	}
}

// isUpper and isImage tell the disks apart: by their serial numbers, or by which of them
// can be written to.
func (l layout) isUpper(disk string) bool { return l.isDisk(disk, guest.UpperSerial, "0") }
func (l layout) isImage(disk string) bool { return l.isDisk(disk, guest.ImageSerial, "1") }

func (l layout) isDisk(disk, serial, readOnly string) bool {
	file, want := "serial", serial
	if l.LoneDisk {
		file, want = "ro", readOnly
	}
	data, err := os.ReadFile(filepath.Join(disk, file))
	return err == nil && strings.TrimSpace(string(data)) == want
}

func mountOverlay(where layout, progress func(guest.Progress)) error {
	// Layers also opens the root directory. On a single device that directory is a
	// mount on the host, and becomes a mount in the guest only when it is opened.
	list := filepath.Join(where.shares, guest.BootDir, guest.RootListFile)
	layers, err := skeleton.Layers(where.lower, list, skeletonDir, progress)
	if err != nil {
		return err
	}
	changes, work := filepath.Join(upperDir, "root"), filepath.Join(upperDir, "work")
	if err := errors.Join(makeLike(changes, where.lower), os.MkdirAll(work, 0o700), os.MkdirAll(newRoot, 0o700)); err != nil {
		return fmt.Errorf("prepare the root's upper layer: %w", err)
	}
	data := fmt.Sprintf("%s,upperdir=%s,workdir=%s", layers, changes, work)
	if err := unix.Mount("overlay", newRoot, "overlay", unix.MS_NOATIME, data); err != nil {
		return fmt.Errorf("mount the root as an overlay: %w", err)
	}
	return nil
}

// makeLike makes dir with the mode and owner of another directory, since an overlay's
// root takes both from its upper layer. It leaves a dir that exists as it is.
func makeLike(dir, other string) error {
	var st unix.Stat_t
	if err := unix.Stat(other, &st); err != nil {
		return fmt.Errorf("stat %s: %w", other, err)
	}
	if err := os.Mkdir(dir, 0o700); errors.Is(err, os.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := os.Lchown(dir, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Chmod(dir, st.Mode&0o7777)
}

// trees are mounts that are attached nowhere yet.
type trees struct {
	shares []int // as sharesOf has them
	door   int   // the program that asks the gateway; -1 if there is none
	users  []int // in the order of the spec's Mounts
	names  names.Files
}

// cloneTrees clones the parts of the composed shares that the sandbox may see. The boot
// spec is not among them.
func cloneTrees(shares string, spec guest.BootSpec) (*trees, error) {
	t := &trees{door: -1}
	if err := t.clone(shares, spec); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// clone stops at the first error.
func (t *trees) clone(shares string, spec guest.BootSpec) (err error) {
	for _, s := range sharesOf(spec) {
		fd, err := cloneTree(filepath.Join(shares, s.Name), unix.MOUNT_ATTR_NOEXEC)
		if err != nil {
			return err
		}
		t.shares = append(t.shares, fd)
	}
	if t.door, err = door.Program(shares); err != nil {
		return err
	}
	if t.names, err = names.Write(spec, namesDir); err != nil {
		return err
	}
	for _, m := range spec.Mounts {
		fd, err := cloneMount(shares, m)
		if err != nil {
			return err
		}
		t.users = append(t.users, fd)
	}
	return nil
}

// cloneMount clones a mount of the user's, which may hold programs.
func cloneMount(shares string, m guest.GuestMount) (int, error) {
	if !m.Writable {
		return cloneTree(filepath.Join(shares, m.Name), 0)
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, filepath.Join(writableAt, m.Name), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("take the device %q: %w", m.Name, err)
	}
	return fd, nil
}

func (t *trees) close() {
	for _, fd := range slices.Concat(t.users, t.shares, []int{t.door}) {
		unix.Close(fd)
	}
	t.names.Close()
}

// cloneTree makes a mount of dir, read-only with all mounts below it. noexec is
// MOUNT_ATTR_NOEXEC or 0. Whatever the guest does here, the host enforces read-only.
func cloneTree(dir string, noexec uint64) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("take %s from the shares: %w", filepath.Base(dir), err)
	}
	attr := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | noexec,
		Attr_clr: unix.MOUNT_ATTR_NOEXEC &^ noexec,
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("make %s read-only: %w", filepath.Base(dir), err)
	}
	return fd, nil
}

func attach(tree int, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make the mount point %s: %w", target, err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount at %s: %w", target, err)
	}
	return nil
}

// furnish mounts in the sandbox's root what a sandbox has there. It runs on the
// sandbox's thread.
func furnish(spec guest.BootSpec, t *trees) error {
	if err := mountKernelFS(); err != nil {
		return err
	}
	if err := makeDevices(); err != nil {
		return err
	}
	// Outer mounts come before those inside them.
	order := make([]int, len(spec.Mounts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return strings.Count(spec.Mounts[a].Target, "/") - strings.Count(spec.Mounts[b].Target, "/")
	})
	for _, i := range order {
		if err := attach(t.users[i], spec.Mounts[i].Target); err != nil {
			return err
		}
	}
	if err := mountShares(spec, t.shares); err != nil {
		return err
	}
	for _, dir := range spec.Dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make %s, which the image asks for: %w", dir, err)
		}
	}
	if err := t.names.Mount(); err != nil {
		return err
	}
	if err := names.Set(spec.Hostname, spec.Network != nil); err != nil {
		return err
	}
	if err := card.RaiseLoopback(); err != nil {
		return err
	}
	return card.Connect(spec.Network)
}
