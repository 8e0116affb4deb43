//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// ownEngine is an engine's own command line.
type ownEngine struct {
	name, hostVar string
	command       []string
}

var ownEngines = []ownEngine{
	{"docker", "DOCKER_HOST", []string{"docker", "-H"}},
	{"podman", "CONTAINER_HOST", []string{"podman", "--remote", "--url"}},
}

// container is a container that was started without openshell-vm.
type container struct {
	*world
	cli []string
	id  string
}

// eachOwnEngine runs body with each engine that is there.
func eachOwnEngine(t *testing.T, body func(t *testing.T, w *world, cli []string)) {
	t.Parallel()
	for _, e := range ownEngines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel() // most of the time is spent waiting for renewals
			host := os.Getenv(e.hostVar)
			if host == "" && os.Getenv("E2E_REQUIRE") == "1" {
				t.Fatalf("%s is not set: scripts/e2e starts the engines when run as root", e.hostVar)
			} else if host == "" {
				t.Skipf("%s is not set", e.hostVar)
			}
			body(t, newWorld(t, os.Getuid()), append(e.command[:len(e.command):len(e.command)], host))
		})
	}
}

// runOwn starts a container in the background, and removes it at the test's end.
func (w *world) runOwn(cli []string, args ...string) *container {
	w.Helper()
	c := &container{world: w, cli: cli}
	c.id = strings.TrimSpace(c.engine(append([]string{"run", "-d"}, args...)...))
	w.Cleanup(func() { c.engine("rm", "-f", c.id) })
	return c
}

// engine runs the engine's command line and returns what it prints.
func (c *container) engine(args ...string) string {
	c.Helper()
	out, err := exec.Command(c.cli[0], append(c.cli[1:len(c.cli):len(c.cli)], args...)...).CombinedOutput()
	if err != nil {
		c.Fatalf("%s %s: %v\n%s", c.cli[0], strings.Join(args, " "), err, out)
	}
	return string(out)
}

// token reads the token as a program inside does: from where the environment says.
func (c *container) token() string {
	c.Helper()
	for {
		out := c.engine("exec", c.id, "sh", "-c", `cat "$OPENSHELL_SANDBOX_TOKEN_FILE" && echo " read"`)
		if raw, whole := strings.CutSuffix(strings.TrimSpace(out), " read"); whole {
			return strings.TrimSpace(raw)
		}
		c.Logf("the engine lost what the exec printed: %q", out)
	}
}

// readsFreshOverRenewals reads until it has seen three tokens. Each has to be good when it is
// read.
func (c *container) readsFreshOverRenewals(j *judge) {
	c.Helper()
	seen := map[string]bool{}
	c.eventually("the container reads three tokens", patience, func() bool {
		asked := time.Now()
		raw := c.token()
		seen[raw] = true
		if err := j.inTime(raw, asked, time.Now()); err != nil {
			c.Fatalf("the container reads a bad token: %v", err)
		}
		return len(seen) >= 3
	})
}

// makeShare makes a share and returns the directory to mount.
func (w *world) makeShare(name string) (auth string) {
	return strings.TrimSpace(w.run("share", "create", "--ttl", "16s", "--quiet", name))
}

// TestShareForOnesOwnContainer starts a container by `docker run $(openshell-vm share create …)`.
// It has to read a fresh token over renewals, an expired one while no gateway runs, and a fresh
// one as soon as a gateway runs again.
func TestShareForOnesOwnContainer(t *testing.T) {
	eachOwnEngine(t, func(t *testing.T, w *world, cli []string) {
		args := strings.Fields(w.run("share", "create", "--ttl", "16s", "agent"))
		if again := w.run("share", "create", "agent"); again != strings.Join(args, " ")+"\n" {
			t.Errorf("the second time it prints %q, not %q", again, args)
		}
		auth := strings.TrimSpace(w.run("share", "create", "--ignore", "--quiet", "agent"))
		j := w.judgeOf(auth)
		c := w.runOwn(cli, append(args, engineImage, "sleep", "1000000")...)
		w.must(os.WriteFile(filepath.Join(w.home, "agent.yaml"), []byte("a: 1\n"), 0o644))
		w.run("share", "put", "agent", filepath.Join(w.home, "agent.yaml"))
		if got := c.engine("exec", c.id, "cat", "/etc/openshell/auth/agent.yaml"); got != "a: 1\n" {
			t.Errorf("the file beside the token reads %q", got)
		}
		if out := c.engine("exec", c.id, "sh", "-c", "touch /etc/openshell/auth/x 2>&1 || echo refused"); !strings.Contains(out, "refused") {
			t.Errorf("the container wrote into its share: %s", out)
		}
		c.readsFreshOverRenewals(j)
		for _, token := range j.tokens() {
			if strings.Contains(c.engine("inspect", c.id), token) {
				t.Error("a token stands in the engine's inspect")
			}
		}

		read, before := time.Now(), c.token()
		w.run("keys", "rotate")
		asked, now := time.Now(), c.token()
		if now == before || j.inTime(now, asked, time.Now()) != nil || j.inTime(before, read, asked) != nil {
			t.Errorf("after keys rotate the token is the same, or one of both is refused")
		}

		w.killGateway()
		old := c.token()
		j.expire(old)
		if c.token() != old {
			t.Error("somebody renewed the share without a gateway")
		}
		w.run("share", "create", "--ignore", "agent")
		asked = time.Now()
		if err := j.inTime(c.token(), asked, time.Now()); err != nil {
			t.Errorf("the gateway runs, and the container reads: %v", err)
		}
		last := c.token()
		if r := w.try("share", "rm", "agent"); r.code != 125 || !strings.Contains(r.stderr, "is in use: ") {
			t.Errorf("a share that a running container has mounted is removed: %+v", r)
		}
		w.run("share", "rm", "--force", "agent")
		w.refuses(last)
	})
}

