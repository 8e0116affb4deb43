package docker

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"openshell-vm/drivers"
)

func TestSnapHint(t *testing.T) {
	const snap, plain = "/var/snap/docker/common/var-lib-docker", "/var/lib/docker"
	for _, c := range []struct {
		root, home, path string
		hidden           bool
	}{
		{plain, "/home/u", "/home/u/.local/state/openshell-vm/shares/x/auth", false},
		{"/home/u/.local/share/docker", "/home/u", "/home/u/.local/state/openshell-vm/shares/x/auth", false},
		{snap, "/home/u", "/home/u/.local/state/openshell-vm/shares/x/auth", true},
		{snap, "/home/u", "/home/u/openshell-vm/shares/x/auth", false},
		{snap, "/home/u", "/home/u/work/.hidden/auth", false}, // only what is hidden in the home itself
		{snap, "/home/u", "/home/other/src", false},
		{snap, "/home/u", "/home/other/.src", true},
		{snap, "/home/u", "/run/user/1000/openshell-vm/x/shares/y/auth", true},
		{snap, "/root", "/var/lib/openshell-vm/shares/x/auth", true},
		{snap, "/root", "/root/openshell-vm/shares/x/auth", false},
		{snap, "/home/u", "/tmp/x", true},
		{snap, "/home/u", "/media/disk/x", false},
		{snap, "/data/u", "/data/u/state", false},
		{"", "/home/u", "/tmp/x", false},
	} {
		hint := snapHint(c.root, c.home, c.path)
		if (hint != "") != c.hidden || c.hidden && !strings.Contains(hint, c.home+"/openshell-vm") {
			t.Errorf("%+v: %q", c, hint)
		}
	}
}

// TestSnapIsTold by a daemon that says of itself what one from snap says: there
// is no snapd here.
func TestSnapIsTold(t *testing.T) {
	t.Setenv("HOME", "/home/u")
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.45")
		if strings.HasSuffix(r.URL.Path, "/info") {
			_, _ = io.WriteString(w, `{"DockerRootDir": "/var/snap/docker/common/var-lib-docker", "OSType": "linux", "ServerVersion": "27"}`)
		}
	}))
	defer daemon.Close()
	for shares, told := range map[string]bool{
		"/home/u/.local/state/openshell-vm/shares": true, "/home/u/openshell-vm/shares": false, "": false,
	} {
		d := New(Config{Host: "tcp://" + daemon.Listener.Addr().String(), Shares: shares})
		info := d.Probe(t.Context())
		fact := slices.ContainsFunc(info.Details, func(f drivers.Fact) bool { return f.Name == "snap" })
		if !info.Usable || strings.Contains(info.Hint, "snap") != told || fact != told {
			t.Errorf("%q: %+v", shares, info)
		}
	}
}
