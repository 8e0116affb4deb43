package container

import (
	"errors"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/place"
	"openshell-vm/drivers/driverstest"
)

// A user or a directory that the image has not: what engines said, word for word.
func TestExplainProcess(t *testing.T) {
	long := strings.Repeat("5", 64)
	for _, c := range []struct{ text, want, hint string }{
		{"unable to find user nosuch: no matching entries in passwd file",
			"start it: unable to find user nosuch: no matching entries in passwd file", "/etc/passwd"},
		{"unable to find group nosuch: no matching entries in group file",
			"start it: unable to find group nosuch: no matching entries in group file", "/etc/group"},
		{`workdir "/nosuch" does not exist on container ` + long, `start it: workdir "/nosuch" does not exist`, "--workdir"},
		{`workdir "/bin/sh" exists on container ` + long + `, but is not a directory`,
			`start it: workdir "/bin/sh" exists, but is not a directory`, "--workdir"},
		{"Error response from daemon: Cannot mkdir: /bin/sh is not a directory",
			"start it: Cannot mkdir: /bin/sh is not a directory", "--workdir"},
		{text: "error creating overlay mount: lowerdir=/a,upperdir=/b,workdir=/c: no such device"},
		{text: `OCI runtime error: runc create failed: error mounting "/x" to rootfs at "/y": no space`},
	} {
		err := explainProcess("start it", errors.New(c.text))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.text, err)
		case c.want != "" && (err == nil || err.Error() != c.want || !strings.Contains(drivers.HintOf(err), c.hint)):
			t.Errorf("%s: %v, hint %q", c.text, err, drivers.HintOf(err))
		}
	}
}

func TestExplainPull(t *testing.T) {
	e := &fake{}
	for text, says := range map[string]string{
		"manifest for x:y not found: manifest unknown":                                                "no such image",
		"pull access denied for x, repository does not exist or may require 'docker'":                 "no such image",
		"initializing source docker://x: requested access to the resource is denied":                  "no such image",
		`Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host`: "can't be reached",
		"no space left on device": "no space left",
		`short-name "x:y" did not resolve to an alias and no unqualified-search registries are defined in ` +
			`"/etc/containers/registries.conf"`: "no alias for it and names no registry to search",
		`short-name resolution enforced but cannot prompt without a TTY`: "ask on a terminal",
	} {
		err := explainPull(e, "x:y", errors.New(text))
		if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "x:y") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A short name that Podman can't make a full one of: the hint has the full one.
func TestExplainShortName(t *testing.T) {
	e := &fake{}
	said := errors.New(`short-name resolution: did not resolve to an alias and no unqualified-search registries are defined`)
	for image, full := range map[string]string{"alpine": "docker.io/library/alpine;", "me/tool:1": "docker.io/me/tool:1;"} {
		if hint := drivers.HintOf(explainPull(e, image, said)); !strings.Contains(hint, full) {
			t.Errorf("%s: hint %q", image, hint)
		}
	}
}

// A directory with mounts below it, in a user namespace: what engines said. /dev has
// such mounts everywhere.
func TestExplainSubmounts(t *testing.T) {
	e := &fake{}
	with, err := drivers.NewMount("/dev", "/data")
	if err != nil {
		t.Fatal(err)
	}
	without, err := drivers.NewMount(t.TempDir(), "/other")
	if err != nil {
		t.Fatal(err)
	}
	for text, known := range map[string]bool{
		`OCI runtime create failed: runc create failed: error mounting "/dev" to rootfs at "/data": ` +
			`mount /proc/self/fd/6:/data (via /proc/self/fd/12), flags: 0x1001: invalid argument: unknown`: true,
		"crun: mount `/dev` to `data`: Invalid argument: OCI runtime error":                 true,
		`error mounting "` + without.Source() + `" to rootfs at "/other": invalid argument`: false,
		`error mounting "/dev" to rootfs at "/data": no space left on device`:               false,
		`invalid argument "/dev" for "-v"`:                                                  false,
	} {
		err := explainSubmounts(e, errors.New(text), []drivers.Mount{without, with})
		switch {
		case !known && err != nil:
			t.Errorf("%s: %v", text, err)
		case known:
			driverstest.Refused(t, err, "is mounted below it, which fake in a user namespace")
		}
	}
}

// An engine that can't be reached is no registry that can't be.
func TestExplainPullWithoutEngine(t *testing.T) {
	err := explainPull(&lost{}, "x:y", errors.New("dial tcp 127.0.0.1:1: connection refused"))
	if strings.Contains(err.Error(), "registry") || !strings.Contains(err.Error(), "cannot connect to") {
		t.Error(err)
	}
}

// lost is an engine that nobody can reach.
type lost struct{ fake }

func (*lost) Explain(op string, err error) error {
	return place.Place{Engine: "Fake", Host: "tcp://127.0.0.1:1", From: place.FromDefault}.Unreachable(op, err)
}
