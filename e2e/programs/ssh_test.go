//go:build e2e

package programs_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"openshell-vm/drivers/driverstest/testhost"
)

// sshServer is sshd on this host, in the engine's network. Each command of a session is a line
// in the file ran.
type sshServer struct {
	w              *world
	dir, keys, ran string
}

// sshd starts one, which is ended with the test.
func (w *world) sshd(dir string) *sshServer {
	w.Helper()
	s := &sshServer{w, dir, filepath.Join(dir, "authorized_keys"), filepath.Join(dir, "ran")}
	w.must(os.MkdirAll("/run/sshd", 0o755)) // where sshd shuts its children in
	w.host(dir, "ssh-keygen -q -t ed25519 -N '' -f host_key")
	public, err := os.ReadFile(filepath.Join(dir, "host_key.pub"))
	w.must(err)
	w.must(os.WriteFile(filepath.Join(dir, "known_hosts"), []byte(buildName+" "+string(public)), 0o644))
	config := fmt.Sprintf("ListenAddress %s:22\nHostKey %s/host_key\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"+
		"PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile %s\nForceCommand %s\nMaxStartups 100\n",
		w.address, dir, s.keys, filepath.Join(dir, "session"))
	session := fmt.Sprintf("#!/bin/sh\necho \"$SSH_ORIGINAL_COMMAND\" >>%s\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n", s.ran)
	w.must(os.WriteFile(filepath.Join(dir, "session"), []byte(session), 0o755))
	w.must(os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(config), 0o600))
	sshd, err := exec.LookPath("sshd")
	w.must(err)
	cmd := w.here(context.Background(), dir, sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	log, err := os.Create(filepath.Join(dir, "sshd.log"))
	w.must(err)
	cmd.Stderr = log
	w.must(cmd.Start())
	w.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		log.Close()
		if text, _ := os.ReadFile(log.Name()); w.Failed() {
			w.Logf("%s", text[max(0, len(text)-4096):])
		}
	})
	w.eventually("sshd listens", patience, func() bool {
		return testhost.InNetns(w.netns, func() error {
			conn, err := net.Dial("tcp", net.JoinHostPort(w.address, "22"))
			if err == nil {
				conn.Close()
			}
			return err
		}) == nil
	})
	return s
}

// takes has the server take these keys, and no other.
func (s *sshServer) takes(names ...string) {
	s.w.Helper()
	var text []byte
	for _, name := range names {
		public, err := os.ReadFile(filepath.Join(s.dir, name+".pub"))
		s.w.must(err)
		text = append(text, public...)
	}
	s.w.must(os.WriteFile(s.keys+".new", text, 0o600))
	s.w.must(os.Rename(s.keys+".new", s.keys))
}

// sessions counts the sessions that have ended, by the loop in the sandbox.
func (w *world) sessions(name string) (good int) {
	w.Helper()
	good, err := strconv.Atoi(strings.TrimSpace(w.inside(name, "cat /tmp/good")))
	w.must(err)
	return good
}

// sshLoop begins a session after the other, until there is a file /tmp/stop. The first one that fails
// ends it.
const sshLoop = `echo 0 >/tmp/good; n=0
while [ ! -e /tmp/stop ]; do
	ssh -o BatchMode=yes build.example.com true || exit 1
	n=$((n+1)); echo $n >/tmp/good.new; mv /tmp/good.new /tmp/good
done`

// testSSH replaces the key while sessions come and one goes on. The old key is refused after that.
func (w *world) testSSH(r *recipe) {
	dir := w.dir("ssh")
	server := w.sshd(dir)
	w.host(dir, r.next("host"))
	server.takes("deploy")
	w.named("deployer")
	w.file("deployer", "~/.ssh/config", r.next("~/.ssh/config"))
	replace := r.next("host")
	if got := strings.TrimSpace(w.inside("deployer", "stat -L -c '%a %u' /etc/openshell/auth/ssh/a")); got != "400 0" {
		w.Errorf("the key's mode and owner are %s", got)
	}
	w.inside("deployer", "ssh -o BatchMode=yes build.example.com true && echo 0 >/tmp/good")
	var ends sync.WaitGroup
	for name, lines := range map[string]string{"a session": "ssh build.example.com 'until [ -e " + dir + "/over ]; do sleep 0.2; done; echo still'", "sessions": sshLoop} {
		ends.Go(func() {
			out, err := w.try("exec", "deployer", "sh", "-c", lines)
			if err != nil || name == "a session" && out != "still\n" {
				w.Errorf("%s: %q, %v", name, out, err)
			}
		})
	}
	end := sync.OnceFunc(func() { // also of a test that fails: they tell it of their failures
		_, err := w.try("exec", "deployer", "touch", "/tmp/stop")
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, "over"), nil, 0o644)); err != nil {
			w.Error(err)
		}
		ends.Wait()
	})
	w.Cleanup(end)
	more := func(what string) {
		w.Helper()
		before := w.sessions("deployer")
		w.eventually(what, 3*patience, func() bool { return w.Failed() || w.sessions("deployer") >= before+3 })
	}
	w.eventually("both have begun", patience, func() bool {
		text, _ := os.ReadFile(server.ran)
		return w.Failed() || strings.Contains(string(text), "until") && strings.Count(string(text), "true\n") > 1
	})
	keys, turns := []string{"deploy"}, w.rates.turns
	if w.driver == "vm" {
		turns = 3 // an emulated guest's session may take 20 s
	}
	for i := range turns {
		old, now := keys[i], fmt.Sprint("new", i)
		keys = append(keys, now)
		w.host(dir, fmt.Sprintf("ssh-keygen -q -t ed25519 -N '' -f %s; cp %s new", now, now))
		server.takes(old, now)
		w.host(dir, strings.Replace(replace, "deploy-a", []string{"deploy-a", "deploy-b"}[i%2], 1))
		more("who was about to begin by the old key has done so")
		server.takes(now)
		more("sessions come by the new key")
	}
	end()
	w.Logf("%d sessions, %d keys, none refused", w.sessions("deployer"), len(keys))
	for i, key := range keys {
		cmd := w.here(context.Background(), dir, "ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=known_hosts",
			"-o", "HostKeyAlias="+buildName, "-i", key, "root@"+w.address, "true")
		out, err := cmd.CombinedOutput()
		if taken, newest := err == nil, i == len(keys)-1; taken != newest || !newest && !strings.Contains(string(out), "Permission denied") {
			w.Errorf("the key %s, of %d: %v\n%s", key, len(keys), err, out)
		}
	}
}
