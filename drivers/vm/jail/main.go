package jail

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/fault"
)

// Main is what a binary runs for the argument "jail"; args are those after it. It ends
// in the jailed program or, after it has told the parent why not, with exit code 125.
// It must be called before the process has started anything that the program should not
// inherit.
func Main(args []string) {
	runtime.LockOSThread() // capabilities, Landlock and seccomp bind one thread
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "jail: this is started by the monitor, not by hand")
		os.Exit(125)
	}
	config, err1 := strconv.Atoi(args[0])
	answer, err2 := strconv.Atoi(args[1])
	if err1 != nil || err2 != nil || answer != config+1 {
		fmt.Fprintln(os.Stderr, "jail: malformed descriptors")
		os.Exit(125)
	}
	parent := json.NewEncoder(os.NewFile(uintptr(answer), "report"))
	report := &Report{}
	err := enter(config, report, parent)
	parent.Encode(message{Report: *report, Error: err.Error(), Hint: fault.HintOf(err)})
	os.Exit(125)
}

// enter takes the steps that the package comment lists. It returns only on failure, and
// report then says how far it got.
func enter(configFD int, report *Report, parent *json.Encoder) error {
	// 1. Only the Config's extra files lie below its own descriptor.
	if err := unix.CloseRange(uint(configFD), math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	var s setup
	if err := json.NewDecoder(os.NewFile(uintptr(configFD), "config")).Decode(&s); err != nil {
		return fmt.Errorf("read the jail's configuration: %w", err)
	}
	cfg := s.Config
	report.Profile, report.ProfileLacks = cfg.Profile, cfg.Lacks()
	if err := reportNamespaces(s, report); err != nil {
		return err
	}
	if err := joinCgroup(s, report); err != nil { // 2
		return err
	}
	if err := emptyCoreDumps(); err != nil {
		return err
	}
	places, err := composeRoot(cfg, report) // 3, 4
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(cfg.Name)); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	if err := setLimits(cfg, s.Root, report); err != nil { // 5
		return err
	}
	if s.Root {
		if err := dropGroups(); err != nil {
			return err
		}
	}
	if err := dropCapabilities(cfg, report); err != nil { // 6
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil { // 7
		return fmt.Errorf("no_new_privs: %w", err)
	}
	report.NoNewPrivs = true
	if err := restrictPaths(cfg, places, report); err != nil { // 8
		return err
	}
	if err := dieWithParent(s.ParentFD); err != nil { // 9
		return err
	}
	if err := filterCalls(cfg, report); err != nil { // 10
		return err
	}
	return become(s, report, parent) // 11
}

// become reports, then execs the program. A trial ends after the report.
func become(s setup, report *Report, parent *json.Encoder) error {
	cfg := s.Config
	if cfg.Require && len(report.Missing) > 0 {
		return fmt.Errorf("this host can't give a complete jail: no %s: %s", report.Missing[0].Name, report.Missing[0].Why)
	}
	if err := parent.Encode(message{Report: *report}); err != nil {
		return err
	}
	if s.Trial {
		os.Exit(0)
	}
	err := syscall.Exec(cfg.Path, append([]string{cfg.Path}, cfg.Args...), cfg.Env)
	return fmt.Errorf("exec %s in its jail: %w", cfg.Path, err)
}
