package drivers

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestShareTargets: what is in another's way is refused in a line with a hint, whatever is mounted.
func TestShareTargets(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "own")
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	mount := func(source, target string) Mount {
		m, err := NewMount(source, target)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, c := range map[string]struct {
		at, user       string
		inotify        bool
		shares, mounts []string
		writable       string
		problem        string // "" if it is fine
	}{
		"the usual places":         {shares: []string{"/etc/openshell/shares/a", "/etc/openshell/shares/b"}},
		"elsewhere":                {at: "/home/agent/.ssh", shares: []string{"/srv/a", "/opt/b"}, mounts: []string{"/data"}},
		"beside a mount":           {shares: []string{"/work2"}, mounts: []string{"/work"}},
		"kept for a user":          {user: "agent", shares: []string{"/etc/openshell/shares/a"}},
		"two at one place":         {shares: []string{"/srv/a", "/srv/a"}, problem: "another share is at /srv/a"},
		"one in another":           {shares: []string{"/srv/a", "/srv/a/b"}, problem: "another share is at /srv/a"},
		"one around another":       {shares: []string{"/srv/a", "/srv"}, problem: "another share is at /srv/a"},
		"in the own share":         {shares: []string{"/etc/openshell/auth/x"}, problem: "the sandbox's own share"},
		"where that usually is":    {at: "/srv/own", shares: []string{"/etc/openshell/auth"}, problem: "the sandbox's own share"},
		"in the moved own share":   {at: "/srv/own", shares: []string{"/srv/own/x"}, problem: "another share is at /srv/own"},
		"around all":               {shares: []string{"/etc"}, problem: "would hide /etc/openshell/shares"},
		"the gateway's socket":     {shares: []string{"/run/openshell"}, problem: "the gateway's socket"},
		"own over the socket":      {at: "/run", problem: "the gateway's socket"},
		"own over the others":      {at: "/etc/openshell", problem: "would hide"},
		"own open to all":          {at: "/srv/own", user: "agent", problem: "kept from other users"},
		"under a mount":            {shares: []string{"/work/a"}, mounts: []string{"/work"}, problem: "the share s0 is shown at /work/a"},
		"around a mount":           {shares: []string{"/work"}, mounts: []string{"/work/a"}, problem: "the share s0 is shown at /work"},
		"under a writable mount":   {shares: []string{"/work/a"}, writable: "/work", problem: "the share s0 is shown at /work/a"},
		"own under a mount":        {at: "/work/a", mounts: []string{"/work"}, problem: "would hide the token"},
		"own under a writable one": {at: "/work/a", writable: "/work", problem: "would hide the token"},
		"at a file":                {shares: []string{"/etc/hosts"}, problem: "a sandbox has a file there"},
		"in a file":                {shares: []string{"/etc/resolv.conf/a"}, problem: "a sandbox has a file there"},
		"own at a file":            {at: "/etc/hostname", problem: "a sandbox has a file there"},
		"a mount at a file":        {mounts: []string{"/etc/hosts"}, problem: "a sandbox has a file there"},
		"beside files":             {at: "/etc/hosts.d", mounts: []string{"/etc/resolv"}},

		"beside the mirror":            {inotify: true, shares: []string{"/etc/openshell/mirrors", "/etc/openshell/shares/a"}, mounts: []string{"/data"}},
		"no mirror":                    {shares: []string{"/etc/openshell/mirror"}},
		"the mirror":                   {inotify: true, shares: []string{"/etc/openshell/mirror"}, problem: "the mirror is at /etc/openshell/mirror"},
		"in the mirror":                {inotify: true, shares: []string{"/etc/openshell/mirror/auth"}, problem: "the mirror is at"},
		"own in the mirror":            {inotify: true, at: "/etc/openshell/mirror/auth", problem: "the mirror is at"},
		"own around the mirror":        {inotify: true, at: "/etc", problem: "the mirror is at"},
		"around the mirror":            {inotify: true, at: "/srv/own", shares: []string{"/etc/openshell"}, problem: "the mirror is at"},
		"a mount in the mirror":        {inotify: true, mounts: []string{"/etc/openshell/mirror/x"}, problem: "the share's mirror is at"},
		"a mount around the mirror":    {inotify: true, at: "/srv/own", mounts: []string{"/etc"}, problem: "the share's mirror is at"},
		"a writable one in the mirror": {inotify: true, writable: "/etc/openshell/mirror", problem: "the share's mirror is at"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := Spec{Auth: mount("/state/auth", AuthDir), VM: VM{TokenUser: c.user, Inotify: c.inotify}}
			if c.at != "" {
				spec.Auth = mount("/state/auth", c.at)
			}
			for i, target := range c.shares {
				spec.Shares = append(spec.Shares, Share{"s" + string(rune('0'+i)), mount("/state/named/s/auth", target)})
			}
			for _, target := range c.mounts {
				spec.Mounts = append(spec.Mounts, mount(own, target))
			}
			if c.writable != "" {
				w, err := NewWritable(own, c.writable, "")
				if err != nil {
					t.Fatal(err)
				}
				spec.Writable = append(spec.Writable, w)
			}
			_, err := JudgeMounts(spec)
			if c.problem == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.problem) || e.Hint == "" {
				t.Errorf("%v, not %q", err, c.problem)
			}
		})
	}
}

// TestContractFollows: the token's path in the environment is where the share is.
func TestContractFollows(t *testing.T) {
	at, err := NewMount("/state/auth", "/home/agent/.ssh")
	if err != nil {
		t.Fatal(err)
	}
	if env := (Spec{Auth: at}).ContractEnv(); env[0] != "OPENSHELL_SANDBOX_TOKEN_FILE=/home/agent/.ssh/sandbox.jwt" {
		t.Errorf("%q", env)
	}
}
