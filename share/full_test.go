package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

// TestFullDisk runs in its own mount namespace, where it may mount a small tmpfs. Users
// other than root get a user namespace too.
func TestFullDisk(t *testing.T) {
	inMountNamespace(t, "full")
}

// inMountNamespace runs a child that may mount.
func inMountNamespace(t *testing.T, name string) {
	t.Helper()
	cmd := child(t, name, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		need(t, "a mount namespace: "+err.Error())
	}
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == cantMount {
		need(t, "a mount namespace that may mount: "+string(out))
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// cantMount is the exit code of a child whose namespace is not allowed to mount.
const cantMount = 3

// keepMounts keeps a child's mounts from spreading to the namespace that it came from.
func keepMounts() {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fmt.Println(err)
		os.Exit(cantMount)
	}
}

func childFull(args []string) error {
	keepMounts()
	if err := fullOfBlocks(args[0]); err != nil {
		return fmt.Errorf("no blocks left: %w", err)
	}
	if err := readOnly(args[0]); err != nil {
		return fmt.Errorf("read-only: %w", err)
	}
	if err := busy(args[0]); err != nil {
		return fmt.Errorf("busy: %w", err)
	}
	for free := range 8 {
		if err := fullOfInodes(args[0], free); err != nil {
			return fmt.Errorf("%d inodes left: %w", free, err)
		}
	}
	return nil
}

// onSmallDisk runs f with a fresh share on a tmpfs with the options given.
func onSmallDisk(dir, options string, f func(s *Share) error) error {
	if err := unix.Mount("share-test", dir, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s, err := Create(filepath.Join(dir, "s"), Options{})
	if err != nil {
		return err
	}
	return f(s)
}

// fullOfBlocks publishes what does not fit: first files larger than the disk, then a
// small file on a full disk.
func fullOfBlocks(dir string) error {
	return onSmallDisk(dir, "size=256k", func(s *Share) error {
		good := bytes.Repeat([]byte("good"), 1024)
		if err := failing(s, good, func(i int) []File {
			return []File{{Name: "a", Data: make([]byte, 100)}, {Name: "b", Data: make([]byte, 300_000+i*10_000)}, {Name: "c", Data: nil}}
		}); err != nil {
			return err
		}
		filler := filepath.Join(dir, "filler")
		_ = os.WriteFile(filler, make([]byte, 1<<20), 0o600) // stops where the disk is full
		if err := failing(s, good, func(i int) []File { return []File{{Name: "a", Data: fmt.Appendf(nil, "new %d", i)}} }); err != nil {
			return err
		}
		return recovers(s, filler)
	})
}

// readOnly makes a disk read-only for a while, as the kernel does after errors.
func readOnly(dir string) error {
	return onSmallDisk(dir, "", func(s *Share) error {
		ctx := context.Background()
		if _, err := s.Publish(ctx, 0, with(File{Name: "a", Data: []byte("good")})); err != nil {
			return err
		}
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return err
		}
		if p, err := s.Publish(ctx, 0, provenFiles("a")); !errors.Is(err, unix.EROFS) || p != (Published{}) {
			return fmt.Errorf("publish gives %+v, %v; want EROFS", p, err)
		}
		if got, err := Read(s.AuthDir()); err != nil || string(got.Files["a"]) != "good" {
			return fmt.Errorf("a reader finds %q, %v", got.Files["a"], err)
		}
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
			return err
		}
		return recovers(s, filepath.Join(dir, "filler"))
	})
}

// busy keeps an old generation from being removed. Its announcement has to be removed
// first, or the generation would count as complete.
func busy(dir string) error {
	return onSmallDisk(dir, "", func(s *Share) error {
		ctx := context.Background()
		for range 2 {
			if _, err := s.Publish(ctx, 0, provenFiles("a")); err != nil {
				return err
			}
		}
		in := filepath.Join(s.AuthDir(), layout.Generation(1))
		if err := unix.Mount("share-test", in, "tmpfs", 0, ""); err != nil {
			return err
		}
		if _, err := s.Prune(ctx, time.Now().Add(time.Hour)); !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("prune gives %v, want EBUSY", err)
		}
		if list := mustList(s); slices.Contains(list, layout.Announcement(1)) {
			return fmt.Errorf("generation 1 is still announced: %q", list)
		}
		if err := unix.Unmount(in, 0); err != nil {
			return err
		}
		return recovers(s, filepath.Join(dir, "filler"))
	})
}

