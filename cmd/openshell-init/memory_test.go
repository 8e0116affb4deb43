package main

import "testing"

func TestTellsOfKill(t *testing.T) {
	const before = "<6>[    1.0] eth0: link up\n"
	for name, test := range map[string]struct {
		log  string
		want bool
	}{
		"the machine's memory":    {"<3>[    9.1] Out of memory: Killed process 42 (tail) total-vm:1kB, anon-rss:1kB", true},
		"a control group's":       {"<3>[    9.1] Memory cgroup out of memory: Killed process 42 (a: b) total-vm:1kB", true},
		"another process":         {"<3>[    9.1] Out of memory: Killed process 421 (tail) total-vm:1kB", false},
		"a name that pretends":    {"<3>[    9.1] Out of memory: Killed process 7 (: Killed process 42 () total-vm:1kB", false},
		"another line that names": {"<6>[    9.1] tail: Killed process 42 (tail)", false},
		"nothing":                 {"", false},
	} {
		if got := tellsOfKill([]byte(before+test.log+"\n"), 42); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
