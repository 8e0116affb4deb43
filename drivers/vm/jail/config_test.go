package jail

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigIsRefused(t *testing.T) {
	good := func() Config {
		return Config{Name: "vm-1", Profile: Strict, Path: "/bin/true", Binds: []Bind{{Source: "/bin", Target: "/bin"}}}
	}
	if err := good().validate(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		spoil func(*Config)
		want  string
	}{
		{"no profile", func(c *Config) { c.Profile = "" }, "profile"},
		{"unknown profile", func(c *Config) { c.Profile = "lax" }, "profile"},
		{"no name", func(c *Config) { c.Name = "" }, "name"},
		{"name that leads out of the cgroup", func(c *Config) { c.Name = "../x" }, "name"},
		{"name with a slash", func(c *Config) { c.Name = "a/b" }, "name"},
		{"long name", func(c *Config) { c.Name = strings.Repeat("a", 65) }, "name"},
		{"relative program", func(c *Config) { c.Path = "true" }, "path"},
		{"relative source", func(c *Config) { c.Binds[0].Source = "bin" }, "source"},
		{"relative target", func(c *Config) { c.Binds[0].Target = "bin" }, "path"},
		{"target above the root", func(c *Config) { c.Binds[0].Target = "/../bin" }, "path"},
		{"target is the root", func(c *Config) { c.Binds[0].Target = "/" }, "path"},
		{"unclean mask", func(c *Config) { c.Masks = []string{"/a/"} }, "path"},
		{"unclean tmpfs", func(c *Config) { c.Tmpfs = []string{"/a//b"} }, "path"},
		{"relative device", func(c *Config) { c.Devices = []string{"null"} }, "path"},
		{"unknown capability", func(c *Config) { c.Caps = []string{"CAP_ALL"} }, "capability"},
		{"too few tasks", func(c *Config) { c.Tasks = 3 }, "tasks"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.spoil(&c)
			if _, err := Command("/bin/true", c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCapabilities(t *testing.T) {
	tests := []struct {
		profile Profile
		extra   []string
		want    uint64
	}{
		{Strict, nil, 0},
		{Strict, []string{"CAP_DAC_READ_SEARCH"}, 1 << 2},
		{FileServer, nil, 1 << 8},
		{WritingServer, []string{"CAP_CHOWN"}, 1<<8 | 1<<0},
		{WritingChrootServer, nil, 1<<8 | 1<<18},
		{ChrootServer, []string{"CAP_DAC_READ_SEARCH"}, 1<<8 | 1<<18 | 1<<2},
	}
	for _, tt := range tests {
		got, err := Config{Profile: tt.profile, Caps: tt.extra}.caps()
		if err != nil || got != tt.want {
			t.Errorf("%s with %v: got %#x, %v; want %#x", tt.profile, tt.extra, got, err, tt.want)
		}
	}
	if got := strings.Join(capabilityNames(1<<8|1<<2), " "); got != "CAP_DAC_READ_SEARCH CAP_SETPCAP" {
		t.Errorf("names: %q", got)
	}
}

// TestAppArmorProfile checks that the file in the hint exists, and covers the programs that make user
// namespaces.
func TestAppArmorProfile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("../../..", apparmorProfile))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"\n  userns,\n", "/openshell-{gateway,vmm,image} ", "abi <abi/4.0>,\n", "apparmor_parser -r"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("it has no %q", part)
		}
	}
}

func TestUserNamespaceHint(t *testing.T) {
	const limit, clone, armor = "/proc/sys/user/max_user_namespaces",
		"/proc/sys/kernel/unprivileged_userns_clone", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"allowed", map[string]string{limit: "100\n"}, ""},
		{"allowed by all", map[string]string{limit: "100\n", clone: "1\n", armor: "0\n"}, ""},
		{"none at all", map[string]string{limit: "0\n"}, "max_user_namespaces"},
		{"Debian's switch", map[string]string{limit: "100\n", clone: "0\n"}, "unprivileged_userns_clone"},
		{"Ubuntu's switch", map[string]string{limit: "100\n", clone: "1\n", armor: "1\n"}, "install the profile " + apparmorProfile},
		{"not built", nil, "built without"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := userNamespaceHint(func(name string) ([]byte, error) { return mapFile(tt.files, name) })
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q", got)
			}
		})
	}
}
