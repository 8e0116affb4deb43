package driverstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/search"
)

// noLeak: no form of a token's signature is found outside the share. A planted one is
// found, so the search works.
func noLeak(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, nil)
	b.Run(false).Expect("ready")
	var needles []string
	for range 3 {
		_, token := b.Publish()
		needles = append(needles, search.Forms(t, token)...)
	}
	planted := exec.Command("sleep", "60")
	planted.Env = []string{"TOKEN=" + needles[1]}
	if err := planted.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = planted.Process.Kill(); _ = planted.Wait() }()
	want := "/proc/" + strconv.Itoa(planted.Process.Pid) + "/environ"
	// Start returns a little before the process has its own environment.
	s.Eventually(t, func() error {
		if data, err := os.ReadFile(want); err != nil || !search.Contains(string(data), needles) {
			return fmt.Errorf("nothing is planted in %s: %d bytes, error %v", want, len(data), err)
		}
		return nil
	})
	found := search.Processes(t, needles, "cmdline", "environ")
	if !slices.Equal(found, []string{want}) {
		t.Errorf("found in %q, only %s was planted", found, want)
	}
	n := 0
	if s.Metadata != nil {
		metadata := string(s.Metadata(t, b.ID))
		n = len(metadata)
		if !strings.Contains(metadata, b.ID) {
			t.Errorf("the engine's metadata don't name the sandbox: %q", metadata)
		}
		for _, needle := range needles {
			if strings.Contains(metadata, needle) {
				t.Error("a token is in the engine's metadata")
			}
		}
	}
	out, _ := b.Exec(drivers.Process{Args: []string{"sh", "-c",
		"cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/cmdline"}}, false).Rest()
	for _, needle := range needles {
		if strings.Contains(strings.Join(out, "\n"), needle) {
			t.Error("a token is in a process inside")
		}
	}
	if f, err := os.ReadDir(b.Spec.Dir); err == nil {
		for _, e := range f {
			n += search.File(t, filepath.Join(b.Spec.Dir, e.Name()), needles)
		}
	}
	return fmt.Sprintf("%d bytes of metadata and every process", n)
}
