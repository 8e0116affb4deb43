//go:build e2e

package programs_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// packSize is how much a repository's one blob has. It can't be compressed.
const packSize = 256 << 10

// mintGit is a forge's command that prints a token.
func (s *servers) mintGit(rw http.ResponseWriter, _ *http.Request) {
	token, _ := s.git.issue()
	fmt.Fprintln(rw, token)
}

// gitServer is git's own, behind one that wants a good token for each request, and is slow.
func (w *world) gitServer(l *ledger) http.Handler {
	w.Helper()
	root := filepath.Join(w.home, "forge")
	w.repositories(root)
	exec, err := exec.Command("git", "--exec-path").Output()
	w.must(err)
	backend := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(exec)), "git-http-backend"), Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + w.home, "PATH=" + os.Getenv("PATH")}}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		user, token, given := r.BasicAuth()
		if !given || user != "x-access-token" || !l.take(token) {
			rw.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(rw, "no", http.StatusUnauthorized)
			return
		}
		r.Header.Del("Authorization")
		takes := w.rates.part
		if strings.HasPrefix(r.URL.Path, "/project.git/") {
			takes = w.rates.clone
		}
		backend.ServeHTTP(&drip{ResponseWriter: rw, pause: takes / (packSize / dripSize)}, r)
	})
}

// repositories makes a project with submodules, each with a blob.
func (w *world) repositories(root string) {
	w.Helper()
	blob := make([]byte, packSize)
	_, err := rand.Read(blob)
	w.must(err)
	w.must(os.Mkdir(root, 0o755))
	w.must(os.WriteFile(filepath.Join(root, "blob"), blob, 0o644))
	script := fmt.Sprintf(`
		export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
		fill() { git init -q $1; cp blob $1/; echo $1 >$1/name; git -C $1 add .; git -C $1 commit -qm $1; }
		fill project
		for i in $(seq %d); do
			fill part$i
			git clone -q --bare part$i part$i.git
			git -C project config -f .gitmodules submodule.part$i.path part$i
			git -C project config -f .gitmodules submodule.part$i.url ../part$i.git
			git -C project update-index --add --cacheinfo 160000,$(git -C part$i rev-parse HEAD),part$i
		done
		git -C project add .gitmodules
		git -C project commit -qm parts
		git clone -q --bare project project.git`, submodules)
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir, cmd.Env = root, w.env
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("%v\n%s", err, out)
	}
}

const dripSize = 4096

// drip is a response that takes its time.
type drip struct {
	http.ResponseWriter
	pause time.Duration // after each dripSize
	owes  int
}

func (d *drip) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), dripSize)]
		k, e := d.ResponseWriter.Write(part)
		n, p, err = n+k, p[k:], e
		if d.owes += k; d.owes >= dripSize {
			d.owes -= dripSize
			_ = http.NewResponseController(d.ResponseWriter).Flush()
			time.Sleep(d.pause)
		}
	}
	return n, err
}

// testGit clones a project with submodules. One response takes longer than its token lives, and the
// whole of it several lives.
func (w *world) testGit(r *recipe) {
	dir := w.dir("git")
	w.host(dir, r.next("host"))
	w.named("builder")
	began := time.Now()
	w.inside("builder", "cd /root\n"+r.next("inside"))
	w.Logf("the clone took %v", time.Since(began).Round(time.Second))
	got := w.inside("builder", `cd /root/project; git submodule status; cat */name; git fsck 2>&1; git submodule foreach -q 'git fsck 2>&1'; ls .git/config ~/.git-credentials 2>&1 || :`)
	for i := range submodules {
		if !strings.Contains(got, fmt.Sprintf("\npart%d\n", i+1)) {
			w.Errorf("part %d was not cloned:\n%s", i+1, got)
		}
	}
	w.git.settle(w, 3, func(token string) int {
		request, err := http.NewRequest(http.MethodGet, "https://"+gitName+"/project.git/info/refs?service=git-upload-pack", nil)
		w.must(err)
		request.SetBasicAuth("x-access-token", token)
		return w.call(gitName, request)
	})
	if leaks := w.inside("builder", "grep -rl -e password= -e x-access-token: /root || :"); strings.TrimSpace(leaks) != "/root/.gitconfig" {
		w.Errorf("a token may lie in %s", leaks)
	}
}

// dir makes a directory of the host for a recipe.
func (w *world) dir(name string) string {
	w.Helper()
	dir := filepath.Join(w.home, name)
	w.must(os.Mkdir(dir, 0o755))
	return dir
}
