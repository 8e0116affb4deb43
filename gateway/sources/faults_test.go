package sources

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/secrets/vault"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
)

// faulty is a source that something is wrong with for a while.
type faulty struct {
	spec  vocab.Source
	good  func(content string) error // makes what the source is to give
	fault func() error
	says  string // a part of what is told of it
}

// TestSourcesAndFaults: whatever is wrong with a source, a sandbox sees what was good last, whole; ps is
// told one line; and it recovers by itself.
func TestSourcesAndFaults(t *testing.T) {
	for name, make := range faults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			keeper, err := vault.Open(filepath.Join(w.dir, "secrets"), filepath.Join(w.dir, "secrets.key"))
			if err != nil {
				t.Fatal(err)
			}
			w.opts.Secrets = keeper
			w.hold(make(w))
		})
	}
}

// hold has a source fail, and a share that shows it.
func (w *world) hold(f faulty) {
	f.spec.Name = "s"
	list := []vocab.Source{f.spec}
	s, err := share.Create(filepath.Join(w.dir, "share"), share.Options{})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { s.Remove(context.Background()) })
	inside := func() string { // what a sandbox sees
		if _, err := s.Publish(w.Context(), 0, Shown{w.Sources, list, s.AuthDir()}.Files); err != nil {
			w.Fatal(err)
		}
		held, err := share.Read(s.AuthDir())
		if err != nil {
			w.Fatal(err)
		}
		said := ""
		for _, name := range slices.Sorted(maps.Keys(held.Files)) {
			said += name + "=" + string(held.Files[name]) + " "
		}
		return said
	}
	again := func() { // a command is due
		if f := w.Sources.feeds[keyOf(list[0])]; f != nil && f.stop == nil {
			w.due.Set(f.key, time.Now(), time.Now())
		}
	}
	if err := f.good("first"); err != nil {
		w.Fatal(err)
	}
	w.Show("box", list)
	if err := w.await(list...); err != nil {
		w.Fatal(err)
	}
	before := ""
	w.eventually("it is shown", func() bool { before = inside(); return strings.Contains(before, "first") })
	if err := f.fault(); err != nil {
		w.Fatal(err)
	}
	again()
	w.eventually("the fault is told", func() bool {
		inside() // a secret is read for each publish
		problems := w.Problems(list, time.Now())
		return len(problems) == 1 && strings.Contains(problems[0], f.says) && !strings.Contains(problems[0], "evil")
	})
	if now := inside(); now != before {
		w.Errorf("a sandbox sees %.80q, and saw %.80q", now, before)
	}
	if err := f.good("second"); err != nil {
		w.Fatal(err)
	}
	again()
	w.eventually("it has recovered", func() bool {
		return len(w.Problems(list, time.Now())) == 0 && inside() == strings.ReplaceAll(before, "first", "second")
	})
}

// faults are the cases, each made for a world.
func faults() map[string]func(w *world) faulty {
	all := map[string]func(w *world) faulty{}
	for name, fault := range fileFaults {
		all["file, "+name] = func(w *world) faulty { return ofFile(w, fault) }
	}
	for name, fault := range directoryFaults {
		all["directory, "+name] = func(w *world) faulty { return ofDirectory(w, fault) }
	}
	for name, fault := range commandFaults {
		all["command, "+name] = func(w *world) faulty { return ofCommand(w, fault) }
	}
	for name, fault := range secretFaults {
		all["secret, "+name] = func(w *world) faulty { return ofSecret(w, fault) }
	}
	return all
}

// fault breaks what is at a path, which is not there any more.
type fault struct {
	says   string
	break_ func(path string) error
}

var fileFaults = map[string]fault{
	"missing":       {"no such file", func(string) error { return nil }},
	"a directory":   {"it is a directory now", func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) }},
	"huge":          {"may be read", func(path string) error { return sparse(path, 1<<40) }},
	"a FIFO":        {"not a regular file", func(path string) error { return unix.Mkfifo(path, 0o600) }},
	"a device":      {"not a regular file", func(path string) error { return os.Symlink("/dev/zero", path) }},
	"a dead link":   {"no such file", func(path string) error { return os.Symlink("nowhere", path) }},
	"a loop":        {"too many levels", func(path string) error { return os.Symlink(path, path) }},
	"a read error":  {"input/output error", func(path string) error { return os.Symlink("/proc/self/mem", path) }},
	"a closed door": {"not a directory", func(path string) error { return os.Symlink("/dev/null/x", path) }},
}

