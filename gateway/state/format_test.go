package state

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/vocab"
)

// writtenIn is the state directory in which the files in testdata were written. Each
// directory there has the name of the commit whose gateway wrote it. "<name>.json" is the
// record of the sandbox with that name.
const writtenIn = "/var/tmp/openshell-state/state"

// written returns the records of one commit by name.
func written(t *testing.T, commit string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", commit, "*.json"))
	must(t, err)
	records := map[string][]byte{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if name == "gateway" || strings.Contains(name, ".") {
			continue
		}
		records[name], err = os.ReadFile(file)
		must(t, err)
	}
	if len(records) != 7 {
		t.Fatalf("%s wrote %d records", commit, len(records))
	}
	return records
}

// TestReadsWhatWasWritten opens a state directory that another version wrote and that was
// moved. Its records must lose no field, and no field may change its meaning.
func TestReadsWhatWasWritten(t *testing.T) {
	for _, commit := range []string{"99b2efc", "2e4380a"} {
		t.Run(commit, func(t *testing.T) {
			h := openWritten(t, commit)
			records, err := h.LoadAll(func(id string, err error) { t.Errorf("%s can't be read: %v", id, err) })
			must(t, err)
			named := map[string]*Record{}
			for _, r := range records {
				named[r.Name] = r
			}
			for name, data := range written(t, commit) {
				r := named[name]
				if r == nil {
					t.Errorf("there is no record of %s", name)
					continue
				}
				delete(named, name)
				sameMeaning(t, h, r, data)
			}
			if len(named) > 0 {
				t.Errorf("nobody wrote %v", named)
			}
			files, err := h.Files(idOf(t, written(t, commit)["agent"]))
			if err != nil || len(files) != 1 || string(files["config"]) != "x=1\n" {
				t.Errorf("the files are %q, %v", files, err)
			}
		})
	}
}

// openWritten makes a state directory of one commit's files and opens it.
func openWritten(t *testing.T, commit string) *Home {
	t.Helper()
	dir := fresh(t)
	must(t, os.MkdirAll(filepath.Join(dir, sandboxesDir), 0o700))
	records := written(t, commit)
	for _, data := range records {
		id := idOf(t, data)
		must(t, os.Mkdir(filepath.Join(dir, sandboxesDir, id), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, sandboxesDir, id, RecordFile), data, 0o600))
	}
	for from, to := range map[string]string{
		"gateway.json":     api.IdentityFile,
		"agent.files.json": filepath.Join(sandboxesDir, idOf(t, records["agent"]), FilesFile),
	} {
		data, err := os.ReadFile(filepath.Join("testdata", commit, from))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, to), data, 0o600))
	}
	h, err := Open()
	must(t, err)
	t.Cleanup(h.Close)
	var identity struct{ ID string }
	data, err := os.ReadFile(filepath.Join("testdata", commit, "gateway.json"))
	must(t, err)
	must(t, json.Unmarshal(data, &identity))
	if h.ID != identity.ID {
		t.Errorf("the gateway is %s, and was %s", h.ID, identity.ID)
	}
	return h
}

func idOf(t *testing.T, record []byte) string {
	t.Helper()
	var r struct{ ID string }
	must(t, json.Unmarshal(record, &r))
	return r.ID
}

// sameMeaning compares a record as it is written now with the old file, field by field.
// Only the place and the warning about the move may differ.
func sameMeaning(t *testing.T, h *Home, r *Record, was []byte) {
	t.Helper()
	now, err := h.encode(r)
	must(t, err)
	var before, after map[string]any
	must(t, json.Unmarshal(was, &before))
	must(t, json.Unmarshal(now, &after))
	place := strings.TrimPrefix(before["share"].(string), writtenIn+"/")
	if after["share"] != filepath.Join(h.State, place) || after["place"] != place {
		t.Errorf("%s: the share lies in %v, place %v", r.Name, after["share"], after["place"])
	}
	if warnings, ok := after["warnings"].([]any); !r.Own() {
		if !ok || !strings.Contains(warnings[len(warnings)-1].(string), "was moved here from "+writtenIn) {
			t.Errorf("%s does not tell of the move, but %v", r.Name, warnings)
		} else if after["warnings"] = warnings[:len(warnings)-1]; len(warnings) == 1 {
			delete(after, "warnings")
		}
	}
	for _, o := range []map[string]any{before, after} {
		delete(o, "share")
		delete(o, "place")
	}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("%s was\n%s\nand is read as\n%s", r.Name, was, now)
	}
}

