package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// endOfTransmission is the character that ends a terminal's input.
const endOfTransmission = 4

// longAgo is a deadline that ends a read at once.
var longAgo = time.Unix(1, 0)

// openPTY opens a new terminal in the sandbox. The master is in non-blocking mode, so
// that a deadline can interrupt a read.
func openPTY() (master, tty *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	name := fmt.Sprintf("/dev/pts/%d", number)
	var slave int
	if err == nil {
		slave, err = unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	return master, os.NewFile(uintptr(slave), name), nil
}
