// Command writer is the intruder of the end-to-end tests inside a sandbox. It tries every kind of
// write on a share, and prints one line for each: what it tried, and the errno's name.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func main() {
	prepare := flag.String("prepare", "true", "shell command to run first; its failure is no failure")
	flag.Parse()
	dir := flag.Arg(0)
	_ = exec.Command("/bin/sh", "-c", *prepare).Run()

	token := filepath.Join(dir, "sandbox.jwt")
	data := filepath.Join(dir, "..data")
	fresh := filepath.Join(dir, "new")
	open := func(path string, flags int) error {
		fd, err := unix.Open(path, flags, 0o666)
		if err == nil {
			_, err = unix.Write(fd, []byte("x"))
			unix.Close(fd)
		}
		return err
	}
	tries := []struct {
		what string
		err  error
	}{
		{"create", open(fresh, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)},
		{"open-for-writing", open(token, unix.O_WRONLY)},
		{"open-read-write", open(token, unix.O_RDWR)},
		{"open-append", open(token, unix.O_WRONLY|unix.O_APPEND)},
		{"open-truncate", open(token, unix.O_WRONLY|unix.O_TRUNC)},
		{"truncate", unix.Truncate(token, 0)},
		{"unlink", unix.Unlink(token)},
		{"rename-over", unix.Rename(data, token)},
		{"rename-away", unix.Rename(token, fresh)},
		{"symlink", unix.Symlink("/etc/passwd", fresh)},
		{"link", unix.Link(filepath.Join(data, "sandbox.jwt"), fresh)},
		{"mkdir", unix.Mkdir(fresh, 0o777)},
		{"rmdir", unix.Rmdir(generation(dir))},
		{"mknod", unix.Mknod(fresh, unix.S_IFIFO|0o666, 0)},
		{"chmod", unix.Chmod(token, 0o666)},
		{"chown", unix.Chown(token, 1, 1)},
		{"utimes", unix.Utimes(token, []unix.Timeval{{Sec: 1}, {Sec: 1}})},
		{"setxattr", unix.Setxattr(token, "user.x", []byte("x"), 0)},
	}
	for _, try := range tries {
		fmt.Println(try.what, name(try.err))
	}
}

// generation returns the directory to which ..data points.
func generation(dir string) string {
	target, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		return dir
	}
	return filepath.Join(dir, target)
}

func name(err error) string {
	if errno, ok := err.(unix.Errno); ok {
		return unix.ErrnoName(errno)
	}
	return fmt.Sprint("OK ", err)
}
