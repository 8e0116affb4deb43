//go:build cgo && linux

package krun

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// startChild runs the test binary as a VM.
func startChild() {
	lib, err := Open(Options{Path: os.Getenv("CONTRACT_CHILD"), NoFirmware: true})
	if err != nil {
		fmt.Println(err)
		os.Exit(99)
	}
	c, err := lib.NewContext()
	if err == nil {
		err = errors.Join(c.SetVMConfig(1, 128), c.DisableImplicitVsock(), c.SetExec("/x", nil, nil))
	}
	defer fmt.Println("a deferred call ran")
	if err == nil {
		err = c.StartEnter()
	}
	again := c.StartEnter()
	fmt.Println("returned:", err, "| again:", again)
	os.Exit(98)
}

// TestStartEnter starts VMs in child processes, because a process ends with its VM.
func TestStartEnter(t *testing.T) {
	lib := compile(t, "1.19.0.so", "-DVERSION=11900")
	for _, test := range []struct {
		name, exit, ret string
		code            int
		output          string
	}{
		{"the workload's code", "42", "", 42, ""},
		{"the init failed", "125", "", 125, ""},
		{"an error before the start", "", "krun_start_enter=-22", 98, "returned: krun_start_enter: invalid argument | again: krun_start_enter: the VM context is closed"},
		{"a success that returned", "", "krun_start_enter=2", 98, "returned: krun_start_enter: libkrun returned an undefined value"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "CONTRACT_CHILD="+lib, "CONTRACT_EXIT="+test.exit, "CONTRACT_RETURN="+test.ret, "CONTRACT_LOG=/dev/null")
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(out), test.output) {
				t.Errorf("exit %d, %s", code, out)
			}
			if test.code < 98 && len(out) > 0 {
				t.Errorf("it went on: %s", out)
			}
		})
	}
}
