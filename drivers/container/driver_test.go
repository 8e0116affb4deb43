package container

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/place"
)

const testID = "0123456789ab"

// created makes a driver with one sandbox, not started.
func created(t *testing.T, f *fake) *Driver {
	t.Helper()
	d := New(f, "gateway")
	if err := d.Create(t.Context(), testSpec(t)); err != nil {
		t.Fatal(err)
	}
	return d
}

func testSpec(t *testing.T) drivers.Spec {
	t.Helper()
	top := tree(t)
	return drivers.Spec{ID: testID, Name: "name", GatewayID: "gateway", Dir: top, Image: "image",
		Auth: newMount(t, top+"/auth", drivers.AuthDir), Process: drivers.Process{Args: []string{"run"}}}
}

func TestVerify(t *testing.T) {
	gone := errors.New("the container is about to end")
	for name, c := range map[string]struct {
		engine *fake
		says   string
	}{
		"this very directory":     {&fake{}, ""},
		"after it couldn't look":  {&fake{statErr: []error{gone, gone}}, ""},
		"never could look":        {&fake{statErr: slices.Repeat([]error{gone}, compareTries)}, "about to end"},
		"nothing there":           {&fake{statErr: slices.Repeat([]error{drivers.ErrNotFound}, compareTries)}, "sees other mounts"},
		"another directory there": {&fake{stat: Stat{IsDir: true, Modified: time.Unix(1, 0)}}, "sees other mounts"},
		"writable":                {&fake{writable: true}, "writable"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := created(t, c.engine)
				err := d.Start(t.Context(), testID)
				if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
					t.Errorf("start: %v", err)
				}
				if running := c.engine.state == drivers.Running; running != (err == nil) {
					t.Errorf("running %v after %v", running, err)
				}
			})
		})
	}
}

// What must be refused at a start because it changed since the sandbox was made.
func TestStartLooksAgain(t *testing.T) {
	f := &fake{}
	d := New(f, "gateway")
	spec := testSpec(t)
	spec.Mounts = []drivers.Mount{newMount(t, spec.Dir+"/home", "/home")}
	spec.Hidden = []string{spec.Dir + "/later"}
	if err := d.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	// The state directory turns up in what is mounted.
	if err := os.Symlink("home/state", spec.Dir+"/later"); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), testID); err == nil || !strings.Contains(err.Error(), "/home/state would show") {
		t.Errorf("with a directory to hide: %v", err)
	}
	if err := os.RemoveAll(spec.Dir + "/home"); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), testID); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("with a source that vanished: %v", err)
	}
	if f.state == drivers.Running {
		t.Error("it was started")
	}
}

func TestCannotRun(t *testing.T) {
	f := &fake{startErr: errors.New(`exec: "run": executable file not found in $PATH`)}
	d := created(t, f)
	code := make(chan int, 1)
	var why bytes.Buffer
	go func() {
		c, err := d.Attach(t.Context(), testID, false, drivers.Streams{Stderr: &why})
		if err != nil {
			t.Errorf("attach: %v", err)
		}
		code <- c
	}()
	for { // until it is attached
		f.mu.Lock()
		attached := f.output != nil
		f.mu.Unlock()
		if attached {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := d.Start(t.Context(), testID); err != nil {
		t.Errorf("start: %v", err)
	}
	if c := <-code; c != 127 || why.String() != "openshell-vm: exec: \"run\": executable file not found in $PATH\n" {
		t.Errorf("attached client: %d, it reads %q", c, why.String())
	}
	s, err := d.Inspect(t.Context(), testID)
	if err != nil || s.State != drivers.Exited || s.ExitCode != 127 || s.Reason == "" {
		t.Errorf("%+v, %v", s, err)
	}
	if w, err := d.Wait(t.Context(), testID); err != nil || w.ExitCode != 127 {
		t.Errorf("wait: %+v, %v", w, err)
	}
	f.startErr = nil
	if err := d.Start(t.Context(), testID); err != nil {
		t.Fatal(err)
	}
	if s, _ := d.Inspect(t.Context(), testID); s.State != drivers.Running {
		t.Errorf("after a start that worked: %+v", s)
	}
}

// An engine that finds out at the attachment that the command can't be run.
func TestCannotRunAtAttach(t *testing.T) {
	d := created(t, &fake{attachErr: errors.New(`runc create failed: exec: "/etc": permission denied`)})
	code, err := d.Attach(t.Context(), testID, false, drivers.Streams{})
	if err != nil || code != 126 {
		t.Errorf("%d, %v", code, err)
	}
}

func TestStopKillsAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		d := created(t, f)
		if err := d.Start(t.Context(), testID); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := d.Stop(t.Context(), testID, 7*time.Second); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < 7*time.Second || took > 8*time.Second {
			t.Errorf("it took %v", took)
		}
		if len(f.signals) != 2 || f.signals[0] != 15 || f.signals[1] != 9 {
			t.Errorf("signals %v", f.signals)
		}
	})
}

