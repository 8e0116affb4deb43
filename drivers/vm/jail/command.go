package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/cgroup"
)

// setupTimeout bounds the time from the start of a jail to its exec. That takes tens of
// milliseconds, but forever if a source lies on a dead network file system.
const setupTimeout = 15 * time.Second

// Cmd is a command that runs in a jail. Set Stdin, Stdout and Stderr of the
// embedded Cmd to files before Start; its Path, Args, Env, Dir, ExtraFiles and
// SysProcAttr are the jail's own. A Cmd is for one start and one goroutine at
// a time.
type Cmd struct {
	*exec.Cmd
	config *os.File     // for the child; closed by Start
	answer *os.File     // the child's end of the report pipe; closed by Start
	parent *os.File     // a pidfd of this process, by which the child sees whether it lives; closed by Start
	reader *os.File     // our end of the report pipe
	cgroup cgroup.Group // removed by Wait or Close
	report Report
}

// Command prepares cfg's program to run in a jail. self is a binary that calls Main for
// the argument "jail". The extra files become the program's descriptors 3, 4, …; beside
// them it inherits only the standard ones. The caller keeps its own copies.
//
// The jail dies with the operating system thread that calls Start, whenever that ends.
// So the thread has to live as long as the process. That holds for a goroutine that
// called runtime.LockOSThread and never returns, and for any goroutine of a process in
// which none ends while it is locked to its thread.
//
// The program is process 1 of its own process namespace. Signals that it does not
// handle do nothing to it, except SIGKILL and SIGSTOP from outside. Its death ends all
// processes that it has started.
func Command(self string, cfg Config, extra ...*os.File) (*Cmd, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return command(self, setup{Config: cfg}, extra...)
}

func command(self string, s setup, extra ...*os.File) (*Cmd, error) {
	var err error
	if s.ParentUserNS, err = userNamespace(); err != nil {
		return nil, err
	}
	s.Root = os.Geteuid() == 0
	first := 3 + len(extra)
	s.ParentFD = first + 2
	if s.Cgroup, s.NoCgroup, err = makeCgroup(s.Config); err != nil {
		return nil, fmt.Errorf("make the jail's cgroup: %w", err)
	}
	c, err := prepare(self, s, first, extra...)
	if err != nil {
		counting(s.Cgroup).Remove()
	}
	return c, err
}

// prepare makes the command. The descriptors from first on are the jail's own.
func prepare(self string, s setup, first int, extra ...*os.File) (*Cmd, error) {
	config, err := memoryFile(s)
	if err != nil {
		return nil, err
	}
	parent, err := ownProcess()
	if err != nil {
		config.Close()
		return nil, err
	}
	reader, answer, err := os.Pipe()
	if err != nil {
		closeFiles(config, parent)
		return nil, err
	}
	cmd := exec.Command(self, "jail", strconv.Itoa(first), strconv.Itoa(first+1))
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.ExtraFiles = append(append([]*os.File{}, extra...), config, answer, parent)
	cmd.SysProcAttr, err = attributes(s.Config.Network)
	c := &Cmd{Cmd: cmd, config: config, answer: answer, parent: parent, reader: reader, cgroup: counting(s.Cgroup)}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// setup is what the parent tells the jail.
type setup struct {
	Config       Config
	ParentUserNS string
	Cgroup       cgroup.Group
	NoCgroup     string // why there is none
	ParentFD     int    // a pidfd of the parent; 0 if an older version's parent passed none
	Root         bool   // the parent's user is root
	Trial        bool   // report, and do not exec
}

// memoryFile returns a memory file with s as JSON, positioned at its start.
func memoryFile(s setup) (*os.File, error) {
	fd, err := unix.MemfdCreate("jail-config", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "jail-config")
	if err := json.NewEncoder(f).Encode(s); err != nil {
		f.Close()
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// Start starts the jail. It does not wait until the jail is complete: Report does.
//
// A jail has a user namespace. For root that makes the capabilities that are kept worth
// nothing outside of it. On a host that refuses one, root goes on without, and the
// Report says so. For an ordinary user, Start fails there.
func (c *Cmd) Start() error {
	err := c.Cmd.Start()
	if err != nil && os.Geteuid() == 0 && refusedNamespace(err) {
		again := exec.Cmd{
			Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir, ExtraFiles: c.ExtraFiles,
			Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr, WaitDelay: c.WaitDelay,
			SysProcAttr: withoutUserNamespace(c.SysProcAttr),
		}
		c.Cmd = &again
		err = c.Cmd.Start()
	}
	closeFiles(c.config, c.answer, c.parent)
	if err != nil {
		c.reader.Close()
		c.cgroup.Remove()
		return failure(err)
	}
	return nil
}

// Close gives up a Cmd that was never started.
func (c *Cmd) Close() {
	closeFiles(c.config, c.answer, c.parent, c.reader)
	c.cgroup.Remove()
}

func closeFiles(files ...*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Report waits until the program runs in its jail, and returns what the jail has; or it
// returns why the program does not run. After an error the process is dead or dying,
// and the caller still has to Wait. Report is called once.
func (c *Cmd) Report() (Report, error) {
	defer c.reader.Close()
	c.reader.SetReadDeadline(time.Now().Add(setupTimeout))
	complete := false
	dec := json.NewDecoder(c.reader)
	for {
		var m message
		err := dec.Decode(&m)
		switch {
		case errors.Is(err, io.EOF) && complete: // the exec has closed the pipe
			return c.report, nil
		case errors.Is(err, io.EOF):
			return Report{}, failure(errors.New("it ended before it was complete"))
		case err != nil:
			c.Process.Kill()
			return Report{}, failure(err)
		}
		c.report, complete = m.Report, true
		if m.Error != "" {
			return Report{}, told(m)
		}
	}
}

// Wait waits until the program has ended, and removes the jail's own cgroup.
func (c *Cmd) Wait() error {
	err := c.Cmd.Wait()
	c.cgroup.Remove()
	return err
}

// attributes asks for the jail's namespaces. The user namespace's root is the caller. If
// the caller is root, all other users keep their ids.
func attributes(network bool) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{
		Setsid:    true,            // no controlling terminal
		Pdeathsig: syscall.SIGKILL, // until dieWithParent sets it anew
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID |
			unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
	}
	if !network {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	if os.Geteuid() != 0 {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		return attr, nil
	}
	var err error
	if attr.UidMappings, err = ownMap("/proc/self/uid_map"); err != nil {
		return nil, err
	}
	attr.GidMappings, err = ownMap("/proc/self/gid_map")
	attr.GidMappingsEnableSetgroups = true
	return attr, err
}

// ownMap maps every id that this process knows to itself.
func ownMap(name string) ([]syscall.SysProcIDMap, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var ids []syscall.SysProcIDMap
	for {
		var inside, outside, size int
		_, err := fmt.Fscan(f, &inside, &outside, &size)
		if errors.Is(err, io.EOF) {
			return ids, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		ids = append(ids, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
}

func withoutUserNamespace(a *syscall.SysProcAttr) *syscall.SysProcAttr {
	b := *a
	b.Cloneflags &^= unix.CLONE_NEWUSER
	b.UidMappings, b.GidMappings, b.GidMappingsEnableSetgroups = nil, nil, false
	return &b
}

// refusedNamespace reports whether err is one that a host without user namespaces gives.
func refusedNamespace(err error) bool {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
