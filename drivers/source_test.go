package drivers

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestCheckDir(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(dir, link), syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir: "", link: "", "/": "",
		dir + "/none": "none does not exist", file: "file is a file, not a directory", dir + "/fifo": "not a directory",
		file + "/below": "not a directory", "relative": `"relative" is not an absolute path`, "": `"" is not an absolute path`,
		"/" + strings.Repeat("x", 300): "file name too long",
	} {
		err := CheckDir("mount it", path)
		if want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "mount it: ") || !strings.Contains(err.Error(), want) || HintOf(err) == "" {
			t.Errorf("%.20q: %v (%s)", path, err, HintOf(err))
		}
	}
}

// TestJudgeMounts: a mount may be refused because of its target or because of its source.
func TestJudgeMounts(t *testing.T) {
	dir := t.TempDir()
	var auth Mount
	mount := func(pairs ...string) (all []Mount) {
		for i := 0; i < len(pairs); i += 2 {
			m, err := NewMount(pairs[i], pairs[i+1])
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
		return all
	}
	auth = mount(dir, AuthDir)[0]
	for _, c := range []struct {
		mounts []Mount
		says   string
	}{
		{mount(dir, "/etc"), "would hide the token"},
		{mount(dir, "/etc/openshell"), "would hide the token"},
		{mount(dir, "/etc/openshell/auth"), "would hide the token"},
		{mount(dir, "/etc/openshell/auth/more"), "would hide the token"},
		{mount(dir, "/data", dir, "/data"), "/data is taken"},
		{mount(dir+"/none", "/data"), "does not exist"},
		{mount("/proc", "/data"), "proc"},
	} {
		_, err := JudgeMounts(Spec{Auth: auth, Mounts: c.mounts})
		if err == nil || !strings.Contains(err.Error(), c.says) || HintOf(err) == "" {
			t.Errorf("%v: %v (%s)", c.mounts, err, HintOf(err))
		}
	}
	good := Spec{Auth: auth, Mounts: mount(dir, "/data", dir, "/etc/openshell-other", dir, "/data/below")}
	trees, err := JudgeMounts(good)
	if err != nil || len(trees) != 3 || trees[0].Source != dir || trees[0].Is == (Directory{}) {
		t.Errorf("%+v, %v", trees, err)
	}
}
