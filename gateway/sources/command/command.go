// Package command runs a command of the host whose output becomes a file, and finds out when
// that expires.
//
// The command gets an environment that is made for it, and not the one that the gateway was
// started in: HOME, USER, LOGNAME and XDG_RUNTIME_DIR of the gateway's user, PATH, LANG and SHELL. It has a deadline,
// and at its end all that it started is killed, also what runs in the background, in a session of
// its own or as a daemon. What it prints is bounded, and what it writes to standard error is
// thrown away: nobody can say that this is no secret.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
)

// Deadline bounds one run.
const Deadline = 30 * time.Second

// SearchPath is the commands' PATH, where programs are looked up that are named without a slash.
const SearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// workingDir is where commands run.
const workingDir = "/"

// maxArgs bounds a command's arguments, in bytes together.
const maxArgs = 8192

// Check refuses a command that can't be one.
func Check(argv []string) error {
	size := 0
	for _, arg := range argv {
		size += len(arg) + 1
		if strings.ContainsFunc(arg, unicode.IsControl) {
			return errors.New("a command with control characters can't be used")
		}
	}
	switch {
	case len(argv) == 0 || argv[0] == "":
		return errors.New("there is no command")
	case size > maxArgs:
		return fmt.Errorf("a command of %d bytes is too long: at most %d", size, maxArgs)
	case strings.Contains(argv[0], "/") && !filepath.IsAbs(argv[0]):
		return fmt.Errorf("%s is a relative path, and the gateway has another working directory: give an absolute one", argv[0])
	}
	return nil
}

// account is the gateway's user, looked up once: the lookup may ask a server.
var account = sync.OnceValue(func() *user.User {
	if u, err := user.Current(); err == nil {
		return u
	}
	return &user.User{Uid: strconv.Itoa(os.Geteuid()), HomeDir: "/"}
})

// Environment is what commands get.
func Environment() []string {
	u := account()
	env := []string{"PATH=" + SearchPath, "HOME=" + u.HomeDir, "LANG=C.UTF-8", "SHELL=/bin/sh"}
	if u.Username != "" {
		env = append(env, "USER="+u.Username, "LOGNAME="+u.Username)
	}
	if dir := "/run/user/" + u.Uid; isDir(dir) { // where keyrings are asked
		env = append(env, "XDG_RUNTIME_DIR="+dir)
	}
	return env
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// find returns the program's path.
func find(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for dir := range strings.SplitSeq(SearchPath, ":") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s in %s", name, SearchPath)
}

// Files returns what a command is made of, as far as its words tell: the program, and each
// argument that is the path of a file or a directory, or will be one once something is there. A
// relative one lies in the command's working directory, which is the root.
func Files(argv []string) (paths []string, err error) {
	program, err := find(argv[0])
	if err != nil {
		return nil, err
	}
	paths = append(paths, program)
	for _, arg := range argv[1:] {
		for _, part := range []string{arg, arg[strings.Index(arg, "=")+1:]} { // --config=FILE
			path := filepath.Join(workingDir, part)
			_, err := os.Stat(path)
			if (strings.Contains(part, "/") || part != "" && err == nil) && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

// ErrFlood means that a command printed more than it may.
var ErrFlood = errors.New("it prints too much")

// Run runs a command and returns what it prints, at most so many bytes. ctx ends it, too. Its errors
// hold nothing of what it prints.
func Run(ctx context.Context, argv []string, most int) ([]byte, error) {
	program, err := find(argv[0])
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	out := &bounded{left: most, flooded: cancel}
	err = run(ctx, program, argv, out)
	switch {
	case out.left < 0:
		return nil, fmt.Errorf("%w: at most %d KiB", ErrFlood, most>>10)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("it did not end within %v", Deadline)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	case len(bytes.TrimSpace(out.data)) == 0:
		return nil, errors.New("it prints nothing")
	}
	return out.data, nil
}

// run runs a command below a keeper, and returns how it ended.
func run(ctx context.Context, program string, argv []string, out io.Writer) error {
	alive, over, err := os.Pipe()
	if err != nil {
		return err
	}
	defer over.Close()
	tells, told, err := os.Pipe()
	if err != nil {
		alive.Close()
		return err
	}
	defer tells.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{keeperName, program}, argv...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.ExtraFiles = Environment(), workingDir, out, []*os.File{alive, told}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a key that ends the gateway leaves the keeper its work
	cmd.Cancel = over.Close
	cmd.WaitDelay = 2 * unwilling
	err = cmd.Start()
	alive.Close()
	told.Close()
	if err != nil {
		return fmt.Errorf("it can't be run: %w", err)
	}
	_ = cmd.Wait() // a failed write to out is known there
	text, _ := io.ReadAll(io.LimitReader(tells, 64))
	err = outcome(string(text), program)
	var failed *os.PathError
	if errors.As(err, &failed) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("it can't be run: %w", failed.Err)
	}
	return err
}

// bounded keeps what is written, up to a limit.
type bounded struct {
	data    []byte
	left    int // below 0 once there was too much
	flooded func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		b.data = nil
		b.flooded()
		return 0, ErrFlood
	}
	b.data = append(b.data, p...)
	return len(p), nil
}