// What a kill did not end still runs, and nobody is told otherwise.
func TestStopOfTheImmortal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{immortal: true}
		d := created(t, f)
		if err := d.Start(t.Context(), testID); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // as the gateway bounds it
		defer cancel()
		err := d.Stop(ctx, testID, 0)
		if err == nil || !strings.Contains(err.Error(), "still runs") || drivers.HintOf(err) == "" {
			t.Errorf("%v, hint %q", err, drivers.HintOf(err))
		}
	})
}

// A start that can't be looked after is given up with its caller.
func TestVerifyEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the container is about to end")
		d := created(t, &fake{statErr: []error{gone, gone, gone, gone, gone, gone}})
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		defer cancel()
		if err := d.Start(ctx, testID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestOtherGateways(t *testing.T) {
	f := &fake{}
	created(t, f)
	other := New(f, "another")
	if _, err := other.Inspect(t.Context(), testID); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("inspect: %v", err)
	}
	if err := other.Start(t.Context(), testID); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("start: %v", err)
	}
	if err := other.Signal(t.Context(), testID, 9); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("signal: %v", err)
	}
	if err := other.Remove(t.Context(), testID); err != nil || f.made == nil {
		t.Errorf("remove: %v, made %v", err, f.made)
	}
}

// A container that its engine can't describe hides no other. The gateway asks for those
// that a list lacks.
func TestListOfTheBroken(t *testing.T) {
	broken := errors.New("container state improper")
	away := place.Place{Engine: "Fake", Host: "tcp://127.0.0.1:1"}.Unreachable("list", broken)
	for name, c := range map[string]struct {
		list, look error
		found      int
		fails      bool
	}{
		"all is well":                    {nil, nil, 1, false},
		"gone since":                     {nil, drivers.ErrNotFound, 0, false},
		"one is broken":                  {nil, broken, 0, false},
		"the list is":                    {broken, nil, 1, false},
		"both":                           {broken, broken, 0, true},
		"late":                           {nil, context.DeadlineExceeded, 0, true},
		"the list is late":               {context.DeadlineExceeded, nil, 0, true},
		"the engine does not answer":     {nil, away, 0, true},
		"it does not answer to the list": {away, nil, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			d := created(t, f)
			f.listErr, f.lookErr = c.list, c.look
			if found, err := d.List(t.Context()); len(found) != c.found || (err != nil) != c.fails {
				t.Errorf("%d found, %v", len(found), err)
			}
		})
	}
}

// What an engine refuses at the end of a container is told as that end, whatever it says.
func TestRefusedAtTheEnd(t *testing.T) {
	f := &fake{state: drivers.Running, killErr: errors.New("no such process")}
	d := created(t, f)
	f.state = drivers.Exited
	object := d.finder.object(testID)
	if ended, err := d.end(t.Context(), object, 15, time.Minute); !ended || err != nil {
		t.Errorf("stop: ended %v, %v", ended, err)
	}
	if err := d.Signal(t.Context(), testID, 1); !errors.Is(err, drivers.ErrNotRunning) {
		t.Errorf("signal: %v", err)
	}
	f.lookErr = drivers.ErrNotFound
	if ended, err := d.end(t.Context(), object, 15, time.Minute); !ended || err != nil {
		t.Errorf("stop of what was removed: ended %v, %v", ended, err)
	}
	f.lookErr, f.state = nil, drivers.Running
	if err := d.orEnded(t.Context(), object, f.killErr); err != f.killErr {
		t.Errorf("of one that runs: %v", err)
	}
}

