//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/gateway/sources/ask/asktest"
)

// credentialLife is how long the servers' tokens live. They turn at half of it.
const credentialLife = 24 * time.Second

// TestCredentialsTurn has sandboxes of all drivers show a GitHub App's token and one that is made
// with a refresh token. What is read inside is good and of one moment, over turns, and told to be
// bad once it is. The app's key, each refresh token and the client's secret are nowhere but in
// their files. Servers that fail, and a gateway that dies meanwhile, take nothing away.
func TestCredentialsTurn(t *testing.T) {
	t.Parallel()
	w, list := worldOfAll(t)
	c := w.credentials()
	for _, e := range list {
		w.start(e.driver, "1h", append(c.flags, e.flags...)...)
	}
	each := func(do func(name string)) {
		var all sync.WaitGroup
		for _, e := range list {
			all.Go(func() { do(e.driver) })
		}
		all.Wait()
	}
	each(func(name string) { c.turns(name, 2) })
	each(func(name string) {
		if found := w.inside(name, c.kept); found != "" {
			t.Errorf("%s: %s is in %s", name, c.kept.name, found)
		}
	})
	w.onlyInShares(c.access)
	w.provesWhole(c.kept)

	c.fail()
	told := func(how string) {
		for _, source := range []string{"github", "oauth"} {
			line := regexp.MustCompile("(?m)^.*; " + source + " (" + how + ").*$")
			w.eventually("ps tells of each sandbox: "+source+" "+how, patience, func() bool {
				return len(line.FindAllString(w.run("ps"), -1)) == len(list)
			})
		}
	}
	told("is not renewed|EXPIRED")
	each(c.keepsLast)
	w.killGateway()
	told("EXPIRED")
	each(c.keepsLast)
	c.recover()
	each(func(name string) { c.turns(name, 1) })
	w.eventually("ps tells of nothing any more", patience, func() bool {
		ps := w.run("ps")
		return !strings.Contains(ps, "EXPIRED") && !strings.Contains(ps, "is not renewed")
	})
	c.newestIsKept()
}

// credentials are two servers, and what they gave.
type credentials struct {
	*world
	github *asktest.GitHub
	oauth  *asktest.Endpoint
	file   string // of the host, with the refresh token
	flags  []string
	access *shownSecret
	kept   *shownSecret // what stays on the host

	mu    sync.Mutex
	given map[string]time.Time // when each of the app's tokens expires
	last  string               // of them
}

func (w *world) credentials() *credentials {
	w.Helper()
	refresh := rand.Text()
	c := &credentials{world: w, access: newShownSecret("an access token", rand.Text()), given: map[string]time.Time{}}
	c.github = asktest.NewGitHub(w, c.give)
	c.oauth = asktest.NewEndpoint(w)
	c.oauth.Life = credentialLife
	c.oauth.Access, c.oauth.Refresh, c.oauth.Secret = c.access.text+"-", "1//"+refresh+"-", refresh
	dir := w.TempDir()
	key := filepath.Join(dir, "app.pem")
	c.file = filepath.Join(dir, "oauth.json")
	w.must(os.WriteFile(key, c.github.Key(), 0o400))
	w.must(os.WriteFile(c.file, []byte(c.oauth.File(c.oauth.Newest())), 0o640))
	w.must(os.Chmod(c.file, 0o640))
	c.kept = newShownSecret("a refresh token or the client's secret", refresh)
	c.kept.also("the app's key", strings.Split(string(c.github.Key()), "\n")[9])
	c.flags = []string{"--oauth", "oauth=" + c.file, "--github-app",
		fmt.Sprintf("%s,installation=%d,key=%s,repos=acme/web;acme/docs,url=%s,mode=0400", asktest.App, asktest.Installation, key, c.github.URL)}
	return c
}

// give is how the stand-in of GitHub answers the app.
func (c *credentials) give(rw http.ResponseWriter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = fmt.Sprintf("ghs_%s%d", c.access.text, len(c.given))
	c.given[c.last] = time.Now().Add(credentialLife).Truncate(time.Second)
	asktest.Give(rw, c.last, c.given[c.last], "acme/web", "acme/docs")
}

// credential is what a sandbox reads, all in one generation.
type credential struct {
	github, line, oauth string
	expires             [2]time.Time
}

