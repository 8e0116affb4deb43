package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func writeAndRead(dir string) error {
	text := strings.Repeat("0123456789abcdef", 40_000)
	return errors.Join(put(dir+"/f", text), has(dir+"/f", text), put(dir+"/f", "short"), has(dir+"/f", "short"))
}

func appends(dir string) error {
	for range 3 {
		f, err := os.OpenFile(dir+"/f", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if _, err = f.WriteString("line\n"); errors.Join(err, f.Close()) != nil {
			return err
		}
	}
	return has(dir+"/f", "line\nline\nline\n")
}

// object makes a file as git does: written through a descriptor although nobody may write to
// it, then linked to its name.
func object(dir string) error {
	f, err := os.OpenFile(dir+"/tmp_obj", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o444)
	if err != nil {
		return err
	}
	_, err = f.WriteString("blob")
	if _, again := os.OpenFile(dir+"/tmp_obj", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o444); !errors.Is(again, os.ErrExist) {
		err = errors.Join(err, fmt.Errorf("made twice: %v", again))
	}
	return errors.Join(err, f.Sync(), f.Close(), os.Link(dir+"/tmp_obj", dir+"/object"),
		os.Remove(dir+"/tmp_obj"), has(dir+"/object", "blob"))
}

func nameless(dir string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		return err
	}
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, dir+"/f", unix.AT_SYMLINK_FOLLOW)
	return errors.Join(err, has(dir+"/f", "x"))
}

func syncs(dir string) error {
	f, err := os.Create(dir + "/f")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("x")
	d, failed := os.Open(dir)
	if failed != nil {
		return failed
	}
	defer d.Close()
	return errors.Join(err, f.Sync(), unix.Fdatasync(int(f.Fd())), d.Sync(), unix.Syncfs(int(d.Fd())))
}

func mapShared(dir string) error {
	f, err := os.Create(dir + "/f")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(8192); err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m[4096:], "mapped")
	got := make([]byte, 6)
	err = errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
	if _, failed := f.ReadAt(got, 4096); failed != nil || string(got) != "mapped" {
		err = errors.Join(err, fmt.Errorf("%q, %v", got, failed))
	}
	return err
}

func truncates(dir string) error {
	return errors.Join(put(dir+"/f", "0123456789"), os.Truncate(dir+"/f", 4), has(dir+"/f", "0123"),
		os.Truncate(dir+"/f", 6), has(dir+"/f", "0123\x00\x00"))
}

func sparse(dir string) error {
	f, err := os.Create(dir + "/f")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("end"), 100<<20); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Size != 100<<20+3 || st.Blocks > 2048 {
		return fmt.Errorf("%d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
	return nil
}

func holes(dir string) error {
	f, err := os.Create(dir + "/f")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(bytes.Repeat([]byte("x"), 64<<10))
	return errors.Join(err, unix.Fallocate(int(f.Fd()), 0, 0, 1<<20),
		unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 4096))
}

func copyRange(dir string) error {
	if err := put(dir+"/a", "copied"); err != nil {
		return err
	}
	from, err := os.Open(dir + "/a")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(dir + "/b")
	if err != nil {
		return err
	}
	defer to.Close()
	n, err := unix.CopyFileRange(int(from.Fd()), nil, int(to.Fd()), nil, 6, 0)
	if err == nil && n != 6 {
		err = fmt.Errorf("%d bytes", n)
	}
	return errors.Join(err, has(dir+"/b", "copied"))
}

func runsProgram(dir string) error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/program", self, 0o755); err != nil {
		return err
	}
	p, err := os.StartProcess(dir+"/program", []string{"program", "ls"}, &os.ProcAttr{})
	if err != nil {
		return err
	}
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = errors.New(state.String())
	}
	return err
}
