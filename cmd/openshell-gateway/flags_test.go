package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"openshell-vm/gateway/config"
)

// TestOlderFlags checks the flags of older versions: a user's own unit and older programs
// still use them.
func TestOlderFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want settings
	}{
		{nil, settings{supervisor: "none", idle: -1}},
		{[]string{"--debug"}, settings{supervisor: "none", idle: -1, debugging: true}},
		{[]string{"--restarted-by=systemd", "--idle=0"}, settings{supervisor: "systemd"}},
		{[]string{"--supervised=systemd", "--idle=0"}, settings{supervisor: "systemd"}},
		{[]string{"--supervised=systemd", "--refusals=/x"}, settings{supervisor: "systemd", refusals: "/x", idle: -1}},
		{[]string{"--supervised=parent"}, settings{supervisor: "parent", idle: -1}},
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

// TestSettings: a flag goes before the file, and the file before the default, which is another
// one under a supervisor.
func TestSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.toml")
	t.Setenv(config.EnvFile, path)
	for _, c := range []struct {
		args   []string
		file   string
		idle   time.Duration
		level  string
		origin string // of idle-after
	}{
		{nil, "", 0, "info", "default"},
		{[]string{"--restarted-by=parent"}, "", idleAfter, "info", "default"},
		{[]string{"--restarted-by=systemd"}, "idle-after = \"0s\"\nlog-level = \"debug\"", 0, "debug", path + ":1"},
		{[]string{"--restarted-by=systemd", "--idle=5m", "--debug"}, "idle-after = \"0s\"", 5 * time.Minute, "debug", "flag"},
	} {
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		live, err := readFlags(c.args).config(filepath.Join(t.TempDir(), "kept"))
		if err != nil {
			t.Fatal(err)
		}
		now := live.Now()
		if now.IdleAfter.Duration != c.idle || now.LogLevel != c.level {
			t.Errorf("%q with %q: %+v", c.args, c.file, now.Values)
		}
		for _, s := range now.Settings() {
			if s.Name == "idle-after" && s.Origin != c.origin {
				t.Errorf("%q with %q: from %s", c.args, c.file, s.Origin)
			}
		}
	}
}
