package cgroup

import (
	"os"
	"testing"
)

// roles are what the test binary does instead of testing, by its first argument.
var roles = map[string]func(args []string){}

// guest is set by the tests of the kernel: what process 1 of a guest does.
var guest func(m *testing.M)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			role(os.Args[2:])
			os.Exit(0)
		}
	}
	if os.Getpid() == 1 && guest != nil {
		guest(m)
	}
	os.Exit(m.Run())
}
