package driverstest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/content"
	"openshell-vm/drivers/driverstest/fixture"
)

// The contract is written out here, and not taken from package drivers: a change of
// either side breaks programs that run in sandboxes.
var (
	contractEnv = map[string]string{
		"OPENSHELL_SANDBOX_TOKEN_FILE": "/etc/openshell/auth/sandbox.jwt",
		"OPENSHELL_SANDBOX_AUTH_MODE":  "gateway-managed-file",
	}
	contractFields = []string{"authMode", "expiresAt", "gateway", "generation", "issuedAt", "renewAt"}
	contractNames  = []string{"sandbox.jwt", "metadata.json", "..data"}
)

// contract: the variables, the paths, the metadata's fields, all read-only. They are
// there for the workload and for a command of any user.
func contract(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, func(b *fixture.Box) {
		withDoor(t, b)
		b.Shell(b.Tool + " contract; exec " + b.Tool + " hold")
	})
	workload := b.Run(false)
	keepsContract(s, t, "the workload", workload.Line(), -1)
	workload.Expect("ready")
	users := []string{"", "0", "1000", "1000:1000", "65534"}
	for _, user := range users {
		uid := -1
		_, _ = fmt.Sscan(user, &uid)
		out, code := b.Exec(drivers.Process{Args: []string{b.Tool, "contract"}, User: user}, false).Rest()
		if code != 0 || len(out) != 1 {
			t.Errorf("a command of user %q: code %d, %q", user, code, out)
			continue
		}
		keepsContract(s, t, fmt.Sprintf("a command of user %q", user), out[0], uid)
	}
	asksTheGateway(t, b)
	own := s.Box(t, func(b *fixture.Box) {
		b.Spec.Process.Env = []string{"OPENSHELL_SANDBOX_TOKEN_FILE=/mine", "OTHER=1"}
		b.Spec.Tokens.Mode, b.Spec.Tokens.Static = drivers.StaticToken, "/home/u/token"
		b.Shell("echo $OPENSHELL_SANDBOX_TOKEN_FILE $OPENSHELL_SANDBOX_AUTH_MODE $OTHER")
	})
	if out, _ := own.Run(false).Rest(); !slices.Equal(out, []string{"/mine static-token 1"}) {
		t.Errorf("what the user sets, and the auth mode, are %q", out)
	}
	return fmt.Sprintf("the workload and commands of %d users", len(users))
}

// keepsContract judges the line that a process inside reports. uid is the user that it
// should be; -1 for any.
func keepsContract(s *fixture.Suite, t *testing.T, who, line string, uid int) {
	t.Helper()
	var c content.Contract
	if err := json.Unmarshal([]byte(line), &c); err != nil {
		t.Errorf("%s says %q: %v", who, line, err)
		return
	}
	if uid >= 0 && c.UID != uid {
		t.Errorf("%s runs as %d", who, c.UID)
	}
	for name, want := range contractEnv {
		if c.Env[name] != want {
			t.Errorf("%s has %s=%q, wanted %q", who, name, c.Env[name], want)
		}
	}
	// In a user namespace not even root inside is the file's owner. Another case looks
	// whether mounts are read-only.
	if !strings.Contains(c.Errors["write"], "read-only") && !strings.Contains(c.Errors["write"], "permission denied") {
		t.Errorf("%s may write the token: %q", who, c.Errors["write"])
	}
	delete(c.Errors, "write")
	if len(c.Errors) > 0 || c.Token != 1 {
		t.Errorf("%s reads generation %d, errors %v", who, c.Token, c.Errors)
	}
	checkMetadata(t, who, c.Metadata, fixture.MetadataOf(1, s.Gateway), contractFields)
	for _, name := range contractNames {
		if !slices.Contains(c.Names, name) {
			t.Errorf("%s lists %q, without %s", who, c.Names, name)
		}
	}
}

// checkMetadata wants the very bytes that were published, and these fields in them.
func checkMetadata(t *testing.T, who string, got, want []byte, fields []string) {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(got, &all); err != nil || string(got) != string(want) {
		t.Errorf("%s reads the metadata %q, %q was published: %v", who, got, want, err)
	}
	for _, f := range fields {
		if all[f] == nil {
			t.Errorf("%s finds no %s in the metadata %q", who, f, got)
		}
	}
	if len(all) != len(fields) {
		t.Errorf("%s finds %d fields in the metadata %q, the contract has %d", who, len(all), got, len(fields))
	}
}

// pairs: a program that opens ..data once has both files of one generation, whatever is
// published meanwhile.
func pairs(t *testing.T, s *fixture.Suite) string {
	const publishes = 200
	b := s.Box(t, func(b *fixture.Box) {
		b.Runs("pairs", drivers.AuthDir)
		b.Spec.Stdin = true
	})
	client := b.Run(true)
	client.Expect("ready")
	for range publishes {
		b.Publish()
		time.Sleep(5 * time.Millisecond) // leave an emulated reader some of the processor
	}
	client.Stdin.Close()
	out, _ := client.Rest()
	var read, bad int
	var last uint64
	if len(out) == 0 {
		t.Fatal("no report")
	}
	if _, err := fmt.Sscanf(out[len(out)-1], "pairs=%d bad=%d last=%d", &read, &bad, &last); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if bad != 0 || read == 0 || last < 2 {
		t.Errorf("%d pairs, %d bad, generation %d seen; %q", read, bad, last, out)
	}
	return fmt.Sprintf("%d pairs in %d publishes, %d bad", read, publishes, bad)
}
