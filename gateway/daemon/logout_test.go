package daemon

import (
	"strings"
	"testing"
	"testing/fstest"
)

// debianLogind is a part of /etc/systemd/logind.conf of Debian 12.
const debianLogind = `#  This file is part of systemd.
[Login]
#NAutoVTs=6
#ReserveVT=6
#KillUserProcesses=no
#KillOnlyUsers=
#KillExcludeUsers=root
#InhibitDelayMaxSec=5
`

func TestLogoutAdvice(t *testing.T) {
	upstream := strings.Replace(debianLogind, "Processes=no", "Processes=yes", 1)
	const main, lib, dropIn = "etc/systemd/logind.conf", "usr/lib/systemd/logind.conf", "etc/systemd/logind.conf.d/50-x.conf"
	for _, c := range []struct {
		name, supervisor string
		uid              int
		files            map[string]string
		told             bool
	}{
		{"no systemd", "systemd", 1000, nil, false},
		{"a unit of the user's", "systemd", 1000, map[string]string{"run/systemd/system/x": ""}, true},
		{"root", "systemd", 0, map[string]string{"run/systemd/system/x": ""}, false},
		{"lingers", "systemd", 1000, map[string]string{"run/systemd/system/x": "", "var/lib/systemd/linger/ann": ""}, false},
		{"another lingers", "systemd", 1000, map[string]string{"run/systemd/system/x": "", "var/lib/systemd/linger/bob": ""}, true},
		{"a session's process", "parent", 1000, map[string]string{"run/systemd/system/x": "", main: debianLogind}, false},
		{"built to kill", "parent", 1000, map[string]string{"run/systemd/system/x": "", lib: upstream}, true},
		{"built to kill, set not to", "parent", 1000, map[string]string{"run/systemd/system/x": "", main: upstream + "KillUserProcesses=no\n"}, false},
		{"set to kill", "parent", 1000, map[string]string{"run/systemd/system/x": "", main: debianLogind + "KillUserProcesses = yes\n"}, true},
		{"set by a drop-in", "parent", 1000, map[string]string{"run/systemd/system/x": "", main: debianLogind, dropIn: "[Login]\nKillUserProcesses=true\n"}, true},
		{"a drop-in masked", "parent", 1000, map[string]string{"run/systemd/system/x": "", main: debianLogind,
			"usr/lib/systemd/logind.conf.d/50-x.conf": "[Login]\nKillUserProcesses=true\n", dropIn: ""}, false},
		{"etc in place of lib", "parent", 1000, map[string]string{"run/systemd/system/x": "", main: debianLogind, lib: upstream}, false},
		{"excluded", "parent", 1000, map[string]string{"run/systemd/system/x": "", main: "KillUserProcesses=yes\nKillExcludeUsers=root ann\n"}, false},
		{"others only", "parent", 1000, map[string]string{"run/systemd/system/x": "", main: "KillUserProcesses=yes\nKillOnlyUsers=bob\n"}, false},
		{"by hand", "none", 1000, map[string]string{"run/systemd/system/x": ""}, false},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := logoutAdvice(root, c.uid, "ann", c.supervisor); (got != "") != c.told {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
