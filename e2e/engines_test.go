//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/gateway/api"
)

// engineImage is the image that scripts/engines puts into each engine: only busybox.
const engineImage = "localhost/openshell-busybox"

// engine is one driver as these tests see it: how to ask for a sandbox, and how to kill one
// without the gateway.
type engine struct {
	driver  string
	flags   []string
	kill    func(w *world, id string) // the sandbox, behind the gateway's back
	restart func(w *world)            // the engine, as by a crash; nil if there is none
}

// hostVars are the variables by which clients and the gateway find each container engine.
var hostVars = map[string]string{"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}

// engines are all drivers. One that is missing is skipped; with E2E_REQUIRE=1 it is a failure.
var engines = []engine{
	{driver: "vm", kill: killMonitor},
	{
		driver:  "docker",
		flags:   []string{"--driver", "docker", "--image", engineImage},
		kill:    func(w *world, id string) { w.killContainer("DOCKER_HOST", "docker", "-H", id) },
		restart: func(w *world) { w.engines("restart", "docker") },
	},
	{
		driver:  "podman",
		flags:   []string{"--driver", "podman", "--image", engineImage},
		kill:    func(w *world, id string) { w.killContainer("CONTAINER_HOST", "podman", "--url", id) },
		restart: func(w *world) { w.engines("restart", "podman") },
	},
}

// eachEngine runs body in a fresh world for each driver, beside other tests. Containers run only as
// root: the engines belong to root.
func eachEngine(t *testing.T, body func(t *testing.T, w *world, e engine)) {
	t.Parallel()
	onEngines(t, engines, body)
}

// eachEngineAlone is eachEngine for a test that ends engines, or serves at the one address of an
// engine's network. It ends before tests that run beside others begin.
func eachEngineAlone(t *testing.T, body func(t *testing.T, w *world, e engine)) {
	onEngines(t, engines, body)
}

// eachContainerEngine leaves VMs out: for what boots often, and is no matter of the driver.
func eachContainerEngine(t *testing.T, body func(t *testing.T, w *world, e engine)) {
	t.Parallel()
	onEngines(t, slices.DeleteFunc(slices.Clone(engines), func(e engine) bool { return e.driver == "vm" }), body)
}

func onEngines(t *testing.T, list []engine, body func(t *testing.T, w *world, e engine)) {
	for _, e := range list {
		t.Run(e.driver, func(t *testing.T) {
			host := hostVars[e.driver]
			if host != "" && os.Getenv(host) == "" {
				if os.Getenv("E2E_REQUIRE") == "1" {
					t.Fatalf("%s is not set: scripts/e2e starts the engines when run as root", host)
				}
				t.Skipf("%s is not set", host)
			}
			t.Parallel() // most of the time is spent waiting for tokens to expire
			w := newWorld(t, os.Getuid())
			for _, name := range hostVars {
				w.setenv(name, os.Getenv(name))
			}
			body(t, w, e)
		})
	}
}

// killContainer finds a sandbox's container by its label and kills it.
func (w *world) killContainer(hostVar, cli, hostFlag, id string) {
	w.Helper()
	base := []string{hostFlag, os.Getenv(hostVar)}
	if cli == "podman" {
		base = append([]string{"--remote"}, base...)
	}
	out, err := exec.Command(cli, append(base, "ps", "-q", "--filter", "label=openshell.ai/sandbox-id="+id)...).CombinedOutput()
	container := strings.TrimSpace(string(out))
	if err != nil || container == "" {
		w.Fatalf("no container for %s: %v, %s", id, err, out)
	}
	if out, err := exec.Command(cli, append(base, "kill", container)...).CombinedOutput(); err != nil {
		w.Fatalf("%s kill: %v, %s", cli, err, out)
	}
}

// killMonitor kills a VM's monitor, and with it the VM.
func killMonitor(w *world, id string) {
	w.Helper()
	for pid, cmdline := range w.processes() {
		if strings.Contains(cmdline, "openshell-vmm") && strings.Contains(cmdline, id) {
			w.must(syscall.Kill(pid, syscall.SIGKILL))
			return
		}
	}
	w.Fatalf("no monitor of %s", id)
}

// engines runs scripts/engines, which has started the tests' engines.
func (w *world) engines(args ...string) {
	w.Helper()
	if out, err := exec.Command("../scripts/engines", args...).CombinedOutput(); err != nil {
		w.Fatalf("scripts/engines %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestResumedByTheGateway is what this project exists for. A sandbox with a marker loses its
// gateway for longer than its token lives. In three of the four cases it dies, too. The next
// gateway has to bring it back: the marker is there, the token is fresh, and the old token is
// refused.
func TestResumedByTheGateway(t *testing.T) {
	cases := []struct {
		name string
		// down is called after the gateway was killed and before the token expires.
		down    func(w *world, e engine, id string)
		restart bool // the sandbox is another process afterwards
	}{
		{"kept-running", func(*world, engine, string) {}, false},
		{"died", func(w *world, e engine, id string) { e.kill(w, id) }, true},
		{"engine-crashed", func(w *world, e engine, id string) { e.kill(w, id); e.restart(w) }, true},
	}
	eachEngineAlone(t, func(t *testing.T, w *world, e engine) {
		for _, c := range cases {
			if c.name == "engine-crashed" && e.restart == nil {
				continue // a VM's engine is its monitor, which died above
			}
			t.Run(c.name, func(t *testing.T) {
				w := w.as(t)
				s := w.start(c.name, "16s", e.flags...)
				j := w.judgeOf(s.Share)
				w.run("exec", c.name, "sh", "-c", "echo here >/marker; sync")

				w.killGateway()
				c.down(w, e, s.ID)
				old := w.token(s.Share)
				j.expire(old)

				w.run("ps") // starts the next gateway
				w.eventually("the gateway resumes it", patience, func() bool { return w.sandbox(c.name).State == "running" })
				w.readsFresh(c.name, j, s.Token.Generation)
				w.refuses(old)
				w.knows(c.name, old)
				if got := w.run("exec", c.name, "cat", "/marker"); got != "here\n" {
					t.Errorf("the marker reads %q", got)
				}
				if now := w.sandbox(c.name).StartedAt; now.Equal(s.StartedAt) == c.restart {
					t.Errorf("started at %v, before at %v", now, s.StartedAt)
				}
				w.run("rm", "-f", c.name)
			})
		}
		t.Run("stopped-before-expiry", func(t *testing.T) {
			w := w.as(t)
			s := w.start("stopped", "16s", e.flags...)
			j := w.judgeOf(s.Share)
			w.run("exec", "stopped", "sh", "-c", "echo here >/marker; sync")
			old := w.token(s.Share)
			w.run("stop", "-t", "2", "stopped")
			w.killGateway()
			j.expire(old)
			w.run("start", "stopped")
			w.readsFresh("stopped", j, s.Token.Generation)
			w.refuses(old)
			w.knows("stopped", old)
			if got := w.run("exec", "stopped", "cat", "/marker"); got != "here\n" {
				t.Errorf("the marker reads %q", got)
			}
		})
	})
}

// TestEngineExitCodes expects of containers the same exit codes as of VMs.
func TestEngineExitCodes(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world, e engine) {
		for command, code := range map[string]int{"exit 0": 0, "exit 7": 7, "sh -c 'kill -TERM $$'; exit $?": 143} {
			args := append([]string{"run", "--rm"}, e.flags...)
			if r := w.try(append(args, "--", "sh", "-c", command)...); r.code != code {
				t.Errorf("%s: exit code %d, %d is wanted\n%s", command, r.code, code, r.stderr)
			}
		}
	})
}

// TestOneFailureDelaysNobody makes one sandbox's renewals fail. Another one has to be renewed
// in time: it is a token for another audience, with a lifetime of its own, that is due. The
// first has to show its failure, and to recover by itself. The other one asks its gateway
// meanwhile, which knows its token before and after five renewals.
func TestOneFailureDelaysNobody(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world, e engine) {
		asks := []string{"--token", otherAudience + ",ttl=16s", "--allow-audience", askedAudience}
		bad, good := w.start("bad", "16s", e.flags...), w.start("good", "1h", append(asks, e.flags...)...)
		j := w.judgeOf(good.Share)
		w.knows("good", "")
		immutable(t, bad.Share, true)
		defer immutable(t, bad.Share, false)
		w.eventually("ps and inspect show the failure", patience, func() bool {
			s := w.sandbox("bad")
			return s.Token.Failures > 0 && s.Token.LastError != "" && strings.Contains(w.run("ps"), "failed")
		})
		t.Log(w.run("ps"))
		seen := map[uint64]bool{}
		w.witness("good", patience, func(r reading) bool {
			if err := j.check(r); err != nil {
				t.Error(err)
			}
			seen[r.Generation] = true
			return len(seen) < 3
		}, "-count", "0", "-every", "50ms")
		w.readsBoth("good")
		immutable(t, bad.Share, false)
		w.eventually("it recovers by itself", patience, func() bool { return w.sandbox("bad").Token.Failures == 0 })
		w.readsFresh("bad", w.judgeOf(bad.Share), bad.Token.Generation)
		w.asks("good", bad.Share)
		w.eventually("it has been renewed five times", patience, func() bool { return w.sandbox("good").Token.Generation >= good.Token.Generation+5 })
		w.knows("good", "")
		w.follows("good")
	})
}

