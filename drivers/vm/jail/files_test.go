package jail

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mapFile reads from files as os.ReadFile does.
func mapFile(files map[string]string, name string) ([]byte, error) {
	content, ok := files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(content), nil
}

func TestLoaderList(t *testing.T) {
	tests := []struct {
		name, out string
		want      []string
		err       string
	}{
		{"glibc", "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n",
			[]string{"/lib/x/libc.so.6"}, ""},
		{"musl", "\t/lib/ld-musl-x86_64.so.1 (0x7f)\n\tlibz.so.1 => /usr/lib/libz.so.1 (0x7f)\n", []string{"/usr/lib/libz.so.1"}, ""},
		{"a path with blanks", "\tliba.so => /opt/my libs (old)/liba.so (0x7f)\n", []string{"/opt/my libs (old)/liba.so"}, ""},
		{"statically linked", "\tstatically linked\n", nil, ""},
		{"missing", "\tlibz.so.1 => not found\n", nil, "libz.so.1 is not installed"},
		{"strange", "\tlibz.so.1 => here\n", nil, "not understood"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseList(tt.out)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || !slices.Equal(got, tt.want) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestProgramOfTheHost(t *testing.T) {
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Skip(err)
	}
	binds, err := Program(t.Context(), shell)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range binds {
		if st, err := os.Stat(b.Source); err != nil || !st.Mode().IsRegular() {
			t.Errorf("%s is no file: %v", b.Source, err)
		}
		if b.Writable {
			t.Errorf("%s is writable", b.Source)
		}
	}
	if !slices.ContainsFunc(binds, func(b Bind) bool { return b.Source == shell && b.Exec }) {
		t.Errorf("the program itself is not in %v", binds)
	}
}

func TestProgramThatIsNone(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{script, "/nonexistent"} {
		if binds, err := Program(t.Context(), path); err == nil {
			t.Errorf("%s: %v", path, binds)
		}
	}
}

func TestLandlockVersions(t *testing.T) {
	for abi := 1; abi < 6; abi++ {
		fs, net, scoped := handled(abi)
		fs2, net2, scoped2 := handled(abi + 1)
		if fs&^fs2 != 0 || net&^net2 != 0 || scoped&^scoped2 != 0 {
			t.Errorf("version %d can deny less than version %d", abi+1, abi)
		}
	}
	if fs, net, scoped := handled(1); fs != 1<<13-1 || net != 0 || scoped != 0 {
		t.Errorf("version 1: %#x %#x %#x", fs, net, scoped)
	}
	if _, err := landlockABI(); err != nil {
		t.Log(err)
	}
}
