package jailtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// libkrunEnv is the environment variable for the directory with the built libraries.
const libkrunEnv = "JAILTEST_LIBKRUN"

// pageSize is the alignment of the program in a hostile library's file.
const pageSize = 4096

// BuildLibkrun builds, once for all tests and users, a libkrun that becomes an intruder
// instead of a VM, and a libkrunfw beside it. Without a C compiler it returns "".
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
		library := []string{"-Wno-format-zero-length", "-shared", "-fPIC", "-Wl,-soname," + name, "-o", filepath.Join(dir, name)}
		args = append(library, args...)
		if out, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
			t.Fatalf("build a hostile %s: %v\n%s", name, err, out)
		}
	}
	t.Setenv(libkrunEnv, dir)
	return dir
}

// WriteLibkrun puts the hostile library at path. The intruder and its role are in the same
// file, from a page boundary on.
func WriteLibkrun(t *testing.T, path string, role Role) {
	t.Helper()
	library, err := os.ReadFile(filepath.Join(BuildLibkrun(t), "libkrun.so.1"))
	if err != nil {
		t.Fatal(err)
	}
	library = append(library, make([]byte, pageSize-len(library)%pageSize)...)
	writeProgram(t, path, append(library, intruder(t, role)...))
}
