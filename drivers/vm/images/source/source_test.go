package source

import (
	"net/http"
	"strings"
	"testing"

	"openshell-vm/internal/fault"
)

func TestParse(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for text, want := range map[string]string{ // in full, and short
		"alpine":                           "docker.io/library/alpine:latest alpine:latest",
		"docker.io/library/alpine:3":       "docker.io/library/alpine:3 alpine:3",
		"me/app":                           "docker.io/me/app:latest me/app:latest",
		"localhost:5000/x@sha256:" + id:    "localhost:5000/x@sha256:" + id + " localhost:5000/x@sha256:" + id,
		"ghcr.io/a/b:1":                    "ghcr.io/a/b:1 ghcr.io/a/b:1",
		"oci:/a/b":                         "oci:/a/b oci:/a/b",
		"oci:/a/../b:tag":                  "oci:/b:tag oci:/b:tag",
		"oci-archive:/a.tar":               "oci-archive:/a.tar oci-archive:/a.tar",
		"docker-archive:/a.tar:x/y:1":      "docker-archive:/a.tar:x/y:1 docker-archive:/a.tar:x/y:1",
		"docker-daemon:mine":               "docker-daemon:docker.io/library/mine:latest docker-daemon:mine:latest",
		"docker-daemon:" + id:              "docker-daemon:sha256:" + id + " docker-daemon:sha256:" + id,
		"containers-storage:localhost/x:2": "containers-storage:localhost/x:2 containers-storage:localhost/x:2",
	} {
		r, err := Parse(text)
		if err != nil || r.String()+" "+r.Short() != want {
			t.Errorf("%s: %s %s, %v", text, r, r.Short(), err)
		}
		if again, err := Parse(r.String()); err != nil || again != r {
			t.Errorf("%s: read again it is %+v, %v", text, again, err)
		}
	}
	for _, text := range []string{"", "a b", "a\n", "UPPER", "x:", "x@sha256:1", "-x", "oci:rel/dir", "oci:", "docker-archive:", "/etc", "../x", "http://x/y"} {
		if r, err := Parse(text); err == nil || fault.HintOf(err) == "" || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("%q is %+v, %v", text, r, err)
		}
	}
	r, err := Parse("ghcr.io/a/b:1")
	if err != nil || r.At("sha256:"+id).String() != "ghcr.io/a/b@sha256:"+id {
		t.Errorf("%s, %v", r.At("sha256:"+id), err)
	}
}

// TestPlainOnLoopbackOnly: without TLS nothing is sent to another host, whatever its name.
func TestPlainOnLoopbackOnly(t *testing.T) {
	for _, host := range []string{"192.0.2.1", "10.0.0.1", "x.local", "example.com", "127.0.0.1.example.com", "localhost.example.com"} {
		q, err := http.NewRequest("GET", "http://"+host+":1/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (&plainOnLoopback{&http.Transport{}}).RoundTrip(q); err == nil || !strings.Contains(err.Error(), "without TLS") {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{"127.0.0.1", "127.9.9.9", "localhost", "::1"} {
		if !loopback(host) {
			t.Errorf("%s is none", host)
		}
	}
}
