// openshell-gateway keeps the tokens of its user's sandboxes fresh and runs the
// sandboxes. openshell-vm starts it when it is needed; run by hand, it stays in
// the foreground and logs to stderr.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/daemon"
	"openshell-vm/gateway/state"
)

var version = "dev" // set by the linker

const (
	startDeadline = 30 * time.Second
	idleAfter     = 10 * time.Minute // under a supervisor
)

func main() { os.Exit(run()) }

// run is main with an exit code.
func run() int {
	start := flag.Bool("start", false, "start a gateway in the background, if none runs, and return once it listens")
	supervise := flag.Bool("supervise", false, "run the gateway, and run it again when it dies")
	supervisor := flag.String("supervised", "none", "who restarts this gateway: systemd, parent or none; it logs to the state directory unless none")
	idle := flag.Duration("idle", -1, "end when nothing has needed the gateway for so long; 0 for never (default: 10m if supervised, else never)")
	refusals := flag.String("refusals", "", "a FIFO that is read by who waits for this start; with --supervised=systemd a refusal that nobody reads is no end")
	debugging := flag.Bool("debug", false, "log each publish")
	showVersion := flag.Bool("version", false, "print the version")
	flag.Parse()
	if flag.NArg() > 0 {
		return refuse(&api.Error{Message: fmt.Sprintf("unexpected argument %q", flag.Arg(0)), Hint: "openshell-gateway --help lists the flags"})
	}
	if err := noCore(); err != nil {
		return refuse(fmt.Errorf("switch core dumps off: %w", err))
	}
	switch {
	case *showVersion:
		fmt.Println("openshell-gateway", version)
		return 0
	case *start || *supervise:
		self, err := os.Executable()
		if err != nil {
			return refuse(err)
		}
		if *supervise {
			return daemon.Supervise(self, "--supervised=parent")
		}
		return startGateway(self)
	}
	if *idle < 0 {
		*idle = 0
		if *supervisor != "none" {
			*idle = idleAfter
		}
	}
	return serve(settings{*supervisor, *idle, *refusals, *debugging})
}

// settings are the flags of a gateway that serves.
type settings struct {
	supervisor string
	idle       time.Duration
	refusals   string
	debugging  bool
}

// noCore keeps keys and tokens, and what monitors are told to run, out of core
// files: children inherit it. A limit of nothing does not hold where core_pattern
// names a program, so no memory is dumped at all. The kernel's dumpable flag is no
// choice: user namespaces of our children need it.
func noCore() error {
	err := os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0)
	if errors.Is(err, fs.ErrNotExist) { // a kernel that dumps no core
		err = nil
	}
	return errors.Join(err, unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
}

func startGateway(self string) int {
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	if err := daemon.Start(ctx, self); err != nil {
		return refuse(err)
	}
	return 0
}

// serve is the gateway itself.
func serve(s settings) int {
	debug.SetGCPercent(gateway.GCPercent)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()

	var home *state.Home
	var g *gateway.Gateway
	open := func() (err error) { home, g, err = s.open(); return err }
	var err error
	if s.supervisor == "systemd" {
		err = daemon.Persist(ctx, open, s.tell)
	} else {
		err = open()
	}
	if err != nil {
		return refuse(err)
	}
	defer home.Close()
	if err := g.Run(ctx); errors.Is(err, state.ErrDeleted) {
		fmt.Fprintln(os.Stderr, "openshell-gateway: it ends:", err)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "openshell-gateway:", err)
		return 1
	}
	return daemon.ExitOrderly
}

// open takes the state directory and reads what is there.
func (s settings) open() (*state.Home, *gateway.Gateway, error) {
	home, err := state.Open()
	if err != nil {
		return nil, nil, err
	}
	g, err := s.newGateway(home)
	if err != nil {
		home.Close()
		return nil, nil, err
	}
	return home, g, nil
}

func (s settings) newGateway(home *state.Home) (*gateway.Gateway, error) {
	log := openLog(home, s.supervisor, s.debugging)
	engines, err := newDrivers(home, log)
	if err != nil {
		return nil, err
	}
	return gateway.New(home, gateway.Options{
		Drivers: engines, Version: version, Log: log, IdleAfter: s.idle,
		Supervisor: s.supervisor, Unit: daemon.Unit(home.State, s.supervisor),
		Advice: func() []string { return daemon.Advice(s.supervisor) },
	})
}

// tell writes a refusal to who waits for the start, and says whether there is one.
// The journal gets it in any case.
func (s settings) tell(err error) bool {
	if s.refusals != "" {
		reader, openErr := os.OpenFile(s.refusals, os.O_WRONLY|unix.O_NONBLOCK, 0) // fails where nobody reads
		if openErr == nil {
			defer reader.Close()
			_, openErr = fmt.Fprint(reader, describe(err))
		}
		if openErr == nil {
			return true
		}
	}
	fmt.Fprint(os.Stderr, describe(err))
	return false
}

// openLog falls back to stderr: renewing must not fail for want of a log.
func openLog(home *state.Home, supervisor string, debugging bool) *slog.Logger {
	level := slog.LevelInfo
	if debugging {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if supervisor == "none" {
		return log
	}
	file, err := daemon.LogTo(home.State, level)
	if err != nil {
		log.Warn("the log can't be written into the state directory", "error", err)
		return log
	}
	return file
}

// refuse prints why the gateway can't run, and a hint, and gives the exit code.
func refuse(err error) int {
	fmt.Fprint(os.Stderr, describe(err))
	if errors.Is(err, state.ErrTaken) {
		return daemon.ExitTaken
	}
	return daemon.ExitRefused
}

// describe is an error as our programs print it: a line and a hint.
func describe(err error) string {
	line, hint := gateway.Explain(err)
	return fmt.Sprintf("openshell-gateway: %s\nhint: %s\n", line, hint)
}