// TestFormat pins the format: a record that the gateway of a commit wrote has to be
// written again byte for byte. A change of the format needs a reader of both forms, and
// these files stay.
func TestFormat(t *testing.T) {
	h := &Home{Places: Places{State: writtenIn, ID: "none"}}
	for name, was := range written(t, "2e4380a") {
		r := &Record{}
		must(t, json.Unmarshal(was, r))
		now, err := h.encode(r)
		if err != nil || !bytes.Equal(now, was) {
			t.Errorf("%s was\n%s\nand is\n%s%v", name, was, now, err)
		}
	}
}

// full returns a record with a value in each field. The records of testdata leave some
// out.
func full() *Record {
	at := time.Date(2026, 11, 27, 12, 0, 0, 1, time.UTC)
	return &Record{
		Version: 1, ID: "abcdefghijkl", Name: "n", Driver: "d", CreatedAt: at,
		Request: Request{
			Name: "asked", Driver: "auto", Hypervisor: "h", Rootfs: "/r", Image: "i",
			Process:    vocab.Process{Args: []string{"a"}, Env: []string{"E=v"}, Dir: "/w", User: "u", Terminal: true, Size: vocab.Size{Rows: 1, Cols: 2}},
			Entrypoint: "/e", Stdin: true, Ephemeral: true, AutoRemove: true, RequireJail: true, CPUs: 0.5, Memory: 3, Disk: 4,
			Mounts: []vocab.Mount{{Source: "/s", Target: "/t"}, {Target: "/v", Writable: true, Volume: "vol"}}, TTL: time.Hour, TokenUser: "t", Inotify: true,
			Network: "user", AllowHost: []uint16{8}, AllowEgress: []string{"e"},
			Ports:  []vocab.Port{{HostIP: "127.0.0.1", Host: 9, Guest: 10, Protocol: "udp"}},
			Labels: map[string]string{"l": "v"}, Restart: vocab.RestartPolicy{Name: "on-failure", Max: 11},
			Tokens: vocab.Tokens{Mode: vocab.StaticToken, Static: "/f", Identity: "ci", Files: []vocab.TokenFile{{Audience: "https://example.com", File: "example.jwt", TTL: time.Minute,
				Algorithm: "RS256", NoID: true, Preset: "aws", Parameter: "role"}}, Audiences: []string{"other"}, Claims: map[string]string{"team": "a"}},
			Sources: []vocab.Source{{Name: "d/f", File: "/f", Mode: 0o400, Owner: &vocab.Owner{UID: 14, GID: 15}}, {Name: "c", Command: []string{"p", "a"}, Every: time.Minute, Format: "raw"}, {Name: "s", Secret: "n"},
				{Name: "o", OAuth: "/o"}, {Name: "g", GitHubApp: &vocab.GitHubApp{App: "1", Installation: 2, Key: "/k", Repositories: []string{"a/b"}, URL: "https://g"}}},
			At: "/home/agent/.ssh", Shares: []vocab.ShownShare{{Name: "team", Target: "/etc/openshell/shares/team"}},
			OnRenew: vocab.OnRenew{Signal: "HUP", Command: []string{"reload"}},
		},
		Staleness: time.Second, Warnings: []string{"w"}, Share: writtenIn + "/shares/abcdefghijkl", Place: "shares/abcdefghijkl", Door: true,
		GenerationLimit: 5, RevokedGeneration: 13, Made: true, Desired: WantRunning, DesiredAt: at,
		Start:  StartRecord{BootID: "b", Share: Inode{Device: 6, Inode: 7}, Restarts: 12, Generation: 14},
		Object: "o", Engine: "unix:///e", Lost: "l",
	}
}

// TestFullRecord compares a record with every field with the golden file.
func TestFullRecord(t *testing.T) {
	zero(t, reflect.ValueOf(*full()), "record")
	was, err := os.ReadFile("testdata/full.json")
	must(t, err)
	now, err := (&Home{Places: Places{State: writtenIn}}).encode(full())
	if err != nil || !bytes.Equal(now, was) {
		t.Errorf("it was\n%s\nand is\n%s%v", was, now, err)
	}
	read := &Record{}
	if err := json.Unmarshal(was, read); err != nil || !reflect.DeepEqual(read, full()) {
		t.Errorf("read as %+v, %v", read, err)
	}
}

// zero reports fields without a value: the golden file would not pin their names.
func zero(t *testing.T, v reflect.Value, name string) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("%s has no value", name)
	}
	if v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]() {
		for i := range v.NumField() {
			zero(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	}
}
