package driverstest

import (
	"bufio"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/testhost"
)

// networks: with none a sandbox has its loopback alone; else it has a way out, and
// somebody to ask for names.
func networks(t *testing.T, s *fixture.Suite) string {
	none := s.Box(t, func(b *fixture.Box) {
		b.Spec.Network = drivers.NetworkNone
		b.Runs("net", "links")
	})
	out, code := none.Run(false).Rest()
	if code != 0 || !slices.Contains(out, "lo 127.0.0.1/8") {
		t.Errorf("without a network: code %d, %q", code, out)
	}
	for _, line := range out {
		if !strings.HasPrefix(line, "lo ") {
			t.Errorf("without a network it has %q", line)
		}
	}
	user := s.Box(t, func(b *fixture.Box) { b.Spec.Network = drivers.NetworkUser })
	user.Run(false).Expect("ready")
	inside := func(script string) []string {
		out, code := user.Exec(drivers.Process{Args: []string{"sh", "-c", script}}, false).Rest()
		if code != 0 {
			t.Errorf("with a network: %s: code %d, %q", script, code, out)
		}
		return out
	}
	out = inside(user.Tool + " net links; grep -c ^nameserver /etc/resolv.conf; grep -c localhost /etc/hosts")
	if !slices.Contains(out, "default") || !slices.Contains(out, "lo 127.0.0.1/8") {
		t.Errorf("with a network: %q", out)
	}
	if s.Server == "" || s.Netns == nil {
		return "no server in its network: see the driver's own test"
	}
	return "by name: " + ByName(t, user.Tool, server(s, t), inside)
}

// server starts the witness's server in the engine's network, and returns its name and port.
func server(s *fixture.Suite, t *testing.T) (address string) {
	t.Helper()
	cmd := exec.Command(s.Program, "net", "serve", "0", s.Server)
	err := testhost.InNetns(s.Netns(), func() error {
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		lines := bufio.NewScanner(out)
		lines.Scan()
		port, ok := strings.CutPrefix(lines.Text(), "ready ")
		if !ok {
			return fmt.Errorf("the server said %q", lines.Text())
		}
		go func() {
			for lines.Scan() { // it must not block
			}
		}()
		address = "server.test:" + port
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// moved is how many bytes go each way.
const moved = 20_000_000

// ByName has a sandbox, in which the witness is at tool, reach a witness's server by its
// name: over HTTP, TCP and UDP, and with much data each way. inside runs a script in the
// sandbox and returns its lines. ByName returns how fast the data went.
func ByName(t *testing.T, tool, address string, inside func(script string) []string) (speed string) {
	t.Helper()
	out := inside(fmt.Sprintf(`wget -qO- http://%[2]s/; %[1]s net dial tcp %[2]s
		for try in 1 2 3 4 5; do %[1]s net dial udp %[2]s | grep ok && break; done
		%[1]s net give %[3]d %[2]s; %[1]s net take %[3]d %[2]s`, tool, address, moved))
	want := []string{"you got it", "tcp " + address + ": ok", "udp " + address + ": ok",
		fmt.Sprint(moved, " bytes in "), fmt.Sprint(moved, " bytes in ")}
	if len(out) != len(want) {
		t.Errorf("%s is not reached: %q", address, out)
		return ""
	}
	for i, line := range out {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("%s: %q; wanted %q", address, line, want[i])
		}
	}
	rate := func(line string) string { return line[strings.LastIndex(line, ": ")+2:] }
	return rate(out[3]) + " in, " + rate(out[4]) + " out"
}