func (c *credentials) reads(name string) (got credential) {
	c.Helper()
	out := c.run("exec", name, "sh", "-c", `cd /etc/openshell/auth/..data && for f in github/token github/git-credentials oauth/token github/metadata.json oauth/metadata.json
		do cat $f | tr -d '\n'; echo; done; stat -L -c %a github/token github/git-credentials`)
	lines := strings.Split(out, "\n")
	if len(lines) < 7 || lines[5]+lines[6] != "400400" {
		c.Fatalf("%s reads %q", name, out)
	}
	got = credential{github: lines[0], line: lines[1], oauth: lines[2]}
	for i := range got.expires {
		var about struct{ ExpiresAt time.Time }
		c.must(json.Unmarshal([]byte(lines[3+i]), &about))
		got.expires[i] = about.ExpiresAt
	}
	return got
}

// turns waits until a sandbox has seen so many more tokens of each server. What it reads has to be
// good at that time.
func (c *credentials) turns(name string, more int) {
	first := c.reads(name)
	seen := []map[string]bool{{first.github: true}, {first.oauth: true}}
	c.eventually(fmt.Sprintf("%s sees %d more tokens of each server", name, more), patience, func() bool {
		asked := time.Now()
		got := c.reads(name)
		c.mu.Lock()
		expires, known := c.given[got.github]
		c.mu.Unlock()
		if !known || !expires.Equal(got.expires[0]) || got.line != strings.Replace(c.github.URL, "//", "//x-access-token:"+got.github+"@", 1) {
			c.Errorf("%s: the app's token is good until %v, %v, and beside it are %v and %q", name, expires, known, got.expires[0], got.line)
		}
		if more > 1 && (expires.Before(asked) || got.expires[1].Before(asked)) { // else they were bad before
			c.Errorf("%s: at %v it reads tokens that were good until %v and %v", name, asked, expires, got.expires[1])
		}
		if !strings.HasPrefix(got.oauth, c.access.text+"-") {
			c.Errorf("%s: the other token is %q", name, got.oauth)
		}
		seen[0][got.github], seen[1][got.oauth] = true, true
		return len(seen[0]) > more && len(seen[1]) > more
	})
}

// fail has both servers fail, with answers that hold what must not be told.
func (c *credentials) fail() {
	c.github.Answer(func(rw http.ResponseWriter) { http.Error(rw, c.oauth.Refresh, http.StatusBadGateway) })
	c.oauth.Answer(func(rw http.ResponseWriter) bool {
		http.Error(rw, c.oauth.Refresh, http.StatusServiceUnavailable)
		return true
	})
}

func (c *credentials) recover() {
	c.github.Answer(c.give)
	c.oauth.Answer(nil)
}

// keepsLast expects a sandbox to have what the servers gave last.
func (c *credentials) keepsLast(name string) {
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	number := strings.TrimPrefix(c.oauth.Newest(), c.oauth.Refresh)
	if got := c.reads(name); got.github != last || got.oauth != c.oauth.Access+number {
		c.Errorf("%s: while the servers fail it reads %q and %q, not %q and that with the number %s", name, got.github, got.oauth, last, number)
	}
}

// newestIsKept expects the file of the host to hold the refresh token that is good, and no question
// with another one to have been asked; and nothing that was secret in an answer, or in a question,
// to be in a log.
func (c *credentials) newestIsKept() {
	c.Helper()
	c.eventually("the file holds the newest refresh token, and nothing else in it has changed", patience, func() bool {
		data, err := os.ReadFile(c.file)
		return err == nil && string(data) == c.oauth.File(c.oauth.Newest())
	})
	if info, err := os.Stat(c.file); err != nil || info.Mode().Perm() != 0o640 {
		c.Errorf("the file with the refresh token: %v, %v", info, err)
	}
	if all, refused := c.oauth.Asked(); refused != 0 || all < 3 {
		c.Errorf("the endpoint refused %d of %d questions", refused, all)
	}
	repositories, assertions := c.github.Asked()
	if slices.ContainsFunc(repositories, func(r string) bool { return r != "web docs" }) {
		c.Errorf("the app asked for %q", repositories)
	}
	c.kept.also("the app's assertion", assertions[len(assertions)-1])
	if found := c.places(c.kept); len(found) > 0 {
		c.Errorf("%s is in %q", c.kept.name, found)
	}
}

// also has another text looked for together with the first.
func (s *shownSecret) also(name, text string) {
	more := newShownSecret(name, text)
	s.name += ", or " + name
	s.text += "\n" + text
	s.forms = append(s.forms, more.forms...)
}
