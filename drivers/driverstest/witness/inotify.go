package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// inotify does what programs do that watch a directory of Kubernetes: it waits for a new ..data, and
// then reads sandbox.jwt. It says "ready" when it watches, and after each event what the file has and
// where ..data leads.
func inotify(dir string) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err == nil {
		_, err = unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO)
	}
	if err != nil {
		fmt.Println("bad:", err)
		return
	}
	fmt.Println("ready")
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil {
			fmt.Println("bad:", err)
			return
		}
		if !strings.Contains(string(buf[:n]), "..data\x00") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "sandbox.jwt"))
		target, _ := os.Readlink(filepath.Join(dir, "..data"))
		if err != nil {
			fmt.Println("bad:", err)
			continue
		}
		fmt.Printf("event: %s, %s\n", strings.TrimSpace(string(data)), target)
	}
}
