package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/procfs"
)

// A command runs below a keeper: this program once more, which does nothing else. The keeper is
// the subreaper of all that the command starts. So it finds also what has left the command's
// process group, its session and its parents. It kills all of it when the command has ended, and
// when the gateway closes a pipe: its death closes that, too. A program that has another user's
// rights, as by set-user-id, can't be killed by an ordinary user's keeper.

// keeperName is the name under which this program is a keeper.
const keeperName = "openshell-command"

// The keeper's descriptors.
const (
	aliveFD = 3 // at its end all is over
	toldFD  = 4 // takes how the command ended
)

// unwilling is how long the keeper tries to kill what does not end.
const unwilling = 2 * time.Second

// init makes a keeper of a program with that name, whichever it is: the gateway, or a test.
func init() {
	if os.Args[0] == keeperName && len(os.Args) > 2 {
		keep(os.Args[1], os.Args[2:])
	}
}

// keep is all that a keeper does.
func keep(program string, argv []string) {
	unix.CloseOnExec(aliveFD)
	unix.CloseOnExec(toldFD)
	told := os.NewFile(toldFD, "told")
	runtime.LockOSThread() // with the thread that started it, the command is killed
	err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	var command *os.Process
	if err == nil {
		command, err = os.StartProcess(program, argv, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
			Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}})
	}
	if err != nil {
		var number syscall.Errno
		errors.As(err, &number)
		fmt.Fprintf(told, "failed %d", int(number))
		os.Exit(1)
	}
	k := &keeper{}
	go func() {
		_, _ = io.Copy(io.Discard, os.NewFile(aliveFD, "alive"))
		k.endAll()
	}()
	for {
		switch pid, status := k.reap(); pid {
		case 0:
			os.Exit(0)
		case command.Pid:
			fmt.Fprintf(told, "ended %d", status)
			go k.endAll()
		}
	}
}

// keeper is the state of a keeper.
type keeper struct {
	mu   sync.Mutex // no process that was not reaped can lose its number to another
	ends sync.Once
}

// reap waits until a child has ended, and returns which; 0 if there is none left.
func (k *keeper) reap() (pid int, status unix.WaitStatus) {
	for {
		if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil); err == unix.ECHILD {
			return 0, 0
		}
		k.mu.Lock()
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		k.mu.Unlock()
		if err == nil && pid > 0 {
			return pid, status
		}
	}
}

// endAll kills all children again and again: the children of one that ends become the keeper's.
func (k *keeper) endAll() {
	k.ends.Do(func() {
		for end := time.Now().Add(unwilling); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
			k.killChildren()
		}
		os.Exit(1)
	})
}

func (k *keeper) killChildren() {
	self := os.Getpid()
	for _, pid := range procfs.PIDs() {
		k.mu.Lock()
		if s, err := procfs.ReadStat(pid); err == nil && s.Parent == self {
			_ = unix.Kill(pid, unix.SIGKILL) // it may be another user's
		}
		k.mu.Unlock()
	}
}

// outcome reads what a keeper told: nil for a command that ended with 0.
func outcome(told, program string) error {
	how, number, _ := strings.Cut(told, " ")
	n, err := strconv.Atoi(number)
	status := syscall.WaitStatus(n)
	switch {
	case err != nil:
		return errors.New("it was killed together with what kept it")
	case how == "failed":
		return &os.PathError{Op: "run", Path: program, Err: syscall.Errno(n)}
	case status.Signaled():
		return fmt.Errorf("it ended with signal: %v", status.Signal())
	case status.ExitStatus() != 0:
		return fmt.Errorf("it ended with exit status %d", status.ExitStatus())
	}
	return nil
}