// TestFailedShareStartsNothing runs `docker run $(openshell-vm share create NAME) IMAGE`. The shell
// goes on if the inner command fails. What that prints then has to keep the engine from running
// the container without a token.
func TestFailedShareStartsNothing(t *testing.T) {
	eachOwnEngine(t, func(t *testing.T, w *world, cli []string) {
		w.run("share", "create", "agent")
		for _, create := range [][]string{{"agent", "--ttl", "20m"}, {"--ttl", "1s", "other"}, {"--nosuch", "agent"}, {"a/b"}} {
			r := w.try(append([]string{"share", "create"}, create...)...)
			args := append(append([]string{"run", "--rm"}, strings.Fields(r.stdout)...), engineImage, "echo", "it runs")
			out, err := exec.Command(cli[0], append(cli[1:len(cli):len(cli)], args...)...).CombinedOutput()
			if r.code != 125 || err == nil || strings.Contains(string(out), "it runs") {
				t.Errorf("share create %s: code %d; %s run: %v\n%s", strings.Join(create, " "), r.code, cli[0], err, out)
			}
		}
	})
}

// expanded replaces ${NAME} and ${NAME:-DEFAULT} as Compose does.
func expanded(text string, env map[string]string) string {
	return os.Expand(text, func(expression string) string {
		name, otherwise, _ := strings.Cut(expression, ":-")
		return cmp.Or(env[name], otherwise)
	})
}

// composeFile is the part of the Compose specification that the example uses.
type composeFile struct {
	Services map[string]struct {
		Image       string
		Command     []string
		Environment map[string]string
		Restart     string
		Volumes     []struct {
			Type, Source, Target string
			ReadOnly             bool `yaml:"read_only"`
			Bind                 struct {
				CreateHostPath *bool `yaml:"create_host_path"`
				SELinux        string
			}
		}
	}
}

// TestComposeExample runs what examples/compose.yaml says. If Compose is installed, Compose reads
// the file, too.
func TestComposeExample(t *testing.T) {
	text, err := os.ReadFile("../examples/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// Without the share's place the example names a directory below a file. No engine can make that.
	if unset := expanded(string(text), nil); !strings.Contains(unset, "source: /dev/null/") {
		t.Errorf("without OPENSHELL_SHARE: %s", unset)
	}
	for _, compose := range [][]string{{"docker", "compose"}, {"docker-compose"}} { // v2, and 1.29
		if exec.Command(compose[0], append(compose[1:], "version")...).Run() != nil {
			continue
		}
		for _, env := range []string{"OPENSHELL_SHARE=/x", "OPENSHELL_SHARE="} {
			config := exec.Command(compose[0], append(compose[1:], "-f", "../examples/compose.yaml", "config", "--quiet")...)
			config.Env = append(os.Environ(), env)
			if out, err := config.CombinedOutput(); err != nil {
				t.Errorf("%v config with %s: %v\n%s", compose, env, err, out)
			}
		}
	}
	eachOwnEngine(t, func(t *testing.T, w *world, cli []string) {
		auth := w.makeShare("agent")
		decoder := yaml.NewDecoder(strings.NewReader(expanded(string(text), map[string]string{"OPENSHELL_SHARE": auth})))
		decoder.KnownFields(true)
		var file composeFile
		w.must(decoder.Decode(&file))
		service := file.Services["agent"]
		args := []string{"--restart", service.Restart}
		for name, value := range service.Environment {
			args = append(args, "--env", name+"="+value)
		}
		for _, v := range service.Volumes {
			if v.Type != "bind" || !v.ReadOnly || v.Bind.CreateHostPath != nil && *v.Bind.CreateHostPath {
				t.Errorf("%s would be writable, or made if it is missing", v.Target)
			}
			args = append(args, "--mount", fmt.Sprintf("type=%s,src=%s,dst=%s,readonly", v.Type, v.Source, v.Target))
		}
		if len(service.Volumes) != 1 || service.Image == "" {
			t.Fatalf("the service is %+v", service)
		}
		c := w.runOwn(cli, append(append(args, engineImage), service.Command...)...)
		c.readsFreshOverRenewals(w.judgeOf(auth))
		w.eventually("the command reads the metadata", patience, func() bool {
			return strings.Contains(c.engine("logs", c.id), `"authMode":"gateway-managed-file"`)
		})
	})
}

// unitWords splits words as systemd does, as far as the example's Exec needs it: at blanks, outside
// of double quotes.
func unitWords(line string) []string {
	var list []string
	for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		list = append(list, m[1]+m[2])
	}
	return list
}

