// Package watching runs a program, and restarts or signals it at each new generation of a share.
package watching

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/term"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/share/watch"
)

// grace is how long a program may take to end before it is killed.
const grace = 10 * time.Second

// forwarded are the signals that go on to the program. A terminal sends its own, the last three, to
// the program, too.
var (
	forwarded = []os.Signal{syscall.SIGHUP, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGINT, syscall.SIGQUIT, syscall.SIGWINCH}
	ofTerminal = forwarded[4:]
)

// Program is what to run, and what it gets at a new generation.
type Program struct {
	Args   []string
	Signal syscall.Signal // 0: it is ended and started again
	Stderr io.Writer      // for what is told of the share
}

// Run runs p until it ends by itself, and returns its exit code: 128+n after signal n. The first
// program starts with the generation that is current then.
func Run(ctx context.Context, authDir string, p Program) (int, error) {
	from, err := watch.Current(authDir)
	if err != nil {
		return 0, say.Errorf("give a share's directory: inside a sandbox that is /etc/openshell/auth", "watch %s: %v", authDir, err)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...) // and not Ignore, which a program would inherit
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news := make(chan error)
	go func() {
		for _, err := range watch.Generations(ctx, authDir, from) {
			select {
			case news <- err:
			case <-ctx.Done():
				return
			}
		}
	}()
	r := runner{program: p, terminal: term.IsTerminal(int(os.Stdin.Fd()))}
	if err := r.start(); err != nil {
		return 0, err
	}
	return r.run(signals, news)
}

// runner is a program that runs.
type runner struct {
	program  Program
	terminal bool
	cmd      *exec.Cmd
	ended    chan int // its exit code

	restarting bool // it was asked to end, and is to be started again
	leaving    bool // it is not to be started again
	kill       <-chan time.Time
}

// run returns once the program has ended and is not to be started again.
func (r *runner) run(signals <-chan os.Signal, news <-chan error) (int, error) {
	for {
		select {
		case s := <-signals:
			r.leaving = r.leaving || s == syscall.SIGTERM || r.restarting && s != syscall.SIGWINCH
			if !r.terminal || !slices.Contains(ofTerminal, s) {
				_ = r.cmd.Process.Signal(s)
			}
		case err := <-news:
			r.renewed(err)
		case <-r.kill:
			_ = r.cmd.Process.Kill()
		case code := <-r.ended:
			if !r.restarting || r.leaving {
				return code, nil
			}
			if err := r.start(); err != nil {
				return 0, err
			}
		}
	}
}

// renewed is called at a new generation, or when the share can't be read any more.
func (r *runner) renewed(err error) {
	switch {
	case err != nil:
		fmt.Fprintf(r.program.Stderr, "openshell-vm: the share can't be read: %v; its program goes on\n", err)
	case r.restarting: // the next one starts with it
	case r.program.Signal != 0:
		_ = r.cmd.Process.Signal(r.program.Signal)
	default:
		r.restarting, r.kill = true, time.After(grace)
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
	}
}

func (r *runner) start() error {
	r.restarting, r.kill, r.ended = false, nil, make(chan int, 1)
	r.cmd = exec.Command(r.program.Args[0], r.program.Args[1:]...)
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := r.cmd.Start(); err != nil {
		return notRun(r.program.Stderr, r.program.Args[0], err)
	}
	go func(cmd *exec.Cmd, ended chan<- int) {
		_ = cmd.Wait()
		code := cmd.ProcessState.ExitCode()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			code = 128 + int(status.Signal())
		}
		ended <- code
	}(r.cmd, r.ended)
	return nil
}

// notRun has a shell's exit codes for a program that can't be run.
func notRun(stderr io.Writer, name string, err error) error {
	code := say.Exit(126)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = 127
	}
	fmt.Fprintf(stderr, "openshell-vm: %s can't be run: %v\nhint: what stands behind the directory is the program and its arguments\n",
		name, err)
	return code
}
