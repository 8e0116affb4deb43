package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/share"
)

// TestSources: files of the host and the output of commands are in a share, follow their
// sources, and are picked up by the next gateway.
func TestSources(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		w.must(os.WriteFile(path, []byte(text), 0o700))
		return path
	}
	followed, out := write("ca.pem", "one"), write("out", "gho_one")
	prog := write("prog", "#!/bin/sh\ncat "+out+"\n")
	list := []api.Source{{Name: "ssl/ca.pem", File: followed}, {Name: "gh-token", Command: []string{prog}, Mode: 0o400}}
	box := w.create(api.CreateRequest{Name: "box", Sources: list})
	w.start("box")
	own := w.share(api.ShareRequest{Name: "agent", Sources: list})
	shows := func(dir, name, want string) func() bool {
		return func() bool { data, _ := os.ReadFile(filepath.Join(dir, name)); return string(data) == want }
	}
	for _, dir := range []string{box.Share, own.Dir} {
		if !shows(dir, "ssl/ca.pem", "one")() || !shows(dir, "gh-token", "gho_one")() {
			t.Errorf("%s is not complete at first", dir)
		}
	}
	if info, err := os.Stat(filepath.Join(box.Share, "gh-token")); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode: %v, %v", info, err)
	}
	write("ca.pem", "two")
	for _, dir := range []string{own.Dir, box.Share} {
		w.eventually("the change is there", shows(dir, "ssl/ca.pem", "two"))
	}
	if view := w.get("box"); len(view.Sources) != 2 || view.Sources[0].MadeAt.IsZero() || view.Sources[1].NextAt.IsZero() || len(view.Warnings) != 0 {
		t.Errorf("%+v, %q", view.Sources, view.Warnings)
	}

	// A gateway that comes later finds what the share has, and a failing source takes nothing away.
	w.stop()
	w.must(os.Remove(followed))
	w.must(os.Remove(prog))
	w.run()
	w.eventually("both failures are told", func() bool { return len(w.get("box").Warnings) == 2 })
	if _, err := w.client.Tokens.Rotate(t.Context(), "box"); err != nil {
		t.Error(err)
	}
	if !shows(box.Share, "ssl/ca.pem", "two")() || !shows(box.Share, "gh-token", "gho_one")() {
		t.Error("a renewal lost the last good files")
	}
	write("ca.pem", "three")
	w.eventually("it recovers by itself", func() bool {
		return shows(box.Share, "ssl/ca.pem", "three")() && len(w.get("box").Warnings) == 1
	})
}

// TestSourcesChange: sources come and go on what runs, and what is refused changes nothing.
func TestSourcesChange(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	w.must(os.WriteFile(file, []byte("x"), 0o600))
	box := w.create(api.CreateRequest{Name: "box"})
	w.put("box", map[string]string{"put": ""})
	set := func(q api.SourcesRequest) (api.Share, error) {
		return w.client.Shares.SetSources(t.Context(), "box", q)
	}
	s, err := set(api.SourcesRequest{Set: []api.Source{{Name: "f", File: file}, {Name: "d/e", Command: []string{"echo", "hello"}}}})
	w.must(err)
	held, err := share.Read(box.Share)
	w.must(err)
	if string(held.Files["f"]) != "x" || string(held.Files["d/e"]) != "hello\n" || s.Token.Generation != held.Generation {
		t.Errorf("generation %d of %v", held.Generation, s.Sources)
	}
	for says, q := range map[string]api.SourcesRequest{
		"put already":                 {Set: []api.Source{{Name: "put/x", File: file}}},
		"no such file":                {Set: []api.Source{{Name: "m", File: filepath.Join(dir, "missing")}}},
		"exit status 1":               {Set: []api.Source{{Name: "m", Command: []string{"false"}}}},
		"in the gateway's own":        {Set: []api.Source{{Name: "m", File: filepath.Join(w.dir, "state", "gateway.json")}}},
		"no source for a file \"no\"": {Drop: []string{"no"}},
	} {
		if _, err := set(q); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	_, err = w.client.Shares.Put(t.Context(), "box", filesOf(map[string]string{"f": ""}))
	refused(t, err, api.CodeInvalid, "a file with a source has it")
	_, err = w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "bad", Sources: []api.Source{{Name: "m", Command: []string{"false"}}}})
	refused(t, err, api.CodeInvalid, "exit status 1")
	if now := w.get("box"); now.Token.Generation != s.Token.Generation || len(now.Sources) != 2 {
		t.Errorf("what was refused changed it: %+v", now.Sources)
	}
	_, err = set(api.SourcesRequest{Drop: []string{"f"}})
	w.must(err)
	if held, err := share.Read(box.Share); err != nil || held.Files["f"] != nil || string(held.Files["d/e"]) != "hello\n" {
		t.Errorf("dropped: %v, %v", held.Files, err)
	}
	_, err = w.client.Tokens.Rotate(t.Context(), "box")
	w.must(err)
	if held, err := share.Read(box.Share); err != nil || held.Files["f"] != nil {
		t.Errorf("it came back: %v, %v", held.Files, err)
	}
}

// TestOneRunForACreate: who is made with a command's output gets it by one run.
func TestOneRunForACreate(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	dir := t.TempDir()
	for _, name := range []string{"share", "sandbox"} {
		count, prog := filepath.Join(dir, name+".count"), filepath.Join(dir, name)
		w.must(os.WriteFile(prog, []byte("#!/bin/sh\necho run >>"+count+"\necho token\n"), 0o700))
		list := []api.Source{{Name: "token", Command: []string{prog}}}
		if name == "share" {
			w.share(api.ShareRequest{Name: name, Sources: list})
		} else {
			w.create(api.CreateRequest{Name: name, Sources: list})
			w.start(name)
		}
		_, err := w.client.Tokens.Rotate(t.Context(), name)
		w.must(err)
		if runs, err := os.ReadFile(count); err != nil || string(runs) != "run\n" {
			t.Errorf("for a %s it ran %q, %v", name, runs, err)
		}
	}
}
