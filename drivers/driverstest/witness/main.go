// Command witness is what the conformance suite runs inside a sandbox. It says
// what it sees and what it can do, one line each; the suite judges.
//
//	witness watch DIR          "N TEXT" for each new content of DIR/sandbox.jwt
//	witness race DIR           reads as fast as it can until its input ends, then "reads=N bad=N last=N"
//	witness tamper DIR…        tries to change each directory in every way; "WAY PATH: ERROR" or "WAY PATH: DONE"
//	witness ls DIR…            every path below, one line each
//	witness size               "ROWSxCOLS" of its terminal, again when it changes
//	witness hold               "ready", then nothing until SIGTERM
//	witness signals            the number of each signal it gets; SIGTERM ends it
package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/driverstest/content"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "witness: what?")
		os.Exit(2)
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "watch":
		watch(filepath.Join(args[0], "sandbox.jwt"))
	case "race":
		race(filepath.Join(args[0], "sandbox.jwt"))
	case "tamper":
		for _, dir := range args {
			tamper(dir)
		}
	case "ls":
		for _, dir := range args {
			list(dir)
		}
	case "size":
		size()
	case "hold":
		hold()
	case "signals":
		signals()
	default:
		fmt.Fprintf(os.Stderr, "witness: unknown %q\n", os.Args[1])
		os.Exit(2)
	}
}

// watch reads a thousand times a second and reports what is new, and every error.
func watch(path string) {
	last := ""
	for ; ; time.Sleep(time.Millisecond) {
		now := ""
		if data, err := os.ReadFile(path); err != nil {
			now = "0 " + err.Error()
		} else if n, err := content.Check(data); err != nil {
			now = "0 " + err.Error()
		} else {
			now = fmt.Sprintf("%d ok", n)
		}
		if now != last {
			fmt.Println(now)
			last = now
		}
	}
}

func race(path string) {
	var done atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		done.Store(true)
	}()
	fmt.Println("ready")
	reads, bad, last := 0, 0, uint64(0)
	for !done.Load() {
		data, err := os.ReadFile(path)
		n := uint64(0)
		if err == nil {
			n, err = content.Check(data)
		}
		if err == nil && n < last {
			err = fmt.Errorf("generation %d after %d", n, last)
		}
		if err != nil {
			bad++
			fmt.Println("bad:", err)
		}
		reads++
		last = max(last, n)
	}
	fmt.Printf("reads=%d bad=%d last=%d\n", reads, bad, last)
}

// tamper tries what a hostile root in the sandbox would.
func tamper(dir string) {
	file := ""
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && file == "" && e.Type().IsRegular() {
			file = path
		}
		return nil
	})
	try := func(way, path string, err error) {
		if err == nil {
			fmt.Printf("%s %s: DONE\n", way, path)
			return
		}
		fmt.Printf("%s %s: %v\n", way, path, err)
	}
	attempts := func() {
		fresh := filepath.Join(dir, "tampered")
		_, err := os.Create(fresh)
		try("create", fresh, err)
		try("mkdir", fresh, os.Mkdir(fresh, 0o755))
		try("symlink", fresh, os.Symlink("/", fresh))
		try("mknod", fresh, syscall.Mknod(fresh, syscall.S_IFIFO|0o600, 0))
		try("rename", dir, os.Rename(dir, dir+".old"))
		try("chmod", dir, os.Chmod(dir, 0o777))
		try("chown", dir, os.Chown(dir, 1, 1))
		try("utimes", dir, os.Chtimes(dir, time.Unix(1, 0), time.Unix(1, 0)))
		try("setxattr", dir, unix.Setxattr(dir, "user.x", []byte("x"), 0))
		if file != "" {
			_, err := os.OpenFile(file, os.O_WRONLY, 0)
			try("open", file, err)
			try("truncate", file, os.Truncate(file, 0))
			try("unlink", file, os.Remove(file))
			try("link", file, os.Link(file, fresh))
			try("chmod", file, os.Chmod(file, 0o777))
		}
	}
	attempts()
	try("remount", dir, unix.Mount("none", dir, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	try("remountfs", dir, unix.Mount("none", dir, "", unix.MS_REMOUNT, ""))
	attempts()
}

func list(dir string) {
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			fmt.Printf("%s: %v\n", path, err)
		} else {
			fmt.Println(path)
		}
		return nil
	})
}

func size() {
	last := ""
	for ; ; time.Sleep(10 * time.Millisecond) {
		w, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		now := ""
		if err != nil {
			now = strings.ReplaceAll(err.Error(), " ", "-")
		} else {
			now = fmt.Sprintf("%dx%d", w.Row, w.Col)
		}
		if now != last {
			fmt.Println(now)
			last = now
		}
	}
}

func hold() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("ready")
	<-c
}

func signals() {
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM)
	fmt.Println("ready")
	for s := range c {
		fmt.Println(int(s.(syscall.Signal)))
		if s == syscall.SIGTERM {
			os.Exit(42)
		}
	}
}
