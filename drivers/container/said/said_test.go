package said

import (
	"errors"
	"testing"
)

// What engines said, word for word.
func TestExecFailure(t *testing.T) {
	for _, c := range []struct {
		text string
		code int
	}{
		{`Error response from daemon: failed to create shim: OCI runtime create failed: container_linux.go:380: ` +
			`starting container process caused: exec: "nope": executable file not found in $PATH: unknown`, 127},
		{`failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: ` +
			`unable to start container process: exec: "/no/such": stat /no/such: no such file or directory: unknown`, 127},
		{`runc: runc create failed: unable to start container process: exec: "/etc": is a directory: OCI permission denied`, 126},
		{`runc: runc create failed: unable to start container process: exec: "/etc/passwd": permission denied: OCI permission denied`, 126},
		{"crun: executable file `nope` not found in $PATH: No such file or directory: " +
			"OCI runtime attempted to invoke a command that was not found", 127},
		{"crun: open executable: Permission denied: OCI permission denied", 126},
		{`runc create failed: unable to start container process: exec: "mount": executable file not found in $PATH`, 127},
		{`runc create failed: unable to start container process: error during container init: ` +
			`error mounting "/x" to rootfs at "/y": stat /x: no such file or directory: unknown`, 0},
		{`invalid mount config for type "bind": bind source path does not exist: /exec: x`, 0},
		{`unable to find user nobody: no matching entries in passwd file`, 0},
		{`driver failed programming external connectivity`, 0},
	} {
		if got := ExecFailure(errors.New(c.text)); got != c.code {
			t.Errorf("%d, wanted %d: %s", got, c.code, c.text)
		}
	}
}

func TestFirstLine(t *testing.T) {
	long := errors.New("Error response from daemon: OCI runtime create failed: container_linux.go:380: " +
		"starting container process caused: exec: \"x\": not found\nand more\n")
	if got := FirstLine(long); got != `exec: "x": not found` {
		t.Errorf("%q", got)
	}
	for _, c := range [][2]string{
		{"crun: executable file `x` not found in $PATH: No such file or directory: " +
			"OCI runtime attempted to invoke a command that was not found",
			"executable file `x` not found in $PATH: No such file or directory"},
		{`runc: runc create failed: unable to start container process: exec: "/etc": is a directory: OCI permission denied`,
			`exec: "/etc": is a directory`},
		{`failed to create shim: OCI runtime create failed: exec: "x": executable file not found in $PATH: unknown`,
			`exec: "x": executable file not found in $PATH`},
		{"manifest for x:y not found: manifest unknown", "manifest for x:y not found: manifest unknown"},
	} {
		if got := FirstLine(errors.New(c[0])); got != c[1] {
			t.Errorf("%q, wanted %q", got, c[1])
		}
	}
	if got := Line(""); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	plain := Plain("start it", long)
	if plain.Error() != `start it: exec: "x": not found` || !errors.Is(plain, long) {
		t.Errorf("%q, or its cause is lost", plain)
	}
}
