package testhost

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What AsUser gives the test binary that it runs.
const (
	envWitness = "OPENSHELL_SUITE_WITNESS" // the built witness
	envServant = "OPENSHELL_SUITE_SERVANT" // a socket that takes orders for scripts/engines
	envWorkDir = "OPENSHELL_SUITE_DIR"     // a directory of the user's own
	envNetns   = "OPENSHELL_SUITE_NETNS"   // it runs in an engine's network
)

// AsUser runs the tests that pattern names once more, as another user: a gateway that is
// not root, on an engine that may be root's. They run in a copy of this test's binary.
// This process does for it what needs root: it starts and ends the engine. The test is
// skipped if this process is not root. Of more, what begins with "-test." is a flag of the
// binary, and the rest is its environment.
func AsUser(t *testing.T, uid int, groups []int, pattern string, more ...string) {
	t.Helper()
	asUser(t, "", uid, groups, pattern, more...)
}

func asUser(t *testing.T, netns string, uid int, groups []int, pattern string, more ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	dir, err := os.MkdirTemp("/var/tmp", "suite-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	own := filepath.Join(dir, "own")
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(dir, 0o755), os.Chown(own, uid, uid)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, "test")
	copyProgram(t, "/proc/self/exe", binary)
	servant := serve(t, filepath.Join(dir, "servant.sock"))
	cmd := exec.Command(binary, "-test.run", pattern, "-test.v")
	cmd.Dir = own
	cmd.Env = append(os.Environ(), envWitness+"="+Witness(t, dir), envServant+"="+servant, envWorkDir+"="+own, "HOME="+own)
	for _, text := range more {
		if strings.HasPrefix(text, "-test.") {
			cmd.Args = append(cmd.Args, text)
		} else {
			cmd.Env = append(cmd.Env, text)
		}
	}
	credential := &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	for _, g := range groups {
		credential.Groups = append(credential.Groups, uint32(g))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Pdeathsig: syscall.SIGKILL}
	if netns != "" {
		cmd.Env = append(cmd.Env, envNetns+"=1")
	}
	var out []byte
	err = InNetns(netns, func() (err error) {
		out, err = cmd.CombinedOutput()
		return err
	})
	t.Logf("as uid %d:\n%s", uid, out)
	if err != nil {
		t.Errorf("as uid %d: %v", uid, err)
	}
	if !strings.Contains(string(out), "--- PASS") {
		t.Errorf("as uid %d: no test passed", uid)
	}
}

// serve takes orders for scripts/engines, each a line such as "restart podman". It
// answers with a line, which is "" in quotes if the order was carried out.
func serve(t testing.TB, path string) string {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("../../scripts/engines")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			order, err := bufio.NewReader(conn).ReadString('\n')
			if err == nil {
				out, err := exec.Command(script, strings.Fields(order)...).CombinedOutput()
				if err == nil {
					out = nil
				}
				fmt.Fprintln(conn, strconv.Quote(string(out)))
			}
			conn.Close()
		}
	}()
	return path
}

// order has the servant of AsUser do something.
func order(t testing.TB, servant, what, engine string) {
	t.Helper()
	conn, err := net.Dial("unix", servant)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, what, engine)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != `""` {
		t.Fatalf("scripts/engines %s %s: %s, %v", what, engine, answer, err)
	}
}
