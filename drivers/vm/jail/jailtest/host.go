package jailtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Host is what lies around a jail and must be out of reach in it. Outside of a jail, the user
// who runs the test can read all of it and connect to it.
type Host struct {
	Keys       string // a signing key
	OtherShare string // another sandbox's token
	Socket     string // the gateway's
	Abstract   string // the name of a socket
	Port       int    // on loopback
	PID        int    // of a process of the gateway's user
}

// NewHost makes a Host in a state and a runtime directory. It ends with the test.
func NewHost(t *testing.T, state, runtime string) Host {
	t.Helper()
	h := Host{
		Keys: filepath.Join(state, "keys/1.pem"), OtherShare: filepath.Join(state, "shares/other/auth/sandbox.jwt"),
		Socket: filepath.Join(runtime, "gateway.sock"), Abstract: fmt.Sprintf("@jail-test-%d", os.Getpid()),
	}
	for _, file := range []string{h.Keys, h.OtherShare} {
		write(t, file, "secret")
	}
	if err := os.MkdirAll(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	listen(t, "unix", h.Socket)
	listen(t, "unix", h.Abstract)
	h.Port = listen(t, "tcp", "127.0.0.1:0").(*net.TCPAddr).Port
	h.PID = bystander(t)
	return h
}

// FillShare puts the files into dir that the attempts need in a share.
func FillShare(t *testing.T, dir string) {
	t.Helper()
	write(t, filepath.Join(dir, "file"), "content")
	write(t, filepath.Join(dir, "hidden/secret"), "content")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	CopyFile(t, "/bin/true", filepath.Join(dir, "program"))
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func listen(t *testing.T, network, address string) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr()
}

// bystander starts a process that does nothing, and returns its pid.
func bystander(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}
