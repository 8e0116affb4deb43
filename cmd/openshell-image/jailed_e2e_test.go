//go:build e2e

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/images/imagetest"
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/jail/jailtest"
	"openshell-vm/internal/fault"
)

// play makes this test binary openshell-image.
const play = "PLAY_OPENSHELL_IMAGE"

func TestMain(m *testing.M) {
	if os.Getenv(play) != "" || len(os.Args) > 1 && slices.Contains([]string{"jail", inside}, os.Args[1]) {
		main()
		return
	}
	os.Exit(m.Run())
}

// client runs this test binary as openshell-image.
func client(t *testing.T) images.Client {
	t.Setenv(play, "1")
	return images.Client{Program: jailtest.Self(t)}
}

func image(t *testing.T) v1.Image {
	return imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).Dir("etc").File("etc/a", strings.Repeat("x", 100_000)).Symlink("etc/b", "/etc/a"))
}

// TestSources: an image comes from each kind of source, though it is read in a complete jail.
func TestSources(t *testing.T) {
	jailtest.AsBoth(t, func(t *testing.T) {
		dir, registry := t.TempDir(), locked(t)
		if err := os.WriteFile(filepath.Join(dir, "docker-credential-suite"), []byte("#!/bin/sh\n"+
			`echo '{"ServerURL":"x","Username":"jo","Secret":"secret-password"}'`+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"credsStore":"suite"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		t.Setenv("DOCKER_CONFIG", dir)
		tag, err := name.NewTag("suite/jailed:1")
		if err != nil {
			t.Fatal(err)
		}
		saved, packed, oci := filepath.Join(dir, "saved.tar"), filepath.Join(dir, "saved.tar.gz"), ociDir(t, dir)
		if err := tarball.WriteToFile(saved, tag, image(t)); err != nil {
			t.Fatal(err)
		}
		compress(t, saved, packed)
		id, err := image(t).ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("DOCKER_HOST", "unix://"+engine(t, dir, id.String(), saved))
		c := client(t)
		for _, ref := range []string{registry, "oci:" + oci, "docker-archive:" + saved, "docker-archive:" + packed, "docker-daemon:suite/jailed:1"} {
			store := filepath.Join(t.TempDir(), "images")
			got, err := c.Pull(t.Context(), images.Request{Dir: store, Reference: ref, RequireJail: os.Geteuid() != 0}, nil)
			if err != nil {
				t.Errorf("%s: %v; %s", ref, err, fault.HintOf(err))
			} else if info, err := os.Stat(got.Block); err != nil || info.Size() < 100_000 || got.ID != id.String() {
				t.Errorf("%s: %+v, %v", ref, got, err)
			}
			if left, _ := filepath.Glob(filepath.Join(store, ".*-*")); len(left) > 0 {
				t.Errorf("%s: %q is left", ref, left)
			}
		}
		madeAnew(t, c, images.Request{Dir: filepath.Join(t.TempDir(), "images"), Reference: "oci:" + oci})
		_, err = c.Pull(t.Context(), images.Request{Dir: filepath.Join(dir, "images"), Reference: "oci:/nowhere/at/all"}, nil)
		if err == nil || !strings.Contains(err.Error(), "no such file") || !strings.Contains(fault.HintOf(err), "an OCI layout") {
			t.Errorf("%v; %s", err, fault.HintOf(err))
		}
	})
}

// madeAnew has a damaged image made anew. Who uses it is still known, though the jail does not
// show that sandbox's directory.
func madeAnew(t *testing.T, c images.Client, q images.Request) {
	got, err := c.Pull(t.Context(), q, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := store.Open(q.Dir)
	if err := errors.Join(s.Use(got.ID, "box", t.TempDir()), os.Truncate(got.Block, 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pull(t.Context(), q, nil); err != nil {
		t.Error(err)
	}
	if err := s.Remove(got.ID); !errors.Is(err, store.ErrInUse) {
		t.Errorf("the image of a sandbox is removed: %v", err)
	}
}

// locked puts the image into a registry that wants a login, and returns its reference.
func locked(t *testing.T) string {
	var closed atomic.Bool
	registry := imagetest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); closed.Load() && (user != "jo" || password != "secret-password") {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	defer closed.Store(true)
	return registry.Push(image(t), "suite/jailed:1")
}

// ociDir makes a directory that, if the test runs as root, another user alone may read.
func ociDir(t *testing.T, dir string) string {
	dir = filepath.Join(dir, "oci")
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendImage(image(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if out, err := exec.Command("sh", "-c", "chown -R 1500 "+dir+" && chmod -R go= "+dir).CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
	}
	return dir
}

// TestCrash: of what is killed in the jail there is one line.
func TestCrash(t *testing.T) {
	q, half, goOn := heldUp(t)
	defer close(goOn)
	c, done := client(t), make(chan error)
	go func() {
		_, err := c.Pull(t.Context(), q, nil)
		done <- err
	}()
	<-half
	if err := unix.Kill(insidePID(t), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "without an answer: exit status 1: openshell-image: in its jail: signal: killed") {
		t.Error(err)
	}
}

// TestLayoutLinks: no link in a directory leads the jail out of it.
func TestLayoutLinks(t *testing.T) {
	c := client(t)
	for name, spoil := range map[string]func(dir string) error{
		"blobs":      func(dir string) error { return os.Rename(dir+"/blobs", dir+"/elsewhere") },
		"index.json": func(dir string) error { return os.Rename(dir+"/index.json", dir+"/elsewhere") },
	} {
		dir := t.TempDir()
		oci := ociDir(t, dir)
		if err := errors.Join(spoil(oci), os.Symlink("elsewhere", filepath.Join(oci, name))); err != nil {
			t.Fatal(err)
		}
		_, err := c.Pull(t.Context(), images.Request{Dir: filepath.Join(dir, "images"), Reference: "oci:" + oci}, nil)
		if err == nil || !strings.Contains(err.Error(), name+" is neither a file nor a directory") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func compress(t *testing.T, from, to string) {
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// engine serves what Docker says of an image, and its archive, and returns the socket.
func engine(t *testing.T, dir, id, archive string) string {
	l, err := net.Listen("unix", filepath.Join(dir, "engine.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/get") {
			http.ServeFile(w, r, archive)
			return
		}
		fmt.Fprintf(w, `{"Id":%q}`, id)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// TestIntruder puts a hostile program in the place of the one that reads images: what a layer
// could make of it.
func TestIntruder(t *testing.T) {
	jailtest.BuildIntruder(t)
	jailtest.AsBoth(t, func(t *testing.T) {
		dir := t.TempDir()
		host, oci := jailtest.NewHost(t, dir, dir), ociDir(t, dir)
		for ref, except := range map[string]jailtest.Errnos{
			"oci:" + oci: {},
			"localhost:1/suite/x:1": {
				"connect to the host's loopback": {0}, // its registry may be there
			},
		} {
			t.Run(strings.SplitN(ref, ":", 2)[0], func(t *testing.T) { intrude(t, host, ref, except) })
		}
	})
}

func intrude(t *testing.T, host jailtest.Host, ref string, except jailtest.Errnos) {
	dir := t.TempDir()
	task := images.Task{Request: images.Request{Dir: filepath.Join(dir, "images"), Reference: ref}}
	targets := jailtest.Targets{Host: host, Work: task.Request.Dir}
	jailtest.Control(t, targets)
	if err := os.Mkdir(task.Request.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg, err := jailFor(t.Context(), &task)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "intruder")
	jailtest.WriteIntruder(t, program, jailtest.Role{Targets: targets})
	for i := range cfg.Binds {
		if cfg.Binds[i].Source == cfg.Path {
			cfg.Binds[i].Source = program
		}
	}
	cfg.Name, cfg.Tasks, cfg.Args = fmt.Sprintf("test-%d", os.Getpid()), 40, nil
	var out, errs bytes.Buffer
	c, err := jail.Command(jailtest.Self(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	report, err := c.Report()
	_ = c.Wait() // it ends in failure, for want of a thread
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v; %s", report.Mounts, report.Verdict())
	for _, name := range []string{"connect to the gateway's socket", "connect to an abstract socket"} {
		except[name] = []unix.Errno{unix.EPERM} // by its filter, whatever Landlock can: it makes no local socket
	}
	except["open a link at work that leads to the keys"] = []unix.Errno{unix.EPERM} // it makes no links
	for _, name := range []string{"link a program of the jail into it", "write to what the jail's programs are"} {
		except[name] = []unix.Errno{unix.ENOENT} // it has no /proc
	}
	jailtest.Judge(t, out.String(), "", targets, except)
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !d.Type().IsRegular() {
			t.Errorf("%s is left, a %s", path, d.Type())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// heldUp is a registry with the image, and a request for that. It holds the first blob up, from
// when half is closed until goOn is.
func heldUp(t *testing.T) (q images.Request, half, goOn chan bool) {
	half, goOn = make(chan bool), make(chan bool)
	var holds atomic.Bool
	registry := imagetest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") && holds.CompareAndSwap(true, false) {
				close(half)
				<-goOn
			}
			next.ServeHTTP(w, r)
		})
	})
	q = images.Request{Dir: filepath.Join(t.TempDir(), "images"), Reference: registry.Push(image(t), "suite/x:1")}
	holds.Store(true)
	return q, half, goOn
}

// TestSeenFromOutside looks at the process in the jail while it pulls.
func TestSeenFromOutside(t *testing.T) {
	jailtest.AsBoth(t, func(t *testing.T) {
		q, half, goOn := heldUp(t)
		c, done := client(t), make(chan error)
		go func() {
			_, err := c.Pull(t.Context(), q, nil)
			done <- err
		}()
		select {
		case <-half:
		case err := <-done:
			t.Fatal(err)
		}
		cfg, err := jailFor(t.Context(), &images.Task{Request: q})
		if err != nil {
			t.Fatal(err)
		}
		want := jailtest.Want{Writable: []string{q.Dir}, Env: cfg.Env, HostNetwork: true, Sockets: 8, Pipes: 4, Tasks: cfg.Tasks}
		for _, b := range cfg.Binds {
			want.Paths = append(want.Paths, b.Target)
		}
		jailtest.Check(t, insidePID(t), want)
		close(goOn)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestKilled: when the program is killed, or whoever asked it is, the process in the jail
// ends, and another pull of the image goes on and leaves nothing behind.
func TestKilled(t *testing.T) {
	for name, kill := range map[string]func(cmd *exec.Cmd, in io.Closer){
		"program": func(cmd *exec.Cmd, _ io.Closer) { _ = cmd.Process.Kill() },
		"gateway": func(_ *exec.Cmd, in io.Closer) { _ = in.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			q, half, goOn := heldUp(t)
			c := client(t)
			cmd := exec.Command(c.Program)
			in, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err == nil {
				err = json.NewEncoder(in).Encode(q)
			}
			if err != nil {
				t.Fatal(err)
			}
			<-half
			jailed := insidePID(t)
			kill(cmd, in)
			_ = cmd.Wait()
			for end := time.Now().Add(time.Minute); unix.Kill(jailed, 0) == nil; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the process in the jail goes on")
				}
			}
			close(goOn)
			if _, err := c.Pull(t.Context(), q, nil); err != nil {
				t.Error(err)
			}
			for _, pattern := range []string{".*-*", "blobs/*.part"} {
				if left, _ := filepath.Glob(filepath.Join(q.Dir, pattern)); len(left) > 0 {
					t.Errorf("%q is left", left)
				}
			}
		})
	}
}

// insidePID finds the process in the jail: this process's grandchild.
func insidePID(t *testing.T) int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range dirs {
		if line, err := os.ReadFile(file); err == nil && string(line) == jailtest.Self(t)+"\x00"+inside+"\x00" {
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("there is no process in a jail")
	return 0
}
