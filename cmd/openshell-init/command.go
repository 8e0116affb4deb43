package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/vocab"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Exit codes of container tools for a command that can't be run.
const (
	codeNotExecutable = 126
	codeNotFound      = 127
)

// notRunnable says in one line why a user's command can't be run.
type notRunnable struct {
	code   int
	reason string
}

func (e *notRunnable) Error() string { return e.reason }

func notExecutable(format string, args ...any) error {
	return &notRunnable{codeNotExecutable, fmt.Sprintf(format, args...)}
}

// command is a vocab.Process whose user and program are looked up.
type command struct {
	file string // absolute, or relative to dir
	args []string
	env  []string
	dir  string
	cred syscall.Credential
}

// resolve looks up the user and the program that p names. It runs on the sandbox's
// thread. Its errors are *notRunnable.
func resolve(p vocab.Process) (command, error) {
	id, err := lookUpUser(p.User)
	if err != nil {
		return command{}, notExecutable("%v", err)
	}
	c := command{args: p.Args, dir: p.Dir, env: withDefaults(p, id.Home)}
	if c.dir == "" {
		c.dir = "/"
	}
	if info, err := os.Stat(c.dir); err != nil {
		return command{}, notExecutable("working directory: %v", err)
	} else if !info.IsDir() {
		return command{}, notExecutable("working directory %s is not a directory", c.dir)
	}
	c.cred = syscall.Credential{Uid: uint32(id.Uid), Gid: uint32(id.Gid)}
	c.cred.Groups = []uint32{c.cred.Gid} // among the others, as container tools have it
	for _, g := range id.Sgids {
		if g := uint32(g); !slices.Contains(c.cred.Groups, g) {
			c.cred.Groups = append(c.cred.Groups, g)
		}
	}
	c.file, err = lookPath(p.Args[0], getenv(c.env, "PATH"))
	return c, err
}

// lookUpUser resolves "USER" or "USER:GROUP", names or numbers, by the sandbox's own
// /etc/passwd and /etc/group; "" is root.
func lookUpUser(spec string) (*user.ExecUser, error) {
	defaults := user.ExecUser{Home: "/"}
	passwd, group := bytes.NewReader(readPlain("/etc/passwd")), bytes.NewReader(readPlain("/etc/group"))
	id, err := user.GetExecUser(spec, &defaults, passwd, group)
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", spec, err)
	}
	return id, nil
}

// maxPlain bounds how much of a sandbox's file is read, in bytes.
const maxPlain = 4 << 20

// readPlain reads a file of the sandbox. It treats a file that it can't read as missing.
// The name may lead to anything: a FIFO, for one, must not block the open.
func readPlain(name string) []byte {
	f, err := plainfile.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPlain))
	if err != nil {
		return nil
	}
	return data
}

// withDefaults returns the environment of p with the variables that every process can
// rely on. If a variable is set several times, the last value wins.
func withDefaults(p vocab.Process, home string) []string {
	env := []string{"PATH=" + defaultPath, "HOME=" + home}
	if name, err := os.Hostname(); err == nil {
		env = append(env, "HOSTNAME="+name)
	}
	if p.Terminal {
		env = append(env, "TERM=xterm")
	}
	return mergeEnv(env, p.Env)
}

func mergeEnv(base, over []string) []string {
	at := map[string]int{}
	var env []string
	for _, kv := range slices.Concat(base, over) {
		key, _, _ := strings.Cut(kv, "=")
		if i, ok := at[key]; ok {
			env[i] = kv
			continue
		}
		at[key] = len(env)
		env = append(env, kv)
	}
	return env
}

func getenv(env []string, key string) string {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, key+"="); ok {
			return value
		}
	}
	return ""
}

// inherit gives an exec's process what it does not set itself: the workload's
// environment, user and directory. Container tools do the same.
func inherit(p, workload vocab.Process) vocab.Process {
	p.Env = mergeEnv(workload.Env, p.Env)
	if p.User == "" {
		p.User = workload.User
	}
	if p.Dir == "" {
		p.Dir = workload.Dir
	}
	return p
}

// lookPath finds the program's file. It returns a name with a slash as it is: if that
// can't be run, the kernel's error says best why.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var denied error
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		switch {
		case err != nil:
			if errors.Is(err, fs.ErrPermission) {
				denied = err
			}
		case info.IsDir() || info.Mode()&0o111 == 0:
			denied = fmt.Errorf("%s is not executable", file)
		default:
			return file, nil
		}
	}
	if denied != nil {
		return "", notExecutable("exec: %q: %v", name, denied)
	}
	return "", &notRunnable{codeNotFound, fmt.Sprintf("exec: %q: executable file not found in $PATH", name)}
}

// execError turns the kernel's error for a program into a *notRunnable, in the words that
// container tools have. The kernel says ENOENT of a missing interpreter, too.
func execError(name string, c command, err error) error {
	code := codeNotExecutable
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		code = codeNotFound
		file := c.file
		if !filepath.IsAbs(file) {
			file = filepath.Join(c.dir, file)
		}
		if _, missing := os.Stat(file); missing != nil {
			err = missing
		} else {
			err = fmt.Errorf("its interpreter or loader: %w", err)
		}
	}
	return &notRunnable{code, fmt.Sprintf("exec: %q: %v", name, err)}
}
