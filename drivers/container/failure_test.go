package container

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
)

// What engines said, word for word.
func TestExecFailure(t *testing.T) {
	for _, c := range []struct {
		text string
		code int
	}{
		{`Error response from daemon: failed to create shim: OCI runtime create failed: container_linux.go:380: starting container process caused: exec: "nope": executable file not found in $PATH: unknown`, 127},
		{`failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "/no/such": stat /no/such: no such file or directory: unknown`, 127},
		{`runc: runc create failed: unable to start container process: exec: "/etc": is a directory: OCI permission denied`, 126},
		{`runc: runc create failed: unable to start container process: exec: "/etc/passwd": permission denied: OCI permission denied`, 126},
		{"crun: executable file `nope` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command that was not found", 127},
		{"crun: open executable: Permission denied: OCI permission denied", 126},
		{`runc create failed: unable to start container process: exec: "mount": executable file not found in $PATH`, 127},
		{`runc create failed: unable to start container process: error during container init: error mounting "/x" to rootfs at "/y": stat /x: no such file or directory: unknown`, 0},
		{`invalid mount config for type "bind": bind source path does not exist: /exec: x`, 0},
		{`unable to find user nobody: no matching entries in passwd file`, 0},
		{`driver failed programming external connectivity`, 0},
	} {
		if got := execFailure(errors.New(c.text)); got != c.code {
			t.Errorf("%d, wanted %d: %s", got, c.code, c.text)
		}
	}
}

func TestFirstLine(t *testing.T) {
	long := errors.New("Error response from daemon: OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"x\": not found\nand more\n")
	if got := firstLine(long); got != `exec: "x": not found` {
		t.Errorf("%q", got)
	}
	if got := Line(""); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	plain := Plain("start it", long)
	if plain.Error() != `start it: exec: "x": not found` || !errors.Is(plain, long) {
		t.Errorf("%q, or its cause is lost", plain)
	}
}

func TestDial(t *testing.T) {
	hints := Hints{Missing: "install", Denied: "join", Dead: "start"}
	dir := t.TempDir()
	alive, dead := filepath.Join(dir, "alive"), filepath.Join(dir, "dead")
	l, err := net.Listen("unix", alive)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	d.SetUnlinkOnClose(false)
	d.Close()
	for _, c := range []struct{ path, says, hint string }{
		{alive, "", ""},
		{dead, "nothing listens on " + dead, "start"},
		{filepath.Join(dir, "absent"), "does not exist", "install"},
	} {
		err := Dial("connect", c.path, hints)
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || drivers.HintOf(err) != c.hint) {
			t.Errorf("%s: %v, hint %q", c.path, err, drivers.HintOf(err))
		}
	}
	if os.Getuid() != 0 {
		if err := os.Chmod(alive, 0); err != nil {
			t.Fatal(err)
		}
		if err := Dial("connect", alive, hints); drivers.HintOf(err) != "join" {
			t.Errorf("closed to us: %v", err)
		}
	}
	if err := Unreachable("ask", alive, errors.New("EOF"), hints); !strings.Contains(err.Error(), "broke off: EOF") || drivers.HintOf(err) != "start" {
		t.Errorf("broken off: %v", err)
	}
	if got := FirstListening(dead, alive); got != alive {
		t.Errorf("%s listens", got)
	}
	if got := FirstListening(dead, dir); got != dead {
		t.Errorf("none listens, and %s was taken", got)
	}
}

func TestExplainPull(t *testing.T) {
	d := New(&fake{}, "gateway")
	for text, says := range map[string]string{
		"manifest for x:y not found: manifest unknown":                                                "no such image",
		"pull access denied for x, repository does not exist or may require 'docker'":                 "no such image",
		"initializing source docker://x: requested access to the resource is denied":                  "no such image",
		`Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host`: "can't be reached",
		"no space left on device": "no space left",
	} {
		err := d.explainPull("x:y", errors.New(text))
		if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "x:y") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
