package jailtest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Role tells the program intruder what to do. Only the program's own file is sure to be in a
// jail, so the role is in that file.
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

// place is where the built program has its role: after a mark, the role's length and its
// text. The program reads it from its own memory, since in some jails it can open nothing.
var place = [64 << 10]byte{'J', 'a', 'i', 'l', 't', 'e', 's', 't', ':', 'r', 'o', 'l', 'e', 0xfe, 0xa5, 0x5f}

const markSize = 16

// intruder returns the program's file, with the role in its place.
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
	empty := place[:1<<10]
	if n := bytes.Count(program, empty); n != 1 || markSize+4+len(text) > len(place) {
		t.Fatalf("the intruder has %d places for a role of %d bytes", n, len(text))
	}
	at := bytes.Index(program, empty) + markSize
	binary.BigEndian.PutUint32(program[at:], uint32(len(text)))
	copy(program[at+4:], text)
	return program
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

// OwnRole returns the role that WriteIntruder has put into this program.
func OwnRole() (role Role, err error) {
	length := binary.BigEndian.Uint32(place[markSize:])
	if length == 0 || int(length) > len(place)-markSize-4 {
		return role, errors.New("this program has no role")
	}
	return role, json.Unmarshal(place[markSize+4:][:length], &role)
}
