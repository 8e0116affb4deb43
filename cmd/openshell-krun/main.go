// Command openshell-krun becomes a VM. The monitor starts it in a jail, as the krun
// hypervisor. It is the only program of the project that is built with cgo. Package krunvm
// says how to call it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"openshell-vm/drivers/vm/hypervisor/krun/krunvm"
	"openshell-vm/krun"
)

var version = "dev"

// exitOurs is the exit code for an error of ours, as in container tools.
const exitOurs = 125

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "openshell-krun:", err)
		os.Exit(exitOurs)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == krunvm.RunCommand:
		return becomeVM()
	case len(args) == 1 && args[0] == krunvm.ProbeCommand:
		return probe(krun.Options{})
	case len(args) == 3 && args[0] == krunvm.ProbeCommand:
		return probe(krun.Options{Path: args[1], Firmware: args[2]})
	case len(args) == 1 && args[0] == "version":
		fmt.Println(version)
		return nil
	}
	return errors.New("it is started by openshell-vmm, not by hand: usage: openshell-krun run | probe [LIBKRUN LIBKRUNFW] | version")
}

// becomeVM starts the VM. It returns only if that fails.
func becomeVM() error {
	f := os.NewFile(krunvm.ConfigFD, "config")
	cfg, err := krunvm.Read(f)
	if err != nil {
		return err
	}
	f.Close()
	return start(cfg, inherited())
}

// probe prints what it finds of libkrun. Finding nothing usable is a result, not a failure.
func probe(o krun.Options) error {
	return json.NewEncoder(os.Stdout).Encode(find(o))
}

func find(o krun.Options) krunvm.Found {
	lib, err := krun.Open(o)
	if err != nil {
		return krunvm.Found{Problem: err.Error(), Newer: errors.Is(err, krun.ErrNewer)}
	}
	found := krunvm.Found{Library: lib.Path(), Firmware: lib.Firmware(), Version: lib.Version()}
	if err := usable(lib); err != nil {
		found.Problem, found.Newer = err.Error(), errors.Is(err, krun.ErrNewer)
	}
	return found
}