// fullOfInodes leaves only the given number of inodes: each number lets the publish fail
// at another step.
func fullOfInodes(dir string, free int) error {
	return onSmallDisk(dir, "nr_inodes=64", func(s *Share) error {
		if _, err := s.Publish(context.Background(), 0, with(File{Name: "a", Data: []byte("good")})); err != nil {
			return err
		}
		fillers := filepath.Join(dir, "fillers")
		if err := os.Mkdir(fillers, 0o700); err != nil {
			return err
		}
		for {
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil {
				return err
			}
			if st.Ffree <= uint64(free) {
				break
			}
			if err := os.WriteFile(fmt.Sprintf("%s/%d", fillers, st.Ffree), nil, 0o600); err != nil {
				return err
			}
		}
		if err := stuck(s, dir); err != nil {
			return err
		}
		return recovers(s, fillers)
	})
}

// failing publishes a good generation, then fifty that must fail. It checks that the
// good one does not change and that no leftovers pile up.
func failing(s *Share, good []byte, build func(i int) []File) error {
	ctx := context.Background()
	if _, err := s.Publish(ctx, 0, with(File{Name: "a", Data: good})); err != nil {
		return err
	}
	before := mustList(s)
	for i := range 50 {
		p, err := s.Publish(ctx, 0, with(build(i)...))
		if !errors.Is(err, unix.ENOSPC) || p != (Published{}) {
			return fmt.Errorf("publish %d gives %+v, %v; want ENOSPC", i, p, err)
		}
		got, err := Read(s.AuthDir())
		if err != nil || !bytes.Equal(got.Files["a"], good) {
			return fmt.Errorf("after publish %d a reader finds %d bytes, %v", i, len(got.Files["a"]), err)
		}
		if now := mustList(s); !slices.Equal(now, before) {
			return fmt.Errorf("after publish %d auth/ holds %q, before it %q", i, now, before)
		}
	}
	return nil
}

// stuck publishes until a publish fails. Each published generation must be current or
// complete, and nothing may grow after that.
func stuck(s *Share, dir string) error {
	ctx := context.Background()
	var before []string
	for i, failures := 0, 0; failures < 20; i++ {
		was, err := s.Current()
		if err != nil {
			return err
		}
		p, err := s.Publish(ctx, 0, provenFiles("a"))
		now, rerr := Read(s.AuthDir())
		if rerr != nil {
			return rerr
		}
		if p.Changed && now.Generation != p.Generation || !p.Changed && now.Generation != was {
			return fmt.Errorf("publish gives %+v, %v, but current is %d after %d", p, err, now.Generation, was)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("publish %d: %w", i, err)
		}
		failures++
		list := mustList(s)
		if failures > 2 && !slices.Equal(list, before) {
			return fmt.Errorf("while publishes fail auth/ changes from %q to %q", before, list)
		}
		before = list
	}
	return nil
}

// recovers frees the disk. The next publish has to work, and pruning has to remove all
// leftovers of the failed ones.
func recovers(s *Share, filler string) error {
	ctx := context.Background()
	if err := os.RemoveAll(filler); err != nil {
		return err
	}
	p, err := s.Publish(ctx, 0, provenFiles("a"))
	if err != nil {
		return fmt.Errorf("with free space again: %w", err)
	}
	if _, err := s.Prune(ctx, time.Now().Add(time.Hour)); err != nil {
		return err
	}
	want := []string{"a", layout.Data, layout.Generation(p.Generation), layout.Announcement(p.Generation)}
	slices.Sort(want)
	if got := mustList(s); !slices.Equal(got, want) {
		return fmt.Errorf("in the end auth/ holds %q, want %q", got, want)
	}
	got, err := Read(s.AuthDir())
	if err != nil || !bytes.Equal(got.Files["a"], proven(p.Generation, "a")) {
		return fmt.Errorf("in the end a reader finds %q, %v", got.Files["a"], err)
	}
	return nil
}

func mustList(s *Share) []string {
	list, err := os.ReadDir(s.AuthDir())
	if err != nil {
		panic(err)
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name()
	}
	return names
}
