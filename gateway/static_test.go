package gateway

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// foreign is a token of somebody else's, which expires in some time.
func foreign(id string, left time.Duration) string {
	enc := base64.RawURLEncoding.EncodeToString
	now := time.Now()
	return enc([]byte(`{"alg":"RS256","kid":"theirs"}`)) + "." +
		enc(fmt.Appendf(nil, `{"iss":"https://idp","jti":%q,"iat":%d,"exp":%d}`, id, now.Unix(), now.Add(left).Unix())) + "." + enc([]byte("signed"))
}

// put replaces a file of the user's.
func (w *world) write(path, content string) {
	w.Helper()
	w.must(os.WriteFile(path+".new", []byte(content), 0o600))
	w.must(os.Rename(path+".new", path))
}

// holds waits until a share has that token.
func (w *world) shows(dir, token string) {
	w.Helper()
	w.eventually("the share has the user's token", func() bool {
		content, err := share.Read(dir)
		return err == nil && string(content.Files[contract.TokenName]) == token
	})
}

// TestStaticToken: a sandbox has its user's own token, follows the file through good and bad
// contents and a restart of the gateway, and does not start with one that has expired.
func TestStaticToken(t *testing.T) {
	f := newFake("fake")
	w := newWorld(t, f)
	w.run()
	home := t.TempDir()
	path := filepath.Join(home, "token")
	first := foreign("first", time.Hour)
	w.write(path, first)
	box := w.create(api.CreateRequest{Name: "box", Tokens: api.Tokens{Static: path, Files: []api.TokenFile{{Audience: "https://a"}}}})
	if env := f.spec(box.ID).ContractEnv(); !slices.Contains(env, "OPENSHELL_SANDBOX_AUTH_MODE=static-token") {
		t.Errorf("the environment is %q", env)
	}
	w.start("box")
	w.shows(box.Share, first)
	content, err := share.Read(box.Share)
	w.must(err)
	if !strings.Contains(string(content.Files[contract.MetadataName]), `"authMode":"static-token"`) {
		t.Errorf("metadata: %s", content.Files[contract.MetadataName])
	}
	shown := w.get("box")
	if shown.AuthMode != api.StaticToken || shown.Tokens.Static != path || shown.Token.TokenID != "first" || shown.Token.KeyID != "" ||
		!shown.Token.RenewAt.IsZero() || time.Until(shown.Token.ExpiresAt) < 50*time.Minute || shown.Token.Problem != "" {
		t.Errorf("shown: %+v", shown)
	}
	w.audiencesIn(box.Share, map[string]string{"a.jwt": "https://a"})

	second := foreign("second", time.Hour)
	w.write(path, second)
	w.shows(box.Share, second)
	for _, bad := range []string{"torn" + second[:20], foreign("old", -time.Minute), ""} {
		w.write(path, bad)
		w.eventually("the bad content is told", func() bool { return w.get("box").Token.Problem != "" })
		w.shows(box.Share, second)
		w.write(path, second)
		w.eventually("the good one clears it", func() bool { return w.get("box").Token.Problem == "" })
	}
	if _, err := w.client.Keys.Rotate(t.Context(), api.RotateRequest{}); err != nil {
		t.Error(err)
	}
	w.shows(box.Share, second)
	w.audiencesIn(box.Share, map[string]string{"a.jwt": "https://a"}) // of the new key
	status, challenge, _ := w.asker("box").send("GET", "/v1/whoami", second, nil)
	if status != 401 || !strings.Contains(challenge, "user's own (static-token)") {
		t.Errorf("whoami answers %d, %s", status, challenge)
	}

	w.stop() // the file is gone when the next gateway begins, and comes back
	w.must(os.Remove(path))
	w.run()
	w.eventually("that the file is gone is told", func() bool { return strings.Contains(w.get("box").Token.Problem, "no such file") })
	w.shows(box.Share, second)
	third := foreign("third", time.Hour)
	w.write(path, third)
	w.shows(box.Share, third)

	_, err = w.client.Stop(t.Context(), "box", time.Second)
	w.must(err)
	expired := foreign("expired", -time.Hour)
	w.write(path, expired)
	w.shows(box.Share, third) // it is good, so the sandbox starts with it
	_, err = w.client.Start(t.Context(), "box")
	w.must(err)
}

