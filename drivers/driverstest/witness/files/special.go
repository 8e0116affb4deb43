package files

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

func watches(dir string) error {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVED_TO); err != nil {
		return err
	}
	if err := errors.Join(put(dir+"/f", "x"), os.Rename(dir+"/f", dir+"/g")); err != nil {
		return err
	}
	events := make([]byte, 4096)
	n, err := unix.Read(fd, events)
	if err != nil || n < 3*unix.SizeofInotifyEvent {
		return fmt.Errorf("%d bytes of events, %v", n, err)
	}
	return nil
}

func fifo(dir string) error {
	if err := unix.Mkfifo(dir+"/f", 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(dir+"/f", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("x")
	return err
}

func localSocket(dir string) error {
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("unix", dir+"/s")
	if err != nil {
		return err
	}
	return c.Close()
}

func deviceNode(dir string) error { return unix.Mknod(dir+"/d", unix.S_IFBLK|0o600, 8<<8) }
