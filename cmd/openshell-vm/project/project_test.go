package project

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/say"
)

// write makes a file in a directory of its own, which is neither a home nor has one.
func write(t *testing.T, text string) (path string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("HOME", "/nowhere/home")
	t.Setenv("OPENSHELL_STATE_DIR", filepath.Join(t.TempDir(), "state"))
	path = filepath.Join(dir, FileName)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKeysAreFlags: each flag of run has its key, or is one of those that are not for files; and
// what is called harmless is a flag.
func TestKeysAreFlags(t *testing.T) {
	keys := keysOf(request.Flags())
	for _, f := range request.Flags() {
		name := f.Names()[0]
		if _, is := keys[name]; is == slices.Contains(notForFiles, name) {
			t.Errorf("%s: a key: %v", name, is)
		}
	}
	for _, name := range append(slices.Concat(harmless, ofHost), "image", "exec", "publish") {
		if _, is := keys[name]; !is {
			t.Errorf("there is no flag %s", name)
		}
	}
	for name, want := range map[string]key{"mount": {"mount", texts, false}, "env": {"env", texts, true}, "exec": {"exec", texts, true},
		"file": {"file", texts, true}, "label": {"label", texts, true}, "cpus": {"cpus", number, false}, "ttl": {"ttl", duration, false},
		"tty": {"tty", yesNo, false}, "driver": {"driver", oneText, false}} {
		if keys[name] != want {
			t.Errorf("%s is %+v", name, keys[name])
		}
	}
}

// TestExample: the example is taken, asks nothing of the host, and comes down to flags.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("../../../examples/openshell.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"as it is", "all of it"} {
		if name == "all of it" { // what is commented out is right, too
			for _, key := range []string{"token", "secret", "exec"} {
				text = []byte(strings.Replace(string(text), "# "+key+" =", key+" =", 1))
			}
			text = append([]byte{}, moveUp(string(text))...)
		}
		write(t, string(text))
		p, err := Load("")
		if err != nil {
			t.Fatal(err)
		}
		if asks := map[string]int{"as it is": 0, "all of it": 3}[name]; len(p.asks) != asks {
			t.Errorf("%s: it asks for %q", name, p.asks)
		}
		if want := []string{"--name=agent", "--mount=.:/work:rw", "--cpus=1.5", "--env=LANG=C.UTF-8"}; !p.written || p.Name != "agent" ||
			slices.ContainsFunc(want, func(a string) bool { return !slices.Contains(p.Args, a) }) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// moveUp puts the last lines before the first table.
func moveUp(text string) string {
	at, last := strings.Index(text, "[env]"), strings.Index(text, "# These ask")
	return text[:at] + text[last:] + "\n" + text[at:last]
}

// TestStrict: what is wrong is one line with its place, and a hint.
func TestStrict(t *testing.T) {
	for text, want := range map[string]struct{ says, hint string }{
		"image = 1":                              {":1: image has a value of another kind", "a string"},
		"\nmemry = '1g'":                         {`:2: there is no key "memry"`, "did you mean memory?"},
		"ports = ['80:80']":                      {`:1: there is no key "ports"`, "write publish"},
		"net = 'none'":                           {`:1: there is no key "net"`, "write network"},
		"quiet = true":                           {`:1: there is no key "quiet"`, "--quiet"},
		"cpus = '2'":                             {":1: cpus has", "a number"},
		"cpus = -1.0":                            {":1: -1 CPUs", "above 0"},
		"tty = 'yes'":                            {":1: tty has", "true or"},
		"ttl = '15'":                             {`:1: ttl "15" is not a duration`, "15m"},
		"mount = '.:/work'":                      {":1: mount has", `mount = ["…"`},
		"mount = [['a']]":                        {":1: mount has", "a list"},
		"[mount]\nwork = '.'":                    {":1: mount has", "a list"},
		"mount = [\n 'a:/b',\n 'wrong',\n]":      {`:3: mount "wrong" is malformed`, "SOURCE:TARGET"},
		"[env]\nA = '1'\n'B C' = 'x'":            {`:3: environment "B C=x"`, "NAME=VALUE"},
		"env = { A = 1, B = [] }":                {`:1: env has a value of another kind at "B"`, "a table"},
		"image = 'a'\nimage = 'b'":               {":2: key image is already defined", "each key once"},
		"image = 'a":                             {":1: ", "TOML"},
		"command = 'sleep inf'":                  {":1: command has", "command = ["},
		"image = 'a'\nrootfs = 'b'":              {".toml: --rootfs and --image", "leave one"},
		"env-file = ['missing']":                 {":1: env-file: ", "64 KiB"},
		"env-file = ['/dev/zero']":               {":1: env-file: ", "64 KiB"},
		"label-file = ['/dev/zero']":             {":1: label-file: ", "64 KiB"},
		"label = ['openshell-vm.plan=x']":        {":1: the label", "another name"},
		"image = 'a'\n[services.web]\nimage='b'": {`:2: there is no key "services"`, "one sandbox"},
	} {
		write(t, text)
		_, err := Load("")
		var e *say.Error
		if !errors.As(err, &e) || !strings.Contains(e.Error(), want.says) || !strings.Contains(e.Hint, want.hint) || strings.Contains(e.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
			if e != nil {
				t.Error(e.Hint)
			}
		}
	}
}

// TestNoSecret: what looks like a secret is refused and not shown, and what only has such a name is
// taken.
func TestNoSecret(t *testing.T) {
	for _, text := range []string{
		"env = ['PASSWORD=hunter2']", "env = ['DB_PASSWORD=hunter2']", "[env]\nAPI_KEY = 'hunter2'", "env = ['GITHUB_TOKEN=hunter2']",
		"env = ['AWS_SECRET_ACCESS_KEY=hunter2']", "env = ['X=ghp_hunter2hunter2hunter2hunter2']", "command = ['--key', 'sk-hunter2hunter2hunter2hunter2']",
		"env = ['DATABASE_URL=postgres://app:hunter2@db/app']", "env = ['H=Authorization: Bearer hunter2hunter2hunter2']",
		"env = { K = '-----BEGIN OPENSSH PRIVATE KEY-----hunter2' }", "label = ['x=eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2']",
		"claim = { password = 'hunter2' }",
	} {
		write(t, text)
		_, err := Load("")
		var e *say.Error
		if !errors.As(err, &e) || strings.Contains(e.Error()+e.Hint, "hunter2") || !strings.Contains(e.Hint, "secret create") {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{
		"env = ['TOKENIZERS_PARALLELISM=true', 'MAX_TOKENS=4096', 'DB_PASSWORD_FILE=/etc/openshell/auth/db', 'MONKEY=banana', 'TOKEN_URL=https://x']",
		"env = { SSH_KEY = '/etc/openshell/auth/key', API_TOKEN = '' }", "env = ['PROXY=http://proxy:3128']", "env = ['GITHUB_TOKEN']",
		"token = ['https://api.example.com']", "exec = { gh-token = 'gh auth token' }",
	} {
		write(t, text)
		if _, err := Load(""); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestAsks: what a file asks of the host is seen, by what it leads to; what stays in its directory is
// not asked for.
func TestAsks(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "vars")
	if err := os.WriteFile(elsewhere, []byte("A=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"mount = ['.:/work:rw', './sub:/sub', 'sub:/sub2', 'type=bind,source=sub,target=/x,rw']": "",
		"mount = ['type=bind,source=/,target=/x']":                                               "reads /",
		"mount = ['\"type=bind\",\"source=sub/../..\",target=/x,rw']":                            "writes to /",
		"mount = ['..:/up']":                               "reads /",
		"volume = ['./link:/x:rw']":                        "writes to /etc",
		"mount = ['link/new:/x']":                          "reads /etc/new",
		"mount = ['missing:/x']":                           "",
		"mount = ['~/x:/x']":                               "reads /nowhere/home/x",
		"volume = ['cache:/c']":                            "the volume cache",
		"rootfs = '/srv/root'":                             "as its root /srv/root",
		"rootfs = 'sub'":                                   "",
		"image = 'oci:sub'":                                "",
		"image = 'oci:/srv/oci:tag'":                       "the image /srv/oci",
		"image = 'docker.io/debian'":                       "",
		"file = ['ca=./sub/ca.pem']":                       "",
		"file = { ca = '/etc/ca' }":                        "shows ca of the file /etc/ca",
		"file = ['x=link/passwd']":                         "of the file /etc/passwd",
		"file = ['x=tree']":                                "leads to: /etc/passwd",
		"file = ['x=tree/inner']":                          "leads to: /etc/passwd",
		"file = ['x=hop']":                                 "leads to: /etc/passwd",
		"file = ['x=sub']":                                 "",
		"file = ['x=later']":                               "of the file /etc/later",
		"mount = ['later:/x']":                             "reads /etc/later",
		"file = ['x=up']":                                  "of the file /",
		"static-token = 'link/token'":                      "the token of the file /etc/token",
		"exec = ['t=sh -c \"a b\"']":                       "runs on this host, as you: sh -c 'a b'",
		"secret = ['github']":                              `has secret "github"`,
		"share = ['team:/srv']":                            "shows the share team, ",
		"on-renew = 'nginx -s reload'":                     "",
		"inotify = true":                                   "",
		"oauth = ['g=~/tok.json']":                         "the refresh token in /nowhere/home/tok.json",
		"oauth = ['g=link/tok.json']":                      "the refresh token in /etc/tok.json",
		"github-app = ['1,installation=2,key=link/k.pem']": "tokens of the GitHub App 1, made with the key /etc/k.pem, for all",
		"github-app = ['1,installation=2,key=~/k.pem,repos=a/b;a/c,url=https://x']": "App 1 at https://x, made with the key /nowhere/home/k.pem, for a/b, a/c",
		"at = '/home/agent/.ssh'":     "",
		"token = ['https://x']":       `has token "https://x"`,
		"identity = 'reviewer'":       `has identity "reviewer"`,
		"allow-host = [11434]":        `has allow-host "11434"`,
		"allow-egress = ['x:443']":    "",
		"publish = ['8080:80', 443]":  "",
		"publish = ['[::1]:80:80']":   "",
		"publish = ['0.0.0.0:80:80']": "open for other hosts at 0.0.0.0:80",
		"env = ['HOME']":              "the variable HOME of this shell",
		"env = ['A=1']":               "",
		"env-file = ['vars']":         "the variable AWS_KEY of this shell",
		"env-file = ['elsewhere']":    "the lines of /",
	} {
		path := write(t, text)
		dir := filepath.Dir(path)
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "sub"), 0o755), os.Symlink("/etc", filepath.Join(dir, "link")),
			os.MkdirAll(filepath.Join(dir, "tree/inner"), 0o755), os.Symlink("../inner", filepath.Join(dir, "tree/inner/loop")),
			os.Symlink("/etc/passwd", filepath.Join(dir, "tree/inner/key")), os.Mkdir(filepath.Join(dir, "hop"), 0o755),
			os.Symlink("../tree/inner", filepath.Join(dir, "hop/on")), os.Symlink("/etc/later/x", filepath.Join(dir, "later")),
			os.Symlink("link/../new/x", filepath.Join(dir, "up")),
			os.Symlink(elsewhere, filepath.Join(dir, "elsewhere")),
			os.WriteFile(filepath.Join(dir, "vars"), []byte("A=1\nAWS_KEY\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		p, err := Load("")
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := strings.Join(p.asks, "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q asks for %q, not %q", text, got, want)
		}
	}
}

// TestHomeIsNoProject: in a home, or above one, even the own directory is asked for.
func TestHomeIsNoProject(t *testing.T) {
	path := write(t, "mount = ['.:/work']")
	for _, home := range []string{filepath.Dir(path), filepath.Join(filepath.Dir(path), "user")} {
		t.Setenv("HOME", home)
		if p, err := Load(path); err != nil || len(p.asks) != 1 {
			t.Errorf("%+v, %v", p, err)
		}
	}
}

// TestWhoseFile: a file that others can write is asked for, whatever it says.
func TestWhoseFile(t *testing.T) {
	path := write(t, "memory = '1g'")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if p, err := Load(path); err != nil || len(p.asks) != 1 || !strings.Contains(p.asks[0], "written by others") {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestConsent: it holds for what was agreed to. Where the sandbox can write the file, each change
// needs it, also one that asks nothing of the host.
func TestConsent(t *testing.T) {
	path := write(t, "")
	agree := func(text string, trust bool) error {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return p.Agree(trust)
	}
	for i, step := range []struct {
		text  string
		trust bool
		says  string // "" if it is taken
	}{
		{"network = 'none'", false, ""},
		{"network = 'user'", false, ""}, // only a person could have changed it
		{"exec = ['t=gh auth token']", false, "runs on this host, as you: gh auth token"},
		{"exec = ['t=gh auth token']", true, ""},
		{"# the same\nexec = { t = 'gh auth token' }\n", false, ""},
		{"exec = ['t=gh auth token']", false, ""},
		{"exec = ['t=gh auth token', 'u=evil']", false, "line 1: it runs on this host, as you: evil"},
		{`exec = ['t=\u001b]0;evil\u0007']`, false, "as you: "},
		{"mount = ['.:/work:rw']\nnetwork = 'none'", false, ""},
		{"mount = ['.:/work:rw']\nnetwork = 'none'", false, ""},
		{"mount = ['.:/work:rw']", false, `- network = "none"`},
		{"mount = ['.:/work:rw']\nmemory = '1g'\nnetwork = 'none'", false, `+ memory = "1g"`},
		{"mount = ['.:/work:rw']\nmemory = '1g'\nnetwork = 'none'", true, ""},
		{"mount = ['.:/work:rw']\nnetwork = 'none'", false, ""}, // agreed to before
	} {
		err := agree(step.text, step.trust)
		if err != nil && strings.ContainsAny(err.Error(), "\x1b\x07") {
			t.Errorf("%d: %q", i, err)
		}
		if (err == nil) != (step.says == "") || err != nil && !strings.Contains(err.Error(), step.says) {
			t.Errorf("%d: %q: %v", i, step.text, err)
		}
	}
}

// TestLinkToTheFile: the sandbox can write a file that is a link, if it can replace the link.
func TestLinkToTheFile(t *testing.T) {
	real := write(t, "mount = ['.:/work:rw']")
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.Symlink(real, path); err != nil {
		t.Fatal(err)
	}
	if p, err := Load(path); err != nil || !p.written {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestLinkThatMoves: consent to a file is none to what a directory of it leads to later.
func TestLinkThatMoves(t *testing.T) {
	path := write(t, "exec = ['t=true']\nmount = ['data:/data', '.:/work:rw']")
	data := filepath.Join(filepath.Dir(path), "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	agree := func(trust bool) error {
		p, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return p.Agree(trust)
	}
	if err := errors.Join(agree(true), agree(false), os.Remove(data), os.Symlink("/etc", data)); err != nil {
		t.Fatal(err)
	}
	if err := agree(false); err == nil || !strings.Contains(err.Error(), "reads /etc") {
		t.Errorf("the directory leads elsewhere: %v", err)
	}
}

// TestContentOfFiles: consent is to the lines of an env-file, too.
func TestContentOfFiles(t *testing.T) {
	path := write(t, "env-file = ['vars']\nmount = ['.:/work:rw']\nenv = ['A=2']")
	vars := filepath.Join(filepath.Dir(path), "vars")
	load := func(lines string) *Project {
		t.Helper()
		if err := os.WriteFile(vars, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if err := load("A=1\nB=1").Agree(false); err != nil {
		t.Fatal(err)
	}
	if err := load("A=1\nB=1\nHOME").Agree(false); err == nil || !strings.Contains(err.Error(), "the variable HOME") {
		t.Errorf("another line: %v", err)
	}
	q, _, err := load("A=1\nB=1").Request(true)
	if err != nil || !slices.Equal(q.Process.Env, []string{"A=2", "B=1"}) {
		t.Errorf("%q, %v", q.Process.Env, err)
	}
}

// TestNames: of directories.
func TestNames(t *testing.T) {
	for dir, want := range map[string]string{"/srv/My App": "My-App", "/": "sandbox", "/a/.hidden": "hidden", "/a/ü": "sandbox", "/x_1.y": "x_1.y"} {
		if got := nameOf(dir); got != want {
			t.Errorf("%s: %q", dir, got)
		}
	}
}

// TestDeepKey: a key of many parts takes no more than its text does.
func TestDeepKey(t *testing.T) {
	text := []byte("a" + strings.Repeat(".a", maxFile/2-2) + " = 1")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	lines := lineNumbers(text)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; lines["a"] != 1 || took > 64<<20 {
		t.Errorf("%d lines, %d MiB", len(lines), took>>20)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"image = 'a'\n[env]\nA = 1", "mount = [\n'a:/b',\n]", "a.b.c = 1", "[[x]]\ny = {z = [1]}", "\"\" = 1", "env = {\"\"='x'}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		settings, err := parse("f", []byte(text))
		var e *say.Error
		if err != nil && (!errors.As(err, &e) || e.Hint == "") {
			t.Errorf("%v", err)
		}
		for _, s := range settings {
			if s.line < 1 {
				t.Errorf("no line: %+v", s)
			}
		}
	})
}
