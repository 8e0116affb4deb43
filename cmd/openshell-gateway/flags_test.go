package main

import (
	"testing"
	"time"
)

// TestOlderFlags checks the flags of older versions: a user's own unit and older programs
// still use them.
func TestOlderFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want settings
	}{
		{nil, settings{supervisor: "none"}},
		{[]string{"--debug"}, settings{supervisor: "none", debugging: true}},
		{[]string{"--restarted-by=systemd", "--idle=0"}, settings{supervisor: "systemd"}},
		{[]string{"--supervised=systemd", "--idle=0"}, settings{supervisor: "systemd"}},
		{[]string{"--supervised=systemd", "--refusals=/x"}, settings{supervisor: "systemd", refusals: "/x", idle: idleAfter}},
		{[]string{"--supervised=parent"}, settings{supervisor: "parent", idle: 10 * time.Minute}},
	} {
		if f := readFlags(c.args); f.settings != c.want || f.start || f.supervise {
			t.Errorf("%q: %+v, wanted %+v", c.args, f.settings, c.want)
		}
	}
	if f := readFlags([]string{"--start"}); !f.start || f.supervise {
		t.Error("--start is not taken for start")
	}
	if f := readFlags([]string{"--supervise"}); f.start || !f.supervise {
		t.Error("--supervise is not taken for supervise")
	}
}
