package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/content"
)

// watch reads a thousand times a second and reports what is new, and every error.
func watch(path string) {
	last := ""
	for ; ; time.Sleep(time.Millisecond) {
		if now := look(path); now != last {
			fmt.Println(now)
			last = now
		}
	}
}

// look reads once.
func look(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "0 " + err.Error()
	}
	n, err := content.Check(data)
	if err != nil {
		return "0 " + err.Error()
	}
	return fmt.Sprintf("%d ok", n)
}

func answer(path string) {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(look(path))
	}
}

// inputEnded turns true at the input's end.
func inputEnded() *atomic.Bool {
	done := new(atomic.Bool)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		done.Store(true)
	}()
	return done
}

func race(path string) {
	done := inputEnded()
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

// contract reports; the suite knows what is right.
func contract() {
	c := content.Contract{UID: os.Getuid(), Env: map[string]string{}, Errors: map[string]string{}}
	for _, name := range []string{drivers.TokenFileEnv, drivers.AuthModeEnv} {
		c.Env[name] = os.Getenv(name)
	}
	note := func(what string, err error) {
		if err != nil {
			c.Errors[what] = err.Error()
		}
	}
	token, err := os.ReadFile(os.Getenv(drivers.TokenFileEnv))
	note("token", err)
	c.Token, err = content.Check(token)
	note("content", err)
	c.Metadata, err = os.ReadFile(drivers.MetadataFile)
	note("metadata", err)
	entries, err := os.ReadDir(drivers.AuthDir)
	note("list", err)
	for _, e := range entries {
		c.Names = append(c.Names, e.Name())
	}
	_, err = os.OpenFile(drivers.TokenFile, os.O_WRONLY, 0)
	note("write", err)
	_ = json.NewEncoder(os.Stdout).Encode(c)
}

// pairs reads both files as a program does that needs them of one generation.
func pairs(dir string) {
	done := inputEnded()
	fmt.Println("ready")
	n, bad, last := 0, 0, uint64(0)
	for !done.Load() {
		generation, err := pair(filepath.Join(dir, "..data"))
		if err != nil {
			bad++
			fmt.Println("bad:", err)
		}
		n++
		last = max(last, generation)
	}
	fmt.Printf("pairs=%d bad=%d last=%d\n", n, bad, last)
}

func pair(dir string) (uint64, error) {
	data, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer data.Close()
	token, err := data.ReadFile("sandbox.jwt")
	if err != nil {
		return 0, err
	}
	generation, err := content.Check(token)
	if err != nil {
		return 0, err
	}
	raw, err := data.ReadFile("metadata.json")
	if err != nil {
		return generation, err
	}
	var m drivers.Metadata
	if err := json.Unmarshal(raw, &m); err != nil {
		return generation, err
	}
	if m.Generation != generation {
		return generation, fmt.Errorf("the token is of generation %d, its metadata of %d", generation, m.Generation)
	}
	return generation, nil
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
