package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/config"
)

// settings returns what the gateway has in force; nothing if none answers.
func (w *world) settings() (c api.Config, pid int) {
	client, err := api.Connect(w.Context())
	if err != nil {
		return c, 0
	}
	defer client.Close()
	c, err = client.Config.Get(w.Context())
	if err != nil {
		return c, 0
	}
	return c, client.Met().PID
}

func (w *world) ttl() string {
	c, _ := w.settings()
	for _, s := range c.Settings {
		if s.Name == "ttl" {
			return s.Value
		}
	}
	return ""
}

// TestConfiguration: SIGHUP reads the file again, a bad one changes nothing, and neither does
// it when the gateway is killed and started again.
func TestConfiguration(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(filepath.Dir(w.state), "gateway.toml")
	t.Setenv(config.EnvFile, path)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ttl = \"2h\"\ntlt = \"3h\"\n")
	if code, out := w.program("start"); code == 0 || !strings.Contains(out, path+":2: there is no setting \"tlt\"") || !strings.Contains(out, "hint: did you mean ttl?") {
		t.Fatalf("a bad file at the very first start: %d, %q", code, out)
	}
	write("ttl = \"2h\"\n")
	if code, out := w.program("start"); code != 0 {
		t.Fatalf("%d, %q", code, out)
	}
	if ttl := w.ttl(); ttl != "2h" {
		t.Errorf("ttl is %q", ttl)
	}
	first := w.connect()
	hangUp := func() {
		if err := syscall.Kill(first, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	write("ttl = \"3h\"\n")
	hangUp()
	w.eventually("the new file is in force", func() bool { return w.ttl() == "3h" })
	write("ttl = \"4h\"\nlisten = 3\n")
	hangUp()
	w.eventually("the bad file is told", func() bool {
		c, pid := w.settings()
		return strings.Contains(c.Problem, path+":2: listen") && pid == first
	})
	if ttl := w.ttl(); ttl != "3h" {
		t.Errorf("with a bad file ttl is %q", ttl)
	}
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.eventually("another gateway serves", func() bool { _, pid := w.settings(); return pid != 0 && pid != first })
	if c, _ := w.settings(); c.Problem == "" || w.ttl() != "3h" {
		t.Errorf("after a kill: ttl %q, %q", w.ttl(), c.Problem)
	}
	client, err := api.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Config.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), path+":2: listen") {
		t.Errorf("reload: %v", err)
	}
	write("ttl = \"4h\"\nidle-after = \"9h\"\n")
	result, err := client.Config.Reload(t.Context())
	if err != nil || len(result.Changed) != 1 || result.Changed[0].Value != "4h" || len(result.Pending) != 1 || result.Pending[0].Name != "idle-after" {
		t.Errorf("mended: %+v, %v", result, err)
	}
	share, err := client.Shares.Create(t.Context(), api.ShareRequest{Name: "agent"})
	if err != nil || share.TTL != 4*time.Hour {
		t.Errorf("a share has tokens for %v, %v", share.TTL, err)
	}
	if err := client.Shares.Remove(t.Context(), "agent", true); err != nil {
		t.Error(err)
	}
}
