package container

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"openshell-vm/drivers"
)

func newMount(t *testing.T, source, target string) drivers.Mount {
	t.Helper()
	m, err := drivers.NewMount(source, target)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tree makes a home with a state directory in it and a file.
func tree(t *testing.T) string {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"home/state/keys", "data", "auth"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return top
}

func TestPlan(t *testing.T) {
	top := tree(t)
	for name, c := range map[string]struct {
		mounts []drivers.Mount
		masks  []string
		fails  bool
	}{
		"none":                    {},
		"a directory":             {mounts: []drivers.Mount{newMount(t, top+"/data", "/data")}},
		"one that holds state":    {mounts: []drivers.Mount{newMount(t, top+"/home", "/h")}, masks: []string{"/h/state"}},
		"state itself":            {mounts: []drivers.Mount{newMount(t, top+"/home/state", "/s")}, fails: true},
		"below state":             {mounts: []drivers.Mount{newMount(t, top+"/home/state/keys", "/s")}, fails: true},
		"missing":                 {mounts: []drivers.Mount{newMount(t, top+"/absent", "/a")}, fails: true},
		"a file":                  {mounts: []drivers.Mount{newMount(t, top+"/file", "/f")}, fails: true},
		"the share's target":      {mounts: []drivers.Mount{newMount(t, top+"/data", drivers.AuthDir)}, fails: true},
		"above the share":         {mounts: []drivers.Mount{newMount(t, top+"/data", "/etc/openshell")}, fails: true},
		"below the share":         {mounts: []drivers.Mount{newMount(t, top+"/data", drivers.AuthDir+"/x")}, fails: true},
		"one target twice":        {mounts: []drivers.Mount{newMount(t, top+"/data", "/d"), newMount(t, top+"/home", "/d")}, fails: true},
		"one in another":          {mounts: []drivers.Mount{newMount(t, top+"/data", "/d"), newMount(t, top+"/data", "/d/state")}},
		"a name that only begins": {mounts: []drivers.Mount{newMount(t, top+"/data", "/etc/openshell/authority")}},
	} {
		for _, recursive := range []bool{false, true} {
			spec := drivers.Spec{Auth: newMount(t, top+"/auth", drivers.AuthDir), Mounts: c.mounts, Hidden: []string{top + "/home/state"}}
			p, err := planOf(spec, Host{RecursiveReadOnly: recursive})
			if (err != nil) != c.fails || !slices.Equal(p.masks, c.masks) {
				t.Errorf("%s: masks %v, error %v", name, p.masks, err)
			}
			if err != nil && drivers.HintOf(err) == "" {
				t.Errorf("%s: no hint with %v", name, err)
			}
			if err == nil && (p.shares[0].Recursive != recursive || len(p.binds) != len(c.mounts)) {
				t.Errorf("%s: %+v", name, p)
			}
		}
	}
}

// TestPlanToWrite: what may be written to shows with its submounts, after what it lies in.
func TestPlanToWrite(t *testing.T) {
	top := tree(t)
	w, err := drivers.NewWritable(top+"/data", "/d", "")
	if err != nil {
		t.Fatal(err)
	}
	spec := drivers.Spec{Auth: newMount(t, top+"/auth", drivers.AuthDir), Mounts: []drivers.Mount{newMount(t, top+"/data", "/d/x")},
		Writable: []drivers.Writable{w}}
	p, err := planOf(spec, Host{})
	want := []Bind{{Source: top + "/data", Target: "/d", Recursive: true, Writable: true}, {Source: top + "/data", Target: "/d/x"}}
	if err != nil || !slices.Equal(p.binds, want) || p.judged["/d"] == (drivers.Directory{}) {
		t.Errorf("%+v, %v", p, err)
	}
	spec.Hidden = []string{top + "/data"}
	if _, err := planOf(spec, Host{}); err == nil || drivers.HintOf(err) == "" {
		t.Errorf("a hidden one: %v", err)
	}
}

func TestMapped(t *testing.T) {
	for _, c := range []struct {
		uidMap string
		uid    uint32
		want   bool
	}{
		{"         0          0 4294967295\n", 1000, true},
		{"         0       1000          1\n         1     100000      65536\n", 1000, true},
		{"         0       1000          1\n         1     100000      65536\n", 0, false},
		{"         0     100000       1024\n", 1000, false},
		{"         0     100000       1024\n", 101023, true},
		{"         0     100000       1024\n", 101024, false},
		{"", 0, false},
	} {
		if got := mapped(c.uidMap, c.uid); got != c.want {
			t.Errorf("uid %d in %q: %v", c.uid, c.uidMap, got)
		}
	}
}

// This process sees its own directories, and they are not read-only.
func TestLook(t *testing.T) {
	top := tree(t)
	if err := os.Symlink(top+"/data", top+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source, target string
		known          bool
	}{
		{top + "/data", top + "/data", true},
		{top + "/data", top + "/link", true}, // in this root
		{top + "/data", top + "/home", false},
		{top + "/data", top + "/absent", false},
		{top + "/absent", top + "/data", false},
	} {
		if got := look(os.Getpid(), newMount(t, c.source, c.target)); got.known != c.known || got.readOnly {
			t.Errorf("%s at %s: %+v", c.source, c.target, got)
		}
	}
	if look(0, newMount(t, top+"/data", top+"/data")).known {
		t.Error("no process sees anything")
	}
}

// What was judged is told from what has its path now, through /proc or by the
// engine's word alone.
func TestHolds(t *testing.T) {
	top := tree(t)
	data, err := drivers.Judge("mount it", top+"/data", nil)
	if err != nil {
		t.Fatal(err)
	}
	changed := func() time.Time {
		info, err := os.Stat(top + "/data")
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	for name, c := range map[string]struct {
		engine *fake
		target string
		pid    int
		state  drivers.State
		want   bool
	}{
		"this very directory":        {&fake{}, "/data", os.Getpid(), drivers.Running, true},
		"another":                    {&fake{}, "/home", os.Getpid(), drivers.Running, false},
		"nothing there":              {&fake{}, "/absent", os.Getpid(), drivers.Running, false},
		"its process has ended":      {&fake{}, "/data", 1 << 30, drivers.Running, true},
		"by the engine":              {&fake{stat: Stat{true, changed()}}, "/data", 0, drivers.Running, true},
		"another by the engine":      {&fake{stat: Stat{true, changed().Add(-time.Hour)}}, "/data", 0, drivers.Running, false},
		"a file by the engine":       {&fake{stat: Stat{false, changed()}}, "/data", 0, drivers.Running, false},
		"gone when the engine looks": {&fake{statErr: []error{drivers.ErrNotFound}}, "/data", 0, drivers.Running, false},
		"ended before it looks":      {&fake{statErr: []error{errors.New("about to end")}}, "/data", 0, drivers.Exited, true},
	} {
		d := created(t, c.engine)
		c.engine.state = c.state
		f, err := d.finder.find(t.Context(), testID)
		if err != nil {
			t.Fatal(err)
		}
		f.PID = c.pid
		v := verifier{d.engine, d.finder}
		if got := v.holds(t.Context(), f, shown{top + "/data", top + c.target}, data.Is, c.pid > 0); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if err := errors.Join(os.Rename(top+"/data", top+"/moved"), os.Mkdir(top+"/data", 0o700)); err != nil {
		t.Fatal(err)
	}
	d := created(t, &fake{stat: Stat{true, changed()}})
	f, _ := d.finder.find(t.Context(), testID)
	if (verifier{d.engine, d.finder}).holds(t.Context(), f, shown{top + "/data", "/data"}, data.Is, false) {
		t.Error("a source that was exchanged is taken for the judged one")
	}
}
