package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

// TestRunAgainInTheOldDirectory: only the first gateway may make a state directory. One that
// is run after that one's death is told that there was one.
func TestRunAgainInTheOldDirectory(t *testing.T) {
	dir := t.TempDir()
	stateDir, said := filepath.Join(dir, "state"), filepath.Join(dir, "said")
	t.Setenv(api.EnvStateDir, stateDir)
	t.Setenv(api.EnvRuntimeDir, filepath.Join(dir, "run"))
	t.Setenv("SAID", said)
	program := filepath.Join(dir, "gateway")
	script := `#!/bin/sh
echo "only old: $OPENSHELL_STATE_ONLY_OLD" >>"$SAID"
[ -e "$OPENSHELL_STATE_DIR/gateway.json" ] && [ "$(wc -l <"$SAID")" -ge 3 ] && exit 0
echo "{}" >"$OPENSHELL_STATE_DIR/gateway.json"
exit 1
`
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if code := Supervise(program); code != ExitOrderly {
		t.Errorf("the supervisor ends with %d", code)
	}
	data, err := os.ReadFile(said)
	if want := "only old: \nonly old: 1\nonly old: 1\n"; err != nil || string(data) != want {
		t.Errorf("the gateways were told %q, %v; wanted %q", data, err, want)
	}
	if left := os.Getenv("OPENSHELL_STATE_ONLY_OLD"); left != "" || strings.Contains(strings.Join(os.Environ(), " "), "ONLY_OLD") {
		t.Errorf("the supervisor itself has it: %q", left)
	}
}

// TestEmptiedDirectory: a directory that was used and is emptied counts as deleted.
func TestEmptiedDirectory(t *testing.T) {
	stateDir := filepath.Join(t.TempDir(), "state")
	t.Setenv(api.EnvStateDir, stateDir)
	place := newLandmark()
	if got := place.find(); got != there {
		t.Errorf("new: %v", got)
	}
	identity := filepath.Join(stateDir, api.IdentityFile)
	if err := os.WriteFile(identity, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := place.find(); got != there || !place.used {
		t.Errorf("used: %v, %v", got, place.used)
	}
	if err := os.Remove(identity); err != nil {
		t.Fatal(err)
	}
	if got := place.find(); got != deleted {
		t.Errorf("emptied: %v", got)
	}
}