// The engine's own id decides. Without it a container must have what no image can bring.
func TestKeep(t *testing.T) {
	f := &fake{}
	d := created(t, f)
	fresh := New(f, "gateway")
	if s, err := fresh.Inspect(t.Context(), testID); err != nil || s.Object != "id of openshell-"+testID {
		t.Errorf("found anew: %+v, %v", s, err)
	}
	f.id = "another" // removed, and made again by somebody else
	for name, d := range map[string]*Driver{"made": d, "found": fresh} {
		if _, err := d.Inspect(t.Context(), testID); !errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("%s: inspect %v", name, err)
		}
		if list, err := d.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%s: list %+v, %v", name, list, err)
		}
		if err := d.Start(t.Context(), testID); !errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("%s: start %v", name, err)
		}
	}
	fresh.Keep(testID, "another")
	if _, err := fresh.Inspect(t.Context(), testID); err != nil {
		t.Errorf("the one that the record names: %v", err)
	}
	fresh.Keep(testID, "")
	for name, change := range map[string]func(o *Object){
		"another name":     func(o *Object) { o.Name = "evil" },
		"no spec":          func(o *Object) { delete(o.Labels, drivers.LabelSpec) },
		"another's spec":   func(o *Object) { o.Labels[drivers.LabelSpec] = `{"ID":"ffffffffffff"}` },
		"another share":    func(o *Object) { o.Shares[0].Source = "/elsewhere" },
		"another target":   func(o *Object) { o.Shares[0].Target = "/elsewhere" },
		"another gateway":  func(o *Object) { o.Labels[drivers.LabelGatewayID] = "another" },
		"another sandbox":  func(o *Object) { o.Labels[drivers.LabelSandboxID] = "ffffffffffff" },
		"nothing is wrong": func(*Object) {},
	} {
		o := *f.made
		o.Labels, o.Shares = maps.Clone(o.Labels), slices.Clone(o.Shares)
		change(&o)
		d := New(&fake{made: &o, state: drivers.Running}, "gateway")
		list, err := d.List(t.Context())
		if found := len(list) == 1; err != nil || found != (name == "nothing is wrong") {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
}

func TestLabels(t *testing.T) {
	f := &fake{}
	d := New(f, "gateway")
	spec := testSpec(t)
	if err := d.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{drivers.LabelGatewayID: "gateway", drivers.LabelSandboxID: testID, drivers.LabelName: "name"} {
		if got := f.made.Labels[label]; got != want {
			t.Errorf("%s is %q", label, got)
		}
	}
	s, err := d.Inspect(t.Context(), testID)
	if err != nil || s.Spec == nil || s.Spec.Auth != spec.Auth || s.Spec.Image != "image" {
		t.Errorf("%+v, %v", s.Spec, err)
	}
	if err := d.Create(t.Context(), spec); !errors.Is(err, drivers.ErrExists) {
		t.Errorf("twice: %v", err)
	}
}

// What a program inside relies on is in its environment, and not in the spec
// that comes back. What an older version made says what it lacks.
func TestContractEnv(t *testing.T) {
	f := &fake{}
	d := New(f, "gateway")
	spec := testSpec(t)
	spec.Process.Env = []string{drivers.AuthModeEnv + "=own"}
	if err := d.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	want := []string{drivers.AuthModeEnv + "=own", drivers.TokenFileEnv + "=" + drivers.TokenFile}
	if !slices.Equal(f.made.Process.Env, want) {
		t.Errorf("environment %q", f.made.Process.Env)
	}
	lacks := func() bool {
		s, err := d.Inspect(t.Context(), testID)
		if err != nil || len(s.Spec.Process.Env) != 1 {
			t.Errorf("%+v, %v", s.Spec, err)
		}
		return slices.ContainsFunc(s.Details, func(f drivers.Fact) bool { return strings.Contains(f.Value, "older version") })
	}
	if lacks() {
		t.Error("a sandbox of this version is said to be of an older one")
	}
	f.made.Process.Env = nil
	if !lacks() {
		t.Error("an older sandbox's lack is not told")
	}
}

// A detached client ends its session and nothing else.
func TestDetach(t *testing.T) {
	f := &fake{}
	d := created(t, f)
	if err := d.Start(t.Context(), testID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	in, feed := io.Pipe() // a client that says nothing
	defer feed.Close()
	done := make(chan error, 1)
	go func() {
		_, err := d.Attach(ctx, testID, false, drivers.Streams{Stdin: in, Stdout: io.Discard})
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if f.state != drivers.Running {
		t.Errorf("%s", f.state)
	}
}

func TestSuits(t *testing.T) {
	d := New(&fake{}, "gateway")
	for name, change := range map[string]func(*drivers.Spec){
		"a rootfs":        func(s *drivers.Spec) { s.VM.Rootfs = "/x" },
		"no image":        func(s *drivers.Spec) { s.Image = "" },
		"an evil image":   func(s *drivers.Spec) { s.Image = "UPPER:case:twice" },
		"a hypervisor":    func(s *drivers.Spec) { s.VM.Hypervisor = "krun" },
		"a jail":          func(s *drivers.Spec) { s.VM.RequireJail = true },
		"inotify":         func(s *drivers.Spec) { s.VM.Inotify = true },
		"a token's user":  func(s *drivers.Spec) { s.VM.TokenUser = "me" },
		"ephemeral":       func(s *drivers.Spec) { s.VM.Ephemeral = true },
		"a disk":          func(s *drivers.Spec) { s.VM.Disk = 1 << 30 },
		"CPUs":            func(s *drivers.Spec) { s.CPUs = 3 },
		"almost no CPU":   func(s *drivers.Spec) { s.CPUs = 0.001 },
		"negative CPUs":   func(s *drivers.Spec) { s.CPUs = -1 },
		"memory":          func(s *drivers.Spec) { s.Memory = 1 << 40 },
		"too little":      func(s *drivers.Spec) { s.Memory = 1 << 20 },
		"negative memory": func(s *drivers.Spec) { s.Memory = -1 },
	} {
		spec := testSpec(t)
		change(&spec)
		_, _, err := d.Resolve(t.Context(), spec)
		if err == nil || drivers.HintOf(err) == "" || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, hint %q", name, err, drivers.HintOf(err))
		}
		if errors.Is(err, drivers.ErrNoImage) != (name == "no image") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for bytes, want := range map[int64]string{4: "4b", 1 << 10: "1k", 4 << 20: "4m", 1<<20 + 1: "1048577b", 3 << 30: "3g"} {
		if got := size(bytes); got != want {
			t.Errorf("%d is %s", bytes, got)
		}
	}
	spec := testSpec(t)
	spec.CPUs, spec.Memory = 1.5, 64<<20
	if resolved, staleness, err := d.Resolve(t.Context(), spec); err != nil || staleness != time.Second || !reflect.DeepEqual(resolved, spec) {
		t.Errorf("%v, %v, %+v", staleness, err, resolved)
	}
}

// TestOlderLabel: a container that an older version made is found, and known in whole.
func TestOlderLabel(t *testing.T) {
	for _, commit := range []string{"99b2efc", "8cd183b"} {
		label, err := os.ReadFile("../testdata/" + commit + "/label.json")
		if err != nil {
			t.Fatal(err)
		}
		f, spec := &fake{}, testSpec(t)
		if err := New(f, "gateway").Create(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		f.made.Labels[drivers.LabelSpec] = strings.NewReplacer("/state/shares/abcdefghijkl/auth", spec.Auth.Source(),
			"abcdefghijkl", testID, `"test"`, `"gateway"`).Replace(string(label))
		list, err := New(f, "gateway").List(t.Context()) // one that has lost its records
		if err != nil || len(list) != 1 || list[0].Spec == nil {
			t.Errorf("%s: %+v, %v", commit, list, err)
			continue
		}
		got := *list[0].Spec
		if got.ID != testID || got.Auth != spec.Auth || got.Image != "debian:12" || got.Entrypoint != "/bin/sh" ||
			!got.VM.IsZero() || got.Memory != 64<<20 || !got.Stdin || len(got.Mounts) != 1 {
			t.Errorf("%s: %+v", commit, got)
		}
	}
}