var directoryFaults = map[string]fault{
	"missing":     {"no such file", func(string) error { return nil }},
	"empty":       {"no file is in it", func(path string) error { return os.Mkdir(path, 0o700) }},
	"a file":      {"it is a file now", func(path string) error { return os.WriteFile(path, []byte("evil"), 0o600) }},
	"a FIFO":      {"not a regular file", func(path string) error { return unix.Mkfifo(path, 0o600) }},
	"one is huge": {"may be read", func(path string) error { return beside(path, func(x string) error { return sparse(x, 1<<40) }) }},
	"too much":    {"together", func(path string) error { return many(path, 9, MaxFile) }},
	"too many":    {"names are in it", func(path string) error { return many(path, MaxNames+1, 0) }},
	"one FIFO":    {"x is not a regular file", func(path string) error { return beside(path, func(x string) error { return unix.Mkfifo(x, 0o600) }) }},
	"one device": {"x is not a regular file", func(path string) error {
		return beside(path, func(x string) error { return os.Symlink("/dev/zero", x) })
	}},
	"one is dead": {"x: no such file", func(path string) error { return beside(path, func(x string) error { return os.Symlink("nowhere", x) }) }},
	"a read error": {"x: input/output error", func(path string) error {
		return beside(path, func(x string) error { return os.Symlink("/proc/self/mem", x) })
	}},
	"a bad name": {"can't be printed", func(path string) error {
		return beside(path, func(x string) error { return os.WriteFile(x+"\n", nil, 0o600) })
	}},
}

var commandFaults = map[string]fault{
	"removed":      {"no such file", func(string) error { return nil }},
	"fails":        {"exit status 3", script("echo evil; exit 3")},
	"is killed":    {"signal", script("kill -9 $$")},
	"says nothing": {"nothing", script("true")},
	"floods":       {"prints too much", script("exec yes evil")},
	"wrong format": {"aws", script("echo evil")},
	"no program":   {"exec format", func(path string) error { return os.WriteFile(path, []byte("evil"), 0o700) }},
	"not to run":   {"permission denied", func(path string) error { return os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600) }},
}

var secretFaults = map[string]fault{
	"file is gone": {"", func(path string) error { return os.Remove(path) }},
	"damaged":      {"", func(path string) error { return os.WriteFile(path, []byte("evil"), 0o600) }},
	"truncated":    {"", func(path string) error { return os.Truncate(path, 100) }},
	"a directory":  {"", func(path string) error { return swap(path, func() error { return os.Mkdir(path, 0o700) }) }},
	"a FIFO":       {"", func(path string) error { return swap(path, func() error { return unix.Mkfifo(path, 0o600) }) }},
}

func swap(path string, make func() error) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return make()
}

// sparse makes a file that has so many bytes and takes no room.
func sparse(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// many makes a directory with so many files.
func many(dir string, count, size int) error {
	err := os.Mkdir(dir, 0o700)
	for i := range count {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, size), 0o600)
		}
	}
	return err
}

// beside makes a directory with a good file, and something else named x.
func beside(dir string, make func(x string) error) error {
	if err := many(dir, 1, 1); err != nil {
		return err
	}
	return make(filepath.Join(dir, "x"))
}

func script(text string) func(string) error {
	return func(path string) error { return os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700) }
}

func ofFile(w *world, f fault) faulty {
	path := filepath.Join(w.dir, "source")
	return faulty{
		spec: vocab.Source{File: path},
		good: func(content string) error {
			return swap(path, func() error { return os.WriteFile(path, []byte(content), 0o600) })
		},
		fault: func() error { return swap(path, func() error { return f.break_(path) }) },
		says:  f.says,
	}
}

func ofDirectory(w *world, f fault) faulty {
	path := filepath.Join(w.dir, "source")
	return faulty{
		spec: vocab.Source{File: path},
		good: func(content string) error {
			return swap(path, func() error {
				err := os.MkdirAll(filepath.Join(path, "below"), 0o700)
				for _, name := range []string{"a", "below/b"} {
					if err == nil {
						err = os.WriteFile(filepath.Join(path, name), []byte(content), 0o600)
					}
				}
				return err
			})
		},
		fault: func() error { return swap(path, func() error { return f.break_(path) }) },
		says:  f.says,
	}
}

func ofCommand(w *world, f fault) faulty {
	path := filepath.Join(w.dir, "program")
	spec := vocab.Source{Command: []string{path}, Every: minEvery}
	print := func(content string) string { return "echo " + content }
	if f.says == "aws" {
		spec.Format = "aws"
		print = func(content string) string {
			return fmt.Sprintf(`echo '{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "k"}'`, content)
		}
	}
	return faulty{
		spec: spec,
		good: func(content string) error {
			return swap(path, func() error { return script(print(content))(path) })
		},
		fault: func() error { return swap(path, func() error { return f.break_(path) }) },
		says:  f.says,
	}
}

func ofSecret(w *world, f fault) faulty {
	keeper := w.opts.Secrets
	path := filepath.Join(w.dir, "secrets", "pw.age")
	return faulty{
		spec: vocab.Source{Secret: "pw"},
		good: func(content string) error {
			if err := os.RemoveAll(path); err != nil { // nobody but its user can mend a damaged one
				return err
			}
			return keeper.Write("pw", []byte(content), true)
		},
		fault: func() error { return f.break_(path) },
		says:  f.says,
	}
}