// unit reads a unit file: the values of each Section.Key, in order.
func unit(t *testing.T, path string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values, section := map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, isValue := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		case isValue:
			values[section+"."+key] = append(values[section+"."+key], value)
		default:
			t.Errorf("%s: a line that is none: %q", path, line)
		}
	}
	return values
}

// generators are the places where distributions have Podman's generator.
var generators = []string{"/usr/lib/systemd/user-generators/podman-user-generator", "/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet"}

// TestQuadletExample runs what examples/openshell-agent.container says. If Podman's generator is
// installed (Podman 4.4), it reads the file, too.
func TestQuadletExample(t *testing.T) {
	for _, generator := range generators {
		if _, err := os.Stat(generator); err != nil {
			continue
		}
		examples, err := filepath.Abs("../examples")
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(generator, "--user", "--dryrun")
		cmd.Env = append(os.Environ(), "QUADLET_UNIT_DIRS="+examples)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "ExecStart=") || !strings.Contains(string(out), ":/etc/openshell/auth:ro,z") {
			t.Errorf("%s: %v\n%s", generator, err, out)
		}
		break
	}
	file := unit(t, "../examples/openshell-agent.container")
	eachOwnEngine(t, func(t *testing.T, w *world, cli []string) {
		// A user with an ordinary home has the programs and the state in %h/.local.
		w.must(os.MkdirAll(filepath.Join(w.home, ".local/state"), 0o755))
		w.must(os.Symlink(w.bin, filepath.Join(w.home, ".local/bin")))
		w.must(os.Symlink(w.stateDir(), filepath.Join(w.home, ".local/state/openshell-vm")))
		specified := func(key string) []string {
			var list []string
			for _, value := range file[key] {
				list = append(list, strings.ReplaceAll(value, "%h", w.home))
			}
			return list
		}
		w.makeShare("agent") // by hand first, so that its tokens are short-lived
		for _, line := range specified("Service.ExecStartPre") {
			first := exec.Command(unitWords(line)[0], unitWords(line)[1:]...)
			first.Env = w.env
			if out, err := first.CombinedOutput(); err != nil {
				t.Fatalf("ExecStartPre %s: %v\n%s", line, err, out)
			}
		}
		var args []string
		for _, v := range specified("Container.Volume") {
			args = append(args, "--volume", v)
		}
		for _, v := range specified("Container.Environment") {
			args = append(args, "--env", v)
		}
		c := w.runOwn(cli, append(append(args, engineImage), unitWords(specified("Container.Exec")[0])...)...)
		c.readsFreshOverRenewals(w.judgeOf(filepath.Join(w.stateDir(), "named/agent/auth")))
		w.eventually("the command reads the metadata", patience, func() bool {
			return strings.Contains(c.engine("logs", c.id), `"generation"`)
		})
	})
}

// TestGatewayUnitExample runs what the unit that starts the gateway at boot says.
func TestGatewayUnitExample(t *testing.T) {
	w := newWorld(t, os.Getuid())
	line := unitWords(unit(t, "../examples/openshell-gateway.service")["Service.ExecStart"][0])
	gateway := exec.Command(strings.Replace(line[0], "%h/.local/bin", w.bin, 1), line[1:]...)
	gateway.Env = w.env
	w.must(gateway.Start())
	w.eventually("it listens", patience, func() bool { return w.gatewayPID() == gateway.Process.Pid })
	w.run("share", "create", "agent")
	w.run("gateway", "stop")
	if err := gateway.Wait(); err != nil {
		t.Errorf("stopped, it ends with %v: it would be started again", err)
	}
}
