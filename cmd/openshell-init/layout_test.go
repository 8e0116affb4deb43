package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
)

func TestParseSpec(t *testing.T) {
	good := func() guest.BootSpec {
		return guest.BootSpec{
			Version: guest.Version, AuthDir: contract.AuthDir,
			Process: vocab.Process{Args: []string{"sh"}},
			Mounts:  []guest.GuestMount{{Name: guest.MountName(0), Target: "/srv"}},
		}
	}
	mount := func(name, target string) func(*guest.BootSpec) {
		return func(s *guest.BootSpec) { s.Mounts = []guest.GuestMount{{Name: name, Target: target}} }
	}
	further := func(targets ...string) func(*guest.BootSpec) {
		return func(s *guest.BootSpec) {
			for i, target := range targets {
				s.Shares = append(s.Shares, guest.GuestMount{Name: guest.ShareName(i), Target: target})
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(*guest.BootSpec)
		want  string // in the error; "" for none
	}{
		"good":              {func(*guest.BootSpec) {}, ""},
		"newer":             {func(s *guest.BootSpec) { s.Version++ }, "version"},
		"older":             {func(s *guest.BootSpec) { s.Version = 1 }, ""},
		"of no version":     {func(s *guest.BootSpec) { s.Version = 0 }, "version"},
		"no command":        {func(s *guest.BootSpec) { s.Process.Args = nil }, "no command"},
		"moved share":       {func(s *guest.BootSpec) { s.AuthDir = "/home/a/.ssh" }, ""},
		"share over mounts": {func(s *guest.BootSpec) { s.AuthDir = "/srv" }, "in the place of the share auth"},
		"share over others": {func(s *guest.BootSpec) { s.AuthDir = "/etc/openshell" }, "is needed for others"},
		"share over all":    {func(s *guest.BootSpec) { s.AuthDir = "/" }, "no clean"},
		"share over etc":    {func(s *guest.BootSpec) { s.AuthDir = "/etc" }, "is needed for others"},
		"moved, for a user": {func(s *guest.BootSpec) { s.AuthDir, s.TokenUser = "/home/a", "a" }, "can't be kept for a"},
		"further shares":    {further("/etc/openshell/shares/a", "/opt/b"), ""},
		"one in another":    {further("/opt/b", "/opt/b/c"), "and share-0 at /opt/b"},
		"one in the own":    {further(contract.AuthDir + "/x"), "and auth at"},
		"writable share": {func(s *guest.BootSpec) {
			s.Shares = []guest.GuestMount{{Name: "share-0", Target: "/opt", Writable: true}}
		}, "writable"},
		"empty name":         {mount("", "/srv"), "no name"},
		"name with a slash":  {mount("auth/x", "/srv"), "no name"},
		"name that climbs":   {mount("..", "/srv"), "no name"},
		"all shares":         {mount(".", "/srv"), "no name"},
		"relative target":    {mount("m", "srv"), "no clean"},
		"unclean target":     {mount("m", "/srv/../etc"), "no clean"},
		"root as the target": {mount("m", "/"), "no clean"},
		"over the share":     {mount("m", "/etc/openshell"), "in the share's place"},
		"inside the share":   {mount("m", contract.AuthDir+"/x"), "in the share's place"},
		"beside the share":   {mount("m", "/etc/openshell2"), ""},
		"over what it is in": {mount("m", "/etc"), ""},
		"share in the mirror": {func(s *guest.BootSpec) {
			s.MirrorDir, s.AuthDir = contract.MirrorDir, contract.MirrorDir+"/auth"
		}, "and the mirror at"},
		"share around the mirror": {func(s *guest.BootSpec) { s.MirrorDir, s.AuthDir = "/opt/a/mirror", "/opt/a" }, "and the mirror at"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := good()
			c.spoil(&spec)
			data, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parseSpec(data)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	if _, err := parseSpec([]byte("{")); err == nil {
		t.Error("a broken spec was taken")
	}
}

func TestReadSpec(t *testing.T) {
	shares := t.TempDir()
	if _, err := readSpec(shares); err == nil {
		t.Error("a missing spec was read")
	}
	boot := filepath.Join(shares, guest.BootDir)
	if err := os.Mkdir(boot, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(boot, guest.SpecFile)
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, maxSpec+1); err != nil {
		t.Fatal(err)
	}
	if _, err := readSpec(shares); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("a huge spec gives %v", err)
	}
}

func TestFindDevicesByName(t *testing.T) {
	class := t.TempDir()
	for name, content := range map[string]string{
		"vport0p1/name": "stdio\n", "vport0p2/name": "control\n", "vport0p3/dev": "1:2\n",
		"vda/serial": "other\n", "vdb/serial": "upper\n", "vdc/size": "8\n", "vda/ro": "0\n", "vdd/ro": "1\n", "vde/serial": "image\n",
	} {
		file := filepath.Join(class, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if dev, err := awaitPort(class, "control", time.Now()); err != nil || dev != "/dev/vport0p2" {
		t.Errorf("the control port is %q, %v", dev, err)
	}
	if dev, err := awaitPort(class, "console", time.Now()); err == nil {
		t.Errorf("a port that is not there is %q", dev)
	}
	for what, test := range map[string]struct {
		is   func(string) bool
		want string
	}{
		"for changes, by its serial number": {(layout{}).isUpper, "/dev/vdb"},
		"with the image, by its number":     {(layout{}).isImage, "/dev/vde"},
		"for changes, as it can be written": {(layout{Traits: oldTraits}).isUpper, "/dev/vda"},
		"with the image, as it can't":       {(layout{Traits: oldTraits}).isImage, "/dev/vdd"},
	} {
		if dev, err := findDisk(class, test.is); err != nil || dev != test.want {
			t.Errorf("the disk %s is %q, %v", what, dev, err)
		}
	}
}

// TestTraits checks the traits of a boot spec. An older gateway's spec has none: the init
// then uses the traits that it found itself.
func TestTraits(t *testing.T) {
	const old = `{"version":1,"authDir":"/etc/openshell/auth","process":{"args":["sh"]}}`
	for name, test := range map[string]struct {
		spec        string
		found, want guest.Traits
	}{
		"old, one device":  {old, oldTraits, oldTraits},
		"old, two devices": {old, guest.Traits{}, guest.Traits{}},
		"told": {
			strings.Replace(old, "{", `{"traits":{"cachesNames":true,"loneDisk":true,"exitRequest":30210,"endsByRestart":true},`, 1),
			guest.Traits{}, oldTraits,
		},
		"told none": {strings.Replace(old, "{", `{"traits":{},`, 1), oldTraits, guest.Traits{}},
	} {
		spec, err := parseSpec([]byte(test.spec))
		if err != nil {
			t.Fatal(err)
		}
		if got := (layout{Traits: test.found}).with(spec.Traits).Traits; got != test.want {
			t.Errorf("%s: %+v, not %+v", name, got, test.want)
		}
	}
}
