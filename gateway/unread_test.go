package gateway

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
)

// TestUnreadableRecords: a record that can't be used is shown in every list and is not
// changed. It does not harm other sandboxes.
func TestUnreadableRecords(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(path string) error
		says   string
		kind   string // share or "" if it can't be told
	}{
		"empty":   {func(path string) error { return os.Truncate(path, 0) }, "damaged", ""},
		"cut off": {func(path string) error { return os.Truncate(path, 40) }, "damaged", ""},
		"missing": {func(path string) error {
			return os.Rename(path, filepath.Join(filepath.Dir(path), "elsewhere"))
		}, "no such file", ""},
		"newer": {func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(strings.Replace(string(data), `"version":`, `"version":9`, 1)), 0o600)
		}, "newer gateway", "share"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, newFake("fake"))
			g := w.run()
			s := w.share(api.ShareRequest{Name: "agent"})
			w.share(api.ShareRequest{Name: "other"})
			w.stop()
			path := g.home.RecordPath(s.ID)
			w.must(c.damage(path))
			before, _ := os.ReadFile(path)
			w.run()
			w.showsUnreadable(s.ID, c.says, c.kind)
			if _, err := w.client.Shares.Get(t.Context(), "other"); err != nil {
				t.Errorf("the other share: %v", err)
			}
			_, err := w.client.Shares.Get(t.Context(), s.ID)
			refused(t, err, api.CodeConflict, c.says)
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the record was changed")
			}
			if _, err := os.Stat(s.Dir); err != nil {
				t.Errorf("the share: %v", err)
			}
		})
	}
}

// showsUnreadable expects the record in everything that lists sandboxes or shares.
func (w *world) showsUnreadable(id, says, kind string) {
	w.Helper()
	status, err := w.client.Status(w.Context())
	w.must(err)
	if len(status.Unreadable) != 1 || status.Unreadable[0].ID != id || !strings.Contains(status.Unreadable[0].Problem, says) {
		w.Errorf("status: %+v", status.Unreadable)
	}
	shares, err := w.client.Shares.List(w.Context())
	w.must(err)
	found := 0
	for _, s := range shares {
		if s.ID == id && strings.Contains(s.Problem, says) {
			found++
		}
	}
	if found != 1 {
		w.Errorf("share ls: %+v", shares)
	}
	sandboxes, err := w.client.List(w.Context())
	w.must(err)
	switch {
	case kind == "share" && len(sandboxes) != 0:
		w.Errorf("a share among the sandboxes: %+v", sandboxes)
	case kind == "" && (len(sandboxes) != 1 || sandboxes[0].ID != id || sandboxes[0].State != "unreadable" || !strings.Contains(sandboxes[0].Reason, says)):
		w.Errorf("ps -a: %+v", sandboxes)
	}
	doctor, err := w.client.Doctor(w.Context())
	w.must(err)
	if text := fmt.Sprint(doctor.Host); !strings.Contains(text, id) || !strings.Contains(text, says) {
		w.Errorf("doctor: %s", text)
	}
	if text := w.metricsText(); !strings.Contains(text, "\nopenshell_records_unreadable 1\n") {
		w.Errorf("metrics:\n%s", text)
	}
}

func (w *world) metricsText() string {
	w.Helper()
	response, text := w.raw("GET", "/metrics", "", nil)
	if response.StatusCode != http.StatusOK {
		w.Fatal(response.Status)
	}
	return text
}

// TestTwoOfOneName: two records have the same name and directory, as after one became
// readable again. One is used, the other is shown, and neither is changed.
func TestTwoOfOneName(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	s := w.share(api.ShareRequest{Name: "agent"})
	w.stop()
	twin := *g.byID(s.ID).Rec()
	twin.ID = "zzzzzzzzzzzz"
	w.must(os.Mkdir(g.home.SandboxDir(twin.ID), 0o700))
	w.must(g.home.Save(&twin))
	g = w.run()
	w.showsUnreadable(twin.ID, `the name "agent" is taken by share `+s.ID, "share")
	if _, err := os.Stat(g.home.RecordPath(twin.ID)); err != nil {
		t.Error(err)
	}
	if generation, _ := tokenOf(t, g, s.Dir); generation == 0 || g.byID(twin.ID) != nil {
		t.Error("the other is used, too")
	}
}

// TestDamagedFilesOfOneShare: damaged user files of one share do not stop the list or the
// other shares.
func TestDamagedFilesOfOneShare(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	s := w.share(api.ShareRequest{Name: "agent"})
	w.put("agent", map[string]string{"x": "1"})
	w.share(api.ShareRequest{Name: "other"})
	w.must(os.Truncate(g.home.FilesPath(s.ID), 3))
	list, err := w.client.Shares.List(t.Context())
	w.must(err)
	if len(list) != 2 || !strings.Contains(list[0].Problem+list[1].Problem, "files.json is damaged") {
		t.Errorf("listed: %+v", list)
	}
	if s := w.shareOf("agent"); !strings.Contains(s.Problem, "files.json is damaged") || s.Token.ExpiresAt.Before(time.Now()) {
		t.Errorf("inspected: %+v", s)
	}
	_, err = w.client.Tokens.Rotate(t.Context(), "agent")
	w.must(err)
	if data, err := os.ReadFile(filepath.Join(s.Dir, "x")); string(data) != "1" {
		t.Errorf("after a renewal x reads %q, %v", data, err)
	}
	change := func(q api.TokensRequest) error {
		_, err := w.client.Tokens.Change(t.Context(), "agent", q)
		return err
	}
	if err := change(api.TokensRequest{Add: []api.TokenFile{{Audience: "b", File: "x"}}}); err == nil {
		t.Error("a token takes the name of a file that is still published")
	}
	w.must(change(api.TokensRequest{Add: []api.TokenFile{{Audience: "b"}}}))
	w.must(change(api.TokensRequest{Drop: []string{"b"}}))
	if s := w.put("agent", map[string]string{"y": "2"}); s.Problem != "" || len(s.Files) != 2 {
		t.Errorf("after a put: %+v", s)
	}
}

// TestDroppedTokenIsNoFile: while the user's files can't be read, those that were published last
// stay in the share. A token is none if its gateway was killed after it had dropped it and
// before it published that, nor is what a preset made for it.
func TestDroppedTokenIsNoFile(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	provider := "projects/1/locations/global/workloadIdentityPools/a/providers/b"
	s := w.share(api.ShareRequest{Name: "agent", Tokens: api.Tokens{Files: []api.TokenFile{
		{Audience: "https://a"}, {Audience: "b"}, {Preset: "gcp", Parameter: provider}}}})
	w.put("agent", map[string]string{"x": "1", "a.json": "the user's"})
	w.stop()
	record := *g.byID(s.ID).Rec()
	record.Request.Tokens.Files = record.Request.Tokens.Files[1:2]
	w.must(g.home.Save(&record))
	w.must(os.Truncate(g.home.FilesPath(s.ID), 3))
	w.run()
	_, err := w.client.Tokens.Rotate(t.Context(), "agent")
	w.must(err)
	for name, want := range map[string]bool{"x": true, "a.json": true, "b.jwt": true, "a.jwt": false, "gcp.jwt": false, "gcp.json": false} {
		if _, err := os.Stat(filepath.Join(s.Dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s := w.put("agent", map[string]string{"y": "2"}); s.Problem != "" || len(s.Files) != 3 {
		t.Errorf("stored are %+v", s)
	}
}
