package files

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func modes(dir string) error {
	err := put(dir+"/f", "x")
	for _, want := range []os.FileMode{0o600, 0o444, 0o755, 0o000} {
		err = errors.Join(err, os.Chmod(dir+"/f", want))
		if info, failed := os.Stat(dir + "/f"); failed != nil || info.Mode() != want {
			return errors.Join(err, failed, fmt.Errorf("not %v", want))
		}
	}
	if os.Getuid() == 0 { // root is not kept out by a mode
		err = errors.Join(err, has(dir+"/f", "x"), put(dir+"/f", "y"))
	}
	return err
}

func owners(dir string) error {
	err := errors.Join(put(dir+"/f", "x"), os.Chown(dir+"/f", 1234, 2345))
	var st unix.Stat_t
	if failed := unix.Stat(dir+"/f", &st); err == nil && (failed != nil || st.Uid != 1234 || st.Gid != 2345) {
		err = fmt.Errorf("it belongs to %d:%d, %v", st.Uid, st.Gid, failed)
	}
	return err
}

func times(dir string) error {
	when := time.Unix(1_000_000_000, 123_000_000)
	err := errors.Join(put(dir+"/f", "x"), os.Chtimes(dir+"/f", when, when))
	if info, failed := os.Stat(dir + "/f"); failed != nil || !info.ModTime().Equal(when) {
		err = errors.Join(err, failed, errors.New("it has another time"))
	}
	return err
}

func attribute(dir string) error {
	err := errors.Join(put(dir+"/f", "x"), unix.Setxattr(dir+"/f", "user.test", []byte("value"), 0))
	got := make([]byte, 10)
	if n, failed := unix.Getxattr(dir+"/f", "user.test", got); failed != nil || string(got[:max(n, 0)]) != "value" {
		return errors.Join(err, fmt.Errorf("read back: %q, %v", got[:max(n, 0)], failed))
	}
	return errors.Join(err, unix.Removexattr(dir+"/f", "user.test"))
}

func setUser(dir string) error {
	return errors.Join(put(dir+"/f", "x"), unix.Chmod(dir+"/f", unix.S_ISUID|0o755))
}

func setGroup(dir string) error {
	if err := errors.Join(os.Mkdir(dir+"/d", 0o755), unix.Chmod(dir+"/d", unix.S_ISGID|0o755)); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/d", &st); err != nil || st.Mode&unix.S_ISGID == 0 {
		return fmt.Errorf("its mode is %o, %v", st.Mode, err)
	}
	return nil
}

// fileCapability sets cap_net_raw.
func fileCapability(dir string) error {
	value := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	return errors.Join(put(dir+"/f", "x"), unix.Setxattr(dir+"/f", "security.capability", value, 0))
}
