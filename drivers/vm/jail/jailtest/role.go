package jailtest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Role tells the program intruder what to do. Only the program's own file is sure to be in a
// jail, so the role is at the end of that file.
type Role struct {
	Targets Targets
	Answers map[string]string // by arguments: what the program whose place it takes would print
	Outside bool              // make the control's attempts only
}

// intruderEnv is the environment variable for the built program's path.
const intruderEnv = "JAILTEST_INTRUDER"

// BuildIntruder builds the program, once for all tests and users.
func BuildIntruder(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(intruderEnv); path != "" {
		return path
	}
	path := filepath.Join(OpenDir(t), "intruder")
	cmd := exec.Command("go", "build", "-o", path, "openshell-vm/drivers/vm/jail/jailtest/intruder")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the intruder: %v\n%s", err, out)
	}
	t.Setenv(intruderEnv, path)
	return path
}

// WriteIntruder puts an intruder with a role at path.
func WriteIntruder(t *testing.T, path string, role Role) {
	t.Helper()
	writeProgram(t, path, intruder(t, role))
}

// intruder returns the program's file, with the role and its length at the end.
func intruder(t *testing.T, role Role) []byte {
	t.Helper()
	program, err := os.ReadFile(BuildIntruder(t))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(role)
	if err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.AppendUint32(append(program, text...), uint32(len(text)))
}

func writeProgram(t *testing.T, path string, program []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
}

// Control proves that the attempts fail because of the jail: it makes those that do no harm
// outside of a jail, on a share of its own.
func Control(t *testing.T, targets Targets) {
	t.Helper()
	dir := OpenDir(t)
	if targets.Work != "" {
		targets.Work = filepath.Join(dir, "work")
		if err := os.Mkdir(targets.Work, 0o755); err != nil {
			t.Fatal(err)
		}
	} else {
		targets.Share = filepath.Join(dir, "share")
		FillShare(t, targets.Share)
	}
	program := filepath.Join(dir, "intruder")
	WriteIntruder(t, program, Role{Targets: targets, Outside: true})
	out, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	JudgeOutside(t, string(out), targets)
}

// ReadRole reads the role that WriteIntruder has put into the program at path.
func ReadRole(path string) (Role, error) {
	var role Role
	program, err := os.ReadFile(path)
	if err != nil {
		return role, err
	}
	end := len(program) - 4
	length := int(binary.BigEndian.Uint32(program[end:]))
	if length > end {
		return role, fmt.Errorf("%s has no role", path)
	}
	return role, json.Unmarshal(program[end-length:end], &role)
}