// TestNoStartWithExpired: nothing is started or handed out with a token that has expired, and
// what runs goes on with it and is told of.
func TestNoStartWithExpired(t *testing.T) {
	f := newFake("fake")
	w := newWorld(t, f)
	w.run()
	path := filepath.Join(t.TempDir(), "token")
	w.write(path, foreign("short", 3*time.Second))
	w.create(api.CreateRequest{Name: "runs", Tokens: api.Tokens{Static: path}})
	w.start("runs")
	w.create(api.CreateRequest{Name: "box", Tokens: api.Tokens{Static: path}})
	w.share(api.ShareRequest{Name: "own", Tokens: api.Tokens{Static: path}})
	time.Sleep(3 * time.Second) // it expires
	_, started := w.client.Start(t.Context(), "box")
	_, taken := w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "own"})
	_, made := w.client.Create(t.Context(), api.CreateRequest{Name: "new", Tokens: api.Tokens{Static: path}})
	for _, err := range []error{started, taken, made} {
		var answer *api.Error
		if !errors.As(err, &answer) || !strings.Contains(answer.Message, "the static token "+path+": the token has expired") || answer.Hint == "" {
			t.Errorf("%v", err)
		}
	}
	if state := w.get("box").State; state == api.StateRunning {
		t.Errorf("it is %s", state)
	}
	w.eventually("its end is told", func() bool {
		return strings.Contains(w.get("runs").Token.Problem, "has expired")
	})
	if w.get("runs").State != api.StateRunning || !w.gateway.roster.ByName("runs").Lease.Scheduled() {
		t.Error("what ran does not run any more, or is not in the schedule")
	}
	fresh := foreign("fresh", time.Hour)
	w.write(path, fresh) // a start does not wait for the follower
	if _, err := w.client.Start(t.Context(), "box"); err != nil {
		t.Error(err)
	}
	w.shows(w.get("box").Share, fresh)
	w.shows(w.get("runs").Share, fresh)
	w.eventually("all is well", func() bool { return w.get("runs").Token.Problem == "" })
}

// TestStaticRefused: files that can't be a user's token, or that a sandbox could write.
func TestStaticRefused(t *testing.T) {
	f := newFake("fake")
	w := newWorld(t, f)
	g := w.run()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	good := foreign("good", time.Hour)
	for _, name := range []string{"good", "open", "work/token", "huge", "unsigned"} {
		w.must(os.MkdirAll(filepath.Dir(in(name)), 0o700))
		w.write(in(name), good)
	}
	w.must(os.Chmod(in("open"), 0o666))
	w.must(os.Truncate(in("huge"), 1<<40))
	w.must(unix.Mkfifo(in("fifo"), 0o600))
	w.must(os.Symlink("work/token", in("link")))
	w.must(os.Symlink("loop", in("loop")))
	w.must(os.WriteFile(in("unsigned"), []byte(good[:strings.LastIndex(good, ".")+1]), 0o600))
	w.must(os.Mkdir(g.home.State+"/extra", 0o700))
	w.write(g.home.State+"/extra/token", good)
	w.must(os.Symlink(g.home.State+"/extra", in("into")))
	writable := []api.Mount{{Source: in("work"), Target: "/work", Writable: true}}
	for path, want := range map[string]string{
		in("none"): "no such file", dir: "not a regular file", in("fifo"): "not a regular file", in("loop"): "symbolic links",
		"/dev/zero": "not a regular file", in("huge"): "bytes", in("open"): "everybody may write", in("unsigned"): "nobody signed it",
		in("work/token"): "box can write to", in("link"): "box can write to",
		g.home.State + "/extra/token": "own directory", in("into/token"): "own directory", "relative": "can't be used",
	} {
		_, err := w.client.Create(t.Context(), api.CreateRequest{Name: "box", Mounts: writable, Tokens: api.Tokens{Static: path}})
		var answer *api.Error
		if !errors.As(err, &answer) || !strings.Contains(answer.Message, want) || answer.Hint == "" || strings.Contains(answer.Message, good) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if all := g.roster.All(); len(all) != 0 {
		t.Errorf("%d are left of creations that failed", len(all))
	}
	w.create(api.CreateRequest{Name: "box", Tokens: api.Tokens{Static: in("work/token")}})
	_, err := w.client.Create(t.Context(), api.CreateRequest{Name: "other", Mounts: writable})
	if err == nil || !strings.Contains(err.Error(), "is followed for box") {
		t.Errorf("a mount over a followed file: %v", err)
	}
	if _, err := w.client.Tokens.Revoke(t.Context(), "box"); err == nil {
		t.Error("a token that is not ours is revoked")
	}
}
