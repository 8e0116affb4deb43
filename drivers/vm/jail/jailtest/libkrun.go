package jailtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// libkrunEnv names a directory with the libraries that were built.
const libkrunEnv = "JAILTEST_LIBKRUN"

// pageSize is where a hostile library looks for the program in its file.
const pageSize = 4096

// BuildLibkrun builds a libkrun that becomes an intruder when it is to become a
// VM, and a libkrunfw beside it, for all tests and users. Without a C compiler
// it returns "".
func BuildLibkrun(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(libkrunEnv); dir != "" {
		return dir
	}
	compiler, err := exec.LookPath("cc")
	if err != nil {
		return ""
	}
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	root, dir := strings.TrimSpace(string(module)), OpenDir(t)
	for name, args := range map[string][]string{
		"libkrun.so.1":   {"-DVERSION=11900", root + "/drivers/vm/jail/jailtest/testdata/hostile.c"},
		"libkrunfw.so.5": {"-DFIRMWARE", root + "/krun/testdata/contract.c"},
	} {
		args = append([]string{"-Wno-format-zero-length", "-shared", "-fPIC", "-Wl,-soname," + name, "-o", filepath.Join(dir, name)}, args...)
		if out, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
			t.Fatalf("build a hostile %s: %v\n%s", name, err, out)
		}
	}
	t.Setenv(libkrunEnv, dir)
	return dir
}

// WriteLibkrun puts the hostile library at path, and the intruder with its role
// on a page of its file.
func WriteLibkrun(t *testing.T, path string, role Role) {
	t.Helper()
	library, err := os.ReadFile(filepath.Join(BuildLibkrun(t), "libkrun.so.1"))
	if err != nil {
		t.Fatal(err)
	}
	library = append(library, make([]byte, pageSize-len(library)%pageSize)...)
	writeProgram(t, path, append(library, intruder(t, role)...))
}
