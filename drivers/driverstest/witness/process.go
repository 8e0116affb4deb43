package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// self tells what a process has of its image and its user.
func self() {
	groups, _ := os.Getgroups()
	groups = slices.DeleteFunc(groups, func(g int) bool { return g == os.Getgid() }) // Docker has it there, too
	slices.Sort(groups)
	dir, err := os.Getwd()
	fmt.Println(os.Getuid(), os.Getgid(), groups)
	fmt.Println(dir, err)
	for _, kv := range os.Environ() {
		fmt.Println(kv)
	}
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

// beat tells that it lives. It never reads, and no signal of a terminal ends it.
func beat(path string) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE)
	for said := false; ; time.Sleep(10 * time.Millisecond) {
		next := path + ".next"
		err := os.WriteFile(next, strconv.AppendInt(nil, time.Now().UnixNano(), 10), 0o644)
		if err = errors.Join(err, os.Rename(next, path)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if !said {
			fmt.Println("ready")
			said = true
		}
	}
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
