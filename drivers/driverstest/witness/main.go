// Command witness is what the conformance suite runs inside a sandbox. It says
// what it sees and what it can do, one line each; the suite judges.
//
//	witness watch DIR          "N TEXT" for each new content of DIR/sandbox.jwt
//	witness answer DIR         for each line of its input what DIR/sandbox.jwt has then, as "N TEXT"
//	witness race DIR           reads as fast as it can until its input ends, then "reads=N bad=N last=N"
//	witness contract           as JSON, what of the contract this process sees (content.Contract)
//	witness pairs DIR          reads both files through ..data until its input ends, then "pairs=N bad=N last=N"
//	witness tamper DIR…        tries to change each directory in every way; "WAY PATH: ERROR" or "WAY PATH: DONE"
//	witness ls DIR…            every path below, one line each
//	witness tree DIR           what it sees of each path below, as JSON (content.Seen)
//	witness files DIR          does there what programs do with files; "NAME: ok" or "NAME: ERROR"
//	witness whole DIR          what an image says of each path below, one line each (content.Whole)
//	witness digest DIR         the number and the hash of those lines
//	witness self               its user and groups, directory and environment, one line each
//	witness size               "ROWSxCOLS" of its terminal, again when it changes
//	witness hold               "ready", then nothing until SIGTERM
//	witness sum                sleeps, then the length and hash of its input
//	witness give N             N bytes, and on stderr their length and hash
//	witness both N             N bytes, while it sums its input; then both sums on stderr
//	witness beat FILE          in FILE the time, as nanoseconds since 1970, again and again
//	witness signals            the number of each signal it gets; SIGTERM ends it
//	witness net WHAT …         see network.go
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/content"
	"openshell-vm/internal/stream/streamtest/source"
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
	case "answer":
		answer(filepath.Join(args[0], "sandbox.jwt"))
	case "race":
		race(filepath.Join(args[0], "sandbox.jwt"))
	case "contract":
		contract()
	case "pairs":
		pairs(args[0])
	case "tamper":
		for _, dir := range args {
			tamper(dir)
		}
	case "ls":
		for _, dir := range args {
			list(dir)
		}
	case "tree":
		out := json.NewEncoder(os.Stdout)
		content.Tree(args[0], func(s content.Seen) { _ = out.Encode(s) })
	case "files":
		files(args[0])
	case "whole":
		content.Whole(args[0], func(line string) { fmt.Println(line) })
	case "digest":
		fmt.Println(content.Digest(args[0]))
	case "self":
		self()
	case "size":
		size()
	case "hold":
		hold()
	case "echo":
		echo(args[0])
	case "sum":
		sum()
	case "give":
		give(args[0])
	case "both":
		both(args[0])
	case "beat":
		beat(args[0])
	case "signals":
		signals()
	case "net":
		network(args[0], args[1:])
	default:
		fmt.Fprintf(os.Stderr, "witness: unknown %q\n", os.Args[1])
		os.Exit(2)
	}
}

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

// echo sends back what comes to a port, over TCP and UDP.
func echo(port string) {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		fmt.Println(err)
		return
	}
	packets, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for buf := make([]byte, 1500); ; {
			if n, from, err := packets.ReadFrom(buf); err == nil {
				_, _ = packets.WriteTo(buf[:n], from)
			}
		}
	}()
	go func() {
		for {
			if c, err := l.Accept(); err == nil {
				go func() {
					_, _ = io.Copy(c, c)
					c.Close()
				}()
			}
		}
	}()
	hold()
}

func sum() {
	time.Sleep(2 * time.Second)
	var s source.Sum
	if _, err := io.Copy(&s, os.Stdin); err != nil {
		fmt.Println(err)
	}
	fmt.Println(&s)
}

func give(n string) {
	count, _ := strconv.Atoi(n)
	from := source.New(count)
	if _, err := io.Copy(os.Stdout, from); err != nil {
		fmt.Println(err)
	}
	fmt.Fprintln(os.Stderr, from.Sum())
}

// both sums its input while it gives output.
func both(n string) {
	count, _ := strconv.Atoi(n)
	var in source.Sum
	read := make(chan error)
	go func() {
		_, err := io.Copy(&in, os.Stdin)
		read <- err
	}()
	out := source.New(count)
	_, err := io.Copy(os.Stdout, out)
	if err = errors.Join(err, <-read); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "in %s\nout %s\n", &in, out.Sum())
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
