// openshell-gateway keeps the tokens of its user's sandboxes fresh and runs the
// sandboxes. openshell-vm starts it when it is needed; run by hand, it stays in
// the foreground and logs to stderr.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway"
	"openshell-vm/gateway/api"
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
	debugging := flag.Bool("debug", false, "log each publish")
	showVersion := flag.Bool("version", false, "print the version")
	flag.Parse()
	if flag.NArg() > 0 {
		return refuse(&api.Error{Message: fmt.Sprintf("unexpected argument %q", flag.Arg(0)), Hint: "openshell-gateway --help lists the flags"})
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
			return gateway.Supervise(self, "--supervised=parent")
		}
		return startGateway(self)
	}
	if *idle < 0 {
		*idle = 0
		if *supervisor != "none" {
			*idle = idleAfter
		}
	}
	return serve(*supervisor, *idle, *debugging)
}

func startGateway(self string) int {
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	if err := gateway.Start(ctx, self); err != nil {
		return refuse(err)
	}
	return 0
}

// serve is the gateway itself.
func serve(supervisor string, idle time.Duration, debugging bool) int {
	// Keys and tokens are in this memory: it must not get into a core file. The
	// kernel's dumpable flag is no choice: user namespaces of our children need it.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return refuse(fmt.Errorf("switch core dumps off: %w", err))
	}
	debug.SetGCPercent(gateway.GCPercent)

	home, err := gateway.OpenHome()
	if err != nil {
		return refuse(err)
	}
	defer home.Close()
	log, err := openLog(home, supervisor, debugging)
	if err != nil {
		return refuse(err)
	}
	engines, err := newDrivers(home, log)
	if err != nil {
		return refuse(err)
	}
	g, err := gateway.New(home, gateway.Options{
		Drivers: engines, Version: version, Supervisor: supervisor, Log: log, IdleAfter: idle,
	})
	if err != nil {
		return refuse(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	if err := g.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "openshell-gateway:", err)
		return 1
	}
	return gateway.ExitOrderly
}

func openLog(home *gateway.Home, supervisor string, debugging bool) (*slog.Logger, error) {
	level := slog.LevelInfo
	if debugging {
		level = slog.LevelDebug
	}
	if supervisor == "none" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})), nil
	}
	return gateway.LogTo(home.State, level)
}

// refuse prints why the gateway can't run, and a hint, and gives the exit code.
func refuse(err error) int {
	line, hint := gateway.Explain(err)
	fmt.Fprintf(os.Stderr, "openshell-gateway: %s\nhint: %s\n", line, hint)
	if errors.Is(err, gateway.ErrTaken) {
		return gateway.ExitTaken
	}
	return gateway.ExitRefused
}
