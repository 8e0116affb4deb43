package share

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestEveryUmask runs in other processes, because the umask belongs to a process. They
// run as this user. If that is root, others run as an ordinary user, whom modes restrict.
func TestEveryUmask(t *testing.T) {
	t.Run("this user", func(t *testing.T) {
		runChild(t, child(t, "umasks", fastDir(t)))
	})
	t.Run("ordinary user", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("this user is one")
		}
		dir := fastDir(t)
		if err := os.Chown(dir, ordinaryUser, ordinaryUser); err != nil {
			t.Fatal(err)
		}
		cmd := child(t, "umasks", dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinaryUser, Gid: ordinaryUser}}
		cmd.Dir = "/"
		runChild(t, cmd)
	})
}

const ordinaryUser = 54321

// childUmasks makes a share below args[0] under each umask there is.
func childUmasks(args []string) error {
	for mask := 0; mask <= 0o777; mask++ {
		syscall.Umask(mask)
		if err := underUmask(filepath.Join(args[0], strconv.Itoa(mask))); err != nil {
			return fmt.Errorf("umask %03o: %w", mask, err)
		}
	}
	return nil
}

func underUmask(path string) error {
	modes := Options{Grace: time.Nanosecond}
	for _, opts := range []Options{modes, {Grace: 1, DirMode: 0o500, FileMode: 0o400}} {
		s, err := Create(path, opts)
		if err != nil {
			return err
		}
		for i := range 2 {
			data := fmt.Appendf(nil, "%v %d", opts.FileMode, i)
			if _, err := s.Publish(context.Background(), 0, with(File{Name: "a", Data: data})); err != nil {
				return err
			}
			if err := checkModes(s); err != nil {
				return err
			}
			if got, err := Read(s.AuthDir()); err != nil || string(got.Files["a"]) != string(data) {
				return fmt.Errorf("read back %q: %w", got.Files["a"], err)
			}
		}
	}
	s, err := Open(path, modes)
	if err != nil {
		return err
	}
	return s.Remove(context.Background())
}
