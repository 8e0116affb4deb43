// Package command runs a command of the host whose output becomes a file, and finds out when
// that expires.
//
// The command gets an environment that is made for it, and not the one that the gateway was
// started in: HOME, USER, LOGNAME and XDG_RUNTIME_DIR of the gateway's user, PATH, LANG and SHELL. It has a process
// group and a deadline: at its end all of the group is killed. What it prints is bounded, and
// what it writes to standard error is thrown away: nobody can say that this is no secret.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// Deadline bounds one run.
const Deadline = 30 * time.Second

// searchPath is where programs are looked up that are named without a slash.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
	env := []string{"PATH=" + searchPath, "HOME=" + u.HomeDir, "LANG=C.UTF-8", "SHELL=/bin/sh"}
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
	for dir := range strings.SplitSeq(searchPath, ":") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s in %s", name, searchPath)
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
	cmd := exec.CommandContext(ctx, program, argv[1:]...)
	cmd.Args[0], cmd.Env, cmd.Dir, cmd.Stdout = argv[0], Environment(), workingDir, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = time.Second // a child that left the group may keep the pipe open
	err = run(cmd)
	var exit *exec.ExitError
	switch {
	case out.left < 0:
		return nil, fmt.Errorf("%w: at most %d KiB", ErrFlood, most>>10)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("it did not end within %v", Deadline)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &exit):
		return nil, fmt.Errorf("it ended with %s", exit.ProcessState)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil, errors.New("it left a process behind that keeps its output open")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("it can't be run: %w", err)
	case len(bytes.TrimSpace(out.data)) == 0:
		return nil, errors.New("it prints nothing")
	}
	return out.data, nil
}

// run runs the command, and ends what it left in the background. It keeps a thread for itself: the
// signal at the gateway's death is sent when the thread that started the command ends.
func run(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	pid, err := cmd.Process.Pid, error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	_ = killGroup(pid) // as long as the leader is not reaped, no other group can have its number
	return cmd.Wait()
}

// killGroup kills a command's process group.
func killGroup(pid int) error {
	if err := unix.Kill(-pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return err
	}
	return nil
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
