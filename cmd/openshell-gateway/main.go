// Command openshell-gateway keeps the tokens of its user's sandboxes fresh and runs the
// sandboxes. openshell-vm starts it when it is needed. Run by hand, it stays in the
// foreground and logs to stderr.
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
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"openshell-vm/gateway"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/config"
	"openshell-vm/gateway/daemon"
	"openshell-vm/gateway/door"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/state"
)

var version = "dev" // set by the linker

const (
	startDeadline = 30 * time.Second
	idleAfter     = 10 * time.Minute // under a supervisor
)

func main() { os.Exit(run()) }

const usage = `openshell-gateway [serve] [FLAGS]   run the gateway in the foreground
openshell-gateway start           start one in the background, if none runs, and return once it listens
openshell-gateway supervise       run the gateway, and run it again when it dies

Flags of serve:
`

// run is main; it returns the exit code.
func run() int {
	command, args := "serve", os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	f := readFlags(args)
	switch {
	case f.NArg() > 0:
		return refuse(&api.Error{Message: fmt.Sprintf("unexpected argument %q", f.Arg(0)), Hint: helpHint})
	case f.start:
		command = "start"
	case f.supervise:
		command = "supervise"
	}
	if err := noCore(); err != nil {
		return refuse(fmt.Errorf("switch core dumps off: %w", err))
	}
	if f.version {
		fmt.Println("openshell-gateway", version)
		return 0
	}
	self, err := os.Executable()
	switch {
	case command == "serve":
		return serve(f.settings)
	case command != "start" && command != "supervise":
		return refuse(&api.Error{Message: fmt.Sprintf("there is no command %q", command), Hint: helpHint})
	case err != nil:
		return refuse(err)
	case command == "supervise":
		return daemon.Supervise(self, "serve", "--restarted-by=parent")
	}
	return startGateway(self)
}

const helpHint = "openshell-gateway --help lists the commands and flags"

// flags are what follows the command.
type flags struct {
	*flag.FlagSet
	settings
	version          bool
	start, supervise bool // older versions of our programs pass these instead of a command
}

func readFlags(args []string) *flags {
	f := &flags{FlagSet: flag.NewFlagSet("openshell-gateway", flag.ExitOnError)}
	f.StringVar(&f.supervisor, "restarted-by", "none", "who runs it again when it dies: systemd, parent or none; "+
		"it logs to the state directory unless none")
	f.DurationVar(&f.idle, "idle", -1, "end when nothing has needed the gateway for this long; 0 means never "+
		"(default: idle-after of the configuration, else 10m if somebody runs it again, else never)")
	f.StringVar(&f.refusals, "refusals", "", "a FIFO that gets the reason if the gateway can't run; "+
		"with --restarted-by=systemd the gateway tries again unless somebody reads it")
	f.BoolVar(&f.debugging, "debug", false, "log each publish (also: log-level of the configuration)")
	f.BoolVar(&f.version, "version", false, "print the version")
	f.StringVar(&f.supervisor, "supervised", "none", "older for --restarted-by")
	f.BoolVar(&f.start, "start", false, "older for the command start")
	f.BoolVar(&f.supervise, "supervise", false, "older for the command supervise")
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	_ = f.Parse(args) // exits on an error
	return f
}

// config reads the settings: flags go before all else. keep is for config.Open.
func (s settings) config(keep string) (*config.Live, error) {
	r := config.FromEnvironment()
	r.Flags, r.Defaults = map[string]string{}, map[string]string{}
	if s.idle >= 0 {
		r.Flags["idle-after"] = s.idle.String()
	}
	if s.debugging {
		r.Flags["log-level"] = "debug"
	}
	if s.supervisor != "none" {
		r.Defaults["idle-after"] = idleAfter.String()
	}
	return config.Open(r, keep)
}

// settings are the flags of a gateway that serves.
type settings struct {
	supervisor string
	idle       time.Duration
	refusals   string
	debugging  bool
}

// noCore keeps keys, tokens and monitors' configurations out of core files. Children inherit
// both settings. If core_pattern names a program, the limit does not apply, so the filter
// also leaves all memory out of a dump. The kernel's dumpable flag can't be cleared: our
// children's user namespaces need it.
func noCore() error {
	err := os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0)
	if errors.Is(err, fs.ErrNotExist) { // this kernel dumps no core
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

// serve runs the gateway itself.
func serve(s settings) int {
	debug.SetGCPercent(gateway.GCPercent)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)

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
	go reload(ctx, g, hangups)
	if err := g.Run(ctx); errors.Is(err, state.ErrDeleted) {
		fmt.Fprintln(os.Stderr, "openshell-gateway: it ends:", err)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "openshell-gateway:", err)
		return 1
	}
	return daemon.ExitOrderly
}

// reload reads the settings again at each SIGHUP. If the signal means that the terminal is gone
// from which the gateway was started by hand, the gateway ends, as any such program does.
func reload(ctx context.Context, g *gateway.Gateway, hangups <-chan os.Signal) {
	byHand := term.IsTerminal(int(os.Stderr.Fd()))
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		if byHand && !term.IsTerminal(int(os.Stderr.Fd())) {
			g.Stop()
			return
		}
		_, _ = g.Reload(ctx) // it logs what is wrong
	}
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
	settings, err := s.config(home.ConfigKept())
	if err != nil {
		return nil, err
	}
	log := openLog(home, s.supervisor, settings.Now().LogLevel == "debug")
	engines, err := newDrivers(home, log)
	if err != nil {
		return nil, err
	}
	return gateway.New(home, gateway.Options{
		Drivers: engines, Version: version, Log: log, Config: settings, IdleAfter: settings.Now().IdleAfter.Duration,
		TokenProgram: filepath.Join(libexec(), door.Program),
		Supervisor:   s.supervisor, Unit: daemon.Unit(home.State, s.supervisor),
		Advice: func() []string { return daemon.Advice(s.supervisor) },
	})
}

// tell writes a refusal to the process that waits for the start, and reports whether there
// was one. If there was none, it goes to stderr, which is the journal under systemd.
func (s settings) tell(err error) bool {
	if s.refusals != "" {
		reader, openErr := os.OpenFile(s.refusals, os.O_WRONLY|unix.O_NONBLOCK, 0) // fails if nobody reads
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

// openLog opens the log. If it can't, the log goes to stderr: renewals must not stop for
// want of a log.
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

// refuse prints why the gateway can't run, and a hint. It returns the exit code.
func refuse(err error) int {
	fmt.Fprint(os.Stderr, describe(err))
	if errors.Is(err, state.ErrTaken) {
		return daemon.ExitTaken
	}
	return daemon.ExitRefused
}

// describe formats an error as our programs print it: a line, and a hint.
func describe(err error) string {
	e := explain.Error(err)
	return fmt.Sprintf("openshell-gateway: %s\nhint: %s\n", e.Message, e.Hint)
}