// otherAudience is whom the tokens beside sandbox.jwt are for.
const otherAudience = "https://api.example.com"

// readsBoth reads the token for otherAudience and sandbox.jwt inside, in one generation, and has
// both verified: each is good for its own audience only, and they are of one generation.
func (w *world) readsBoth(name string) {
	w.Helper()
	both := strings.Fields(w.run("exec", name, "sh", "-c", "cd /etc/openshell/auth/..data && cat api.example.com.jwt && echo && cat sandbox.jwt"))
	if len(both) != 2 {
		w.Fatalf("%d tokens were read", len(both))
	}
	verify := func(token string, flags ...string) (r api.VerifyResult) {
		answer := w.tryWith(token, append([]string{"token", "verify", "-o", "json"}, flags...)...)
		if err := json.Unmarshal([]byte(answer.stdout), &r); err != nil {
			w.Fatalf("token verify: %v, %s", err, answer.stderr)
		}
		return r
	}
	other, own := verify(both[0], "--audience", otherAudience), verify(both[1])
	if !other.Valid || !own.Valid || other.Generation != own.Generation || !other.ExpiresAt.Before(own.ExpiresAt.Add(-50*time.Minute)) {
		w.Errorf("the token for another audience: %+v\nthat for the gateway: %+v", other, own)
	}
	if verify(both[0]).Valid || verify(both[1], "--audience", otherAudience).Valid {
		w.Errorf("a token is good for an audience that it is not for")
	}
	if s := w.sandbox(name); len(s.Token.Files) != 1 || s.Token.Files[0].Audience != otherAudience || s.Token.Renewals < 2 {
		w.Errorf("inspect shows %+v", s.Token)
	}
}

// immutable makes a directory refuse every change, also by root, or ends that.
func immutable(t *testing.T, dir string, on bool) {
	t.Helper()
	flag := "-i"
	if on {
		flag = "+i"
	}
	if out, err := exec.Command("chattr", flag, dir).CombinedOutput(); err != nil && on {
		t.Skipf("%v", fmt.Errorf("chattr on this file system: %w, %s", err, out))
	}
}
