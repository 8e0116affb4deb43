package jailtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Errnos are the allowed results of attempts, by name; 0 means success.
type Errnos map[string][]syscall.Errno

// expected is how each attempt has to fail. One that is not listed has to fail with EPERM.
var expected = func() Errnos {
	e := Errnos{
		"a call of the x32 ABI": {unix.ENOSYS}, "clone3": {unix.ENOSYS},
		"list the root":                        {unix.EACCES},
		"mknod a device in the jail's tmpfs":   {unix.EACCES, unix.EPERM},
		"run a program of the share":           {unix.EACCES},
		"run a program of the jail's tmpfs":    {unix.EACCES},
		"run a program of the VM's disk":       {unix.EACCES},
		"connect to the host's loopback":       {unix.EACCES, unix.ENETUNREACH},
		"connect to an abstract socket":        {unix.ECONNREFUSED},
		"signal the host's process":            {unix.ESRCH},
		"open .. from an inherited descriptor": {unix.ENOTDIR, unix.EBADF},
		"write to /proc/sys":                   {unix.EROFS, unix.ENOENT}, // there may be none
		"become another user":                  {unix.EPERM, unix.EINVAL}, // the user may be unknown there

		"write a file at work": {0}, "rename it into another directory": {0},
		"make one by openat2":                        {unix.ENOSYS},
		"mknod a device at work":                     {unix.EACCES, unix.EPERM}, // by Landlock, or for want of a capability
		"mknod a terminal at work":                   {unix.EACCES, unix.EPERM},
		"run a program at work":                      {unix.EACCES},
		"open a link at work that leads to the keys": {unix.ENOENT},
		"link a program of the jail into it":         {unix.EXDEV},
		"write to what the jail's programs are":      {unix.EROFS, unix.EACCES, unix.ETXTBSY},
	}
	for _, name := range []string{
		"open /etc/shadow", "open the keys", "open another share", "open .. out of the share: /etc/shadow",
		"open .. out of the share: the keys", "open .. out of the share: another share", "open by the process's root",
		"open by the process's directory", "see the host's process", "list a masked directory", "connect to the gateway's socket",
	} {
		e[name] = []syscall.Errno{unix.ENOENT}
	}
	for _, name := range []string{
		"write to the share", "open a file of the share for writing", "truncate", "unlink", "rename", "chmod", "link", "symlink",
		"mkdir", "mknod a device in the share", "write below a submount of the share", "write to the jail's root",
		"write to a masked directory",
	} {
		e[name] = []syscall.Errno{unix.EROFS}
	}
	return e
}()

// Judge logs what Intrude wrote and compares it with what is expected. Of out it reads only
// the lines that begin with prefix. except has all attempts with other results than usual.
func Judge(t *testing.T, out, prefix string, targets Targets, except Errnos) {
	t.Helper()
	want := maps.Clone(expected)
	maps.Copy(want, except)
	made := readAttempts(t, out, prefix)
	for _, a := range made {
		allowed, ok := want[a.Name]
		if !ok {
			allowed = []syscall.Errno{unix.EPERM}
		}
		t.Logf("%-42s %s", a.Name, a.errno())
		if !slices.Contains(allowed, a.Errno) {
			t.Errorf("%s: %s (%s), not one of %v", a.Name, a.errno(), a.Says, allowed)
		}
	}
	expectAll(t, made, tries(targets))
}

// JudgeOutside wants every attempt of IntrudeOutside to have succeeded. If one fails without
// a jail, its failure in a jail proves nothing.
func JudgeOutside(t *testing.T, out string, targets Targets) {
	t.Helper()
	made := readAttempts(t, out, "")
	for _, a := range made {
		if a.Errno != 0 {
			t.Errorf("in a jail the attempt would prove nothing: %s: %s", a.Name, a.Says)
		}
	}
	expectAll(t, made, outside(tries(targets)))
	t.Logf("%d attempts succeed outside", len(made))
}

// expectAll wants each attempt to have been made.
func expectAll(t *testing.T, made []Attempt, want []try) {
	t.Helper()
	for i, try := range want {
		if i >= len(made) || made[i].Name != try.name {
			t.Fatalf("%d attempts were made of %d; number %d was to be: %s", len(made), len(want), i+1, try.name)
		}
	}
	if len(made) != len(want) {
		t.Fatalf("%d attempts were made of %d", len(made), len(want))
	}
}

func readAttempts(t *testing.T, out, prefix string) (made []Attempt) {
	t.Helper()
	for line := range strings.Lines(out) {
		text, ok := strings.CutPrefix(line, prefix+"{")
		if !ok {
			continue
		}
		var a Attempt
		if err := json.Unmarshal([]byte("{"+text), &a); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		made = append(made, a)
	}
	return made
}

func (a Attempt) errno() string {
	switch a.Errno {
	case 0:
		return "succeeds"
	case unknownErrno:
		return a.Says
	}
	return unix.ErrnoName(a.Errno)
}

var (
	someThread = regexp.MustCompile(`(?m)^.*thread (\d+)$`)
	noThread   = regexp.MustCompile(`failed to create new OS thread .*errno=(\d+)\)`)
)

// runtimeThreads is how many threads the Go runtime may have for itself.
const runtimeThreads = 12

// JudgeThreads checks what StartThreads wrote: when there were limit threads, the kernel must
// have refused another with EAGAIN. limit is 0 on a host that can't limit them.
func JudgeThreads(t *testing.T, out string, limit uint64) {
	t.Helper()
	if limit == 0 {
		t.Log("nothing limits root's tasks here")
		return
	}
	refused, started := noThread.FindStringSubmatch(out), someThread.FindAllStringSubmatch(out, -1)
	if refused == nil || started == nil {
		t.Errorf("%d threads were started and none was refused, of at most %d", len(started), limit)
		return
	}
	n, _ := strconv.ParseUint(started[len(started)-1][1], 10, 64)
	errno, _ := strconv.Atoi(refused[1])
	name := unix.ErrnoName(syscall.Errno(errno))
	t.Logf("%-42s %s", fmt.Sprintf("start thread %d, with a limit of %d", n+1, limit), name)
	if syscall.Errno(errno) != unix.EAGAIN || n > limit || n+runtimeThreads < limit {
		t.Errorf("thread %d was refused by %s, with a limit of %d", n+1, name, limit)
	}
}
