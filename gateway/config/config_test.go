package config

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"openshell-vm/internal/fault"
)

// write makes a file that is read, and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), fileName)
	rewrite(t, path, text)
	return path
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for _, pair := range pairs {
			if n, value, _ := strings.Cut(pair, "="); n == name {
				return value
			}
		}
		return ""
	}
}

// TestPrecedence: flag over environment over file over default, and each value says where it
// came from.
func TestPrecedence(t *testing.T) {
	path := write(t, "# mine\nissuer = \"https://file.example\"\ntrust-domain = \"file.example\"\nttl = \"2h\"\nidle-after = \"1m\"\n")
	r := Reader{File: path, Lookup: environment("OPENSHELL_TRUST_DOMAIN=env.example", "OPENSHELL_IDLE_AFTER=2m"),
		Flags: map[string]string{"idle-after": "3m"}, Defaults: map[string]string{"idle-after": "10m"}}
	c, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]string{
		"issuer":       {"https://file.example", path + ":2"},
		"trust-domain": {"env.example", "environment: OPENSHELL_TRUST_DOMAIN"},
		"publish-for":  {"15m", "default"}, // since there is an issuer
		"ttl":          {"2h", path + ":4"},
		"idle-after":   {"3m", "flag"},
		"log-level":    {"info", "default"},
		"hook":         {"", "default"},
	}
	for _, s := range c.Settings() {
		if w, ok := want[s.Name]; ok && (s.Value != w[0] || s.Origin != w[1]) {
			t.Errorf("%s is %q, from %s; wanted %q", s.Name, s.Value, s.Origin, w)
		}
	}
	if c.TTL != (Duration{2 * time.Hour}) || c.IdleAfter != (Duration{3 * time.Minute}) || c.File != path {
		t.Errorf("%+v", c)
	}
	r.File, r.Lookup, r.Flags = "", nil, nil
	if c, err = r.Read(); err != nil || c.IdleAfter != (Duration{10 * time.Minute}) || c.PublishFor.Duration != 0 || c.Issuer != "" ||
		c.File != "" {
		t.Errorf("without anything: %+v, %v", c, err)
	}
}

// TestRefused: what is wrong is told with its line and what to do.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ text, line, message, hint string }{
		{"\nisuer = \"https://x.example\"", "2", `no setting "isuer"`, "did you mean issuer?"},
		{"trust_domain = \"x\"", "1", `no setting "trust_domain"`, "did you mean trust-domain?"},
		{"idel-after = \"1m\"", "1", `no setting "idel-after"`, "did you mean idle-after?"},
		{"colour = 3", "1", `no setting "colour"`, "settings are issuer, "},
		{"ttl = \"1h\"\n[issuer]\nurl = \"x\"", "2", "issuer", "URL"},
		{"[server]\nlisten = \"x\"", "1", `no setting "server`, "settings are"},
		{"issuer = \"http://example.org\"", "1", "for trying out", "a URL such as"},
		{"issuer = 3", "1", "issuer has a value of another kind", "a URL such as"},
		{"\n\nttl = 30", "3", "ttl has a value of another kind", "a duration such as"},
		{"ttl = \"1 hour\"", "1", "ttl", "a duration such as"},
		{"ttl = \"48h\"", "1", "between 16s and 24h", "a duration"},
		{"publish-for = \"-1s\"", "1", "between 0s and 24h", "a duration"},
		{"hook = \"/bin/true\"", "1", "hook has a value of another kind", "a list"},
		{"hook = [\"true\"]", "1", "no absolute path", "a list"},
		{"listen = \"8443\"", "1", "not HOST:PORT", "an address"},
		{"listen = \"127.0.0.1:0\"", "1", "no port", "an address"},
		{"listen = \"example.org:8443\"", "1", "no IP address", "an address"},
		{"listen = \"0.0.0.0:8443\"", "1", "needs tls-cert", "an address"},
		{"listen = \":8443\"", "1", "needs tls-cert", "an address"},
		{"listen = \"[::]:8443\"\ntls-cert = \"/c\"", "2", "without tls-key", "a PEM file"},
		{"tls-key = \"k.pem\"\ntls-cert = \"/c\"", "1", "no absolute path", "a PEM file"},
		{"trust-domain = \"Example.org\"", "1", "lower case", "a name"},
		{"trust-domain = \"\"", "1", "1 to 255", "a name"},
		{"log-level = \"loud\"", "1", "neither info nor debug", "debug"},
		{"ttl = \"1h\"\nttl = \"2h\"", "2", "ttl", "TOML"},
		{"ttl = \"1h\"\nissuer https", "2", "", "TOML"},
		{"issuer = \"https://a.example", "1", "", "TOML"},
		{"\xff", "1", "", "TOML"},
	} {
		path := write(t, c.text)
		_, err := ReadFile(path)
		var wrong *Error
		if !errors.As(err, &wrong) {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		p := wrong.Problems[0]
		if p.Where != path+":"+c.line || !strings.Contains(p.Message, c.message) || !strings.Contains(p.Hint, c.hint) {
			t.Errorf("%q: %s, hint %q", c.text, p, p.Hint)
		}
		if hint := fault.HintOf(err); hint != p.Hint {
			t.Errorf("%q: the error's hint is %q", c.text, hint)
		}
	}
}

// TestAllProblems: one reading tells of all that is wrong with the values.
func TestAllProblems(t *testing.T) {
	_, err := Reader{File: write(t, "issuer = \"x\"\nttl = \"1s\"\n"), Lookup: environment("OPENSHELL_PUBLISH_FOR=soon")}.Read()
	var wrong *Error
	if !errors.As(err, &wrong) || len(wrong.Problems) != 3 || !strings.HasSuffix(err.Error(), "(and 2 more)") {
		t.Fatalf("%v", err)
	}
	if p := wrong.Problems[0]; p.Where != "environment: OPENSHELL_PUBLISH_FOR" || !strings.Contains(p.Message, `"soon" is no duration`) {
		t.Errorf("%s", p)
	}
}

// TestWhoCanWrite: a file that others can write or replace is refused.
func TestWhoCanWrite(t *testing.T) {
	path := write(t, "ttl = \"1h\"")
	dir := filepath.Dir(path)
	for _, c := range []struct {
		file, dir os.FileMode
		message   string
	}{
		{0o644, 0o755, ""}, {0o600, 0o700, ""}, {0o644, os.ModeSticky | 0o777, ""},
		{0o664, 0o700, "others can write it"}, {0o646, 0o700, "others can write it"},
		{0o644, 0o777, "others can replace it"}, {0o644, 0o775, "others can replace it"},
	} {
		if err := errors.Join(os.Chmod(path, c.file), os.Chmod(dir, c.dir)); err != nil {
			t.Fatal(err)
		}
		_, err := ReadFile(path)
		if c.message == "" && err != nil || c.message != "" && (err == nil || !strings.Contains(err.Error(), c.message) ||
			fault.HintOf(err) == "") {
			t.Errorf("%o in %o: %v", c.file, c.dir, err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(path, 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("a stranger's file: %v", err)
	}
}

// TestWhichFile: a file that is named must be there, and the usual one need not.
func TestWhichFile(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv(EnvFile, "")
	r := FromEnvironment()
	if r.Named || !strings.HasSuffix(r.File, "/openshell-vm/gateway.toml") {
		t.Errorf("%+v", r)
	}
	t.Setenv(EnvFile, filepath.Join(t.TempDir(), "none.toml"))
	r = FromEnvironment()
	if !r.Named {
		t.Fatalf("%+v", r)
	}
	if _, err := r.Read(); err == nil || !strings.Contains(err.Error(), "no such file") || !strings.Contains(fault.HintOf(err),
		"unset "+EnvFile) {
		t.Errorf("a named file that is missing: %v", err)
	}
	t.Setenv(EnvFile, "gateway.toml")
	if _, err := FromEnvironment().Read(); err == nil || !strings.Contains(err.Error(), "no absolute path") {
		t.Errorf("a relative path: %v", err)
	}
	if _, err := ReadFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := ReadFile(write(t, strings.Repeat("#", maxFile+1))); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a file of any size: %v", err)
	}
}

// TestReload: a bad file changes nothing and is told, until it is mended; a gateway that is
// started meanwhile has the last good one.
func TestReload(t *testing.T) {
	path, keep := write(t, "ttl = \"2h\"\n"), filepath.Join(t.TempDir(), "kept")
	r := Reader{File: path}
	l, err := Open(r, keep)
	if err != nil || l.Problem() != nil {
		t.Fatal(err, l.Problem())
	}
	reload := func() (changed []Setting, err error) {
		called := false
		err = l.Reload(func(before, after *Config) { changed, called = after.Changed(before), true })
		if called != (err == nil) {
			t.Errorf("called: %v, %v", called, err)
		}
		return changed, err
	}
	rewrite(t, path, "ttl = \"2h\"\ntttl = \"3h\"\n")
	if _, err := reload(); err == nil || l.Problem() == nil || l.Now().TTL != (Duration{2 * time.Hour}) {
		t.Errorf("a bad file: %v, %v, %+v", err, l.Problem(), l.Now())
	}
	next, err := Open(r, keep)
	if err != nil || next.Problem() == nil || next.Now().TTL != (Duration{2 * time.Hour}) {
		t.Fatalf("started with a bad file: %v", err)
	}
	if _, err := Open(r, filepath.Join(t.TempDir(), "kept")); err == nil {
		t.Error("a bad file at the very first start is taken")
	}
	rewrite(t, path, "ttl = \"3h\"\nidle-after = \"1h\"\n")
	changed, err := reload()
	if err != nil || l.Problem() != nil || len(changed) != 2 || changed[0].Value != "3h" {
		t.Errorf("mended: %v, %v, %+v", err, l.Problem(), changed)
	}
	if p := l.Pending(); len(p) != 1 || p[0].Name != "idle-after" || p[0].Value != "1h" {
		t.Errorf("what needs a restart: %+v", p)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := reload(); err != nil || l.Now().TTL != (Duration{time.Hour}) {
		t.Errorf("without the file: %v, %+v", err, l.Now())
	}
	rewrite(t, path, "nonsense")
	if next, err = Open(r, keep); err != nil || next.Now().TTL != (Duration{time.Hour}) {
		t.Errorf("none was the last good one: %v", err)
	}
}

// TestWarnings: what is allowed but should be known.
func TestWarnings(t *testing.T) {
	for text, want := range map[string]string{
		"issuer = \"https://tokens.example\"":                       "",
		"issuer = \"https://tokens.example:8443\"":                  "has a port: AWS",
		"issuer = \"http://127.0.0.1:8080\"":                        "for trying out",
		"issuer = \"https://tokens.example\"\npublish-for = \"0s\"": "publish-for is 0",
		"tls-cert = \"/c\"\ntls-key = \"/k\"":                       "tls-cert has no effect",
	} {
		c, err := ReadFile(write(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if lines := c.Warnings(); len(lines) > 1 || want == "" && len(lines) > 0 || !strings.Contains(strings.Join(lines, "\n"), want) {
			t.Errorf("%q: %q", text, lines)
		}
	}
}

// TestFirstFileIsBad: a gateway that ran without a file is started again with a bad one. No
// file was the last good one.
func TestFirstFileIsBad(t *testing.T) {
	dir := t.TempDir()
	r, keep := Reader{File: filepath.Join(dir, fileName)}, filepath.Join(dir, "kept")
	if _, err := Open(r, keep); err != nil {
		t.Fatal(err)
	}
	rewrite(t, r.File, "tttl = \"2h\"\n")
	l, err := Open(r, keep)
	if err != nil || l.Problem() == nil || l.Now().TTL != (Duration{time.Hour}) || l.Now().File != "" {
		t.Errorf("%v", err)
	}
}

// TestBadVariable: a bad variable is told, and does not keep a gateway from starting that had
// good ones. Its value is the one before, and the file is that of now if it is good.
func TestBadVariable(t *testing.T) {
	path, keep := write(t, "idle-after = \"1m\"\n"), filepath.Join(t.TempDir(), "kept")
	good := environment("OPENSHELL_TTL=2h", "OPENSHELL_ISSUER=https://env.example")
	if _, err := Open(Reader{File: path, Lookup: good}, keep); err != nil {
		t.Fatal(err)
	}
	bad := environment("OPENSHELL_TTL=x\n", "OPENSHELL_ISSUER=https://other.example")
	for _, c := range []struct {
		file string
		env  func(string) string
		idle time.Duration
		url  string
	}{
		{"idle-after = \"2m\"\n", bad, 2 * time.Minute, "https://env.example"},
		{"nonsense", bad, time.Minute, "https://env.example"},
		{"nonsense", environment("OPENSHELL_TTL=2h", "OPENSHELL_ISSUER=https://other.example"), time.Minute, "https://other.example"},
	} {
		rewrite(t, path, c.file)
		l, err := Open(Reader{File: path, Lookup: c.env}, keep)
		if err != nil {
			t.Errorf("%q: %v", c.file, err)
			continue
		}
		if v := l.Now(); l.Problem() == nil || v.TTL != (Duration{2 * time.Hour}) || v.IdleAfter != (Duration{c.idle}) ||
			v.Issuer != c.url {
			t.Errorf("%q: %v, %+v", c.file, l.Problem(), v.Values)
		}
	}
	if _, err := Open(Reader{File: "gateway.toml", Named: true, Lookup: good}, keep); err != nil {
		t.Errorf("a relative path: %v", err)
	}
	if _, err := Open(Reader{File: path, Lookup: bad}, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a bad variable at the very first start is taken")
	}
}

// TestOldCopy: an older gateway's copy is the file's text alone.
func TestOldCopy(t *testing.T) {
	path, keep := write(t, "nonsense"), write(t, "ttl = \"2h\"\n")
	if l, err := Open(Reader{File: path}, keep); err != nil || l.Now().TTL != (Duration{2 * time.Hour}) {
		t.Error(err)
	}
}

// TestSettings holds the table together: each setting has a value, a check and a form.
func TestSettings(t *testing.T) {
	v := defaults()
	for _, s := range settings {
		if s.value(&v) == nil || s.check == nil || s.form == "" || s.name == "" {
			t.Errorf("%+v", s)
		}
		if err := s.check(&v); err != nil && s.name != "idle-after" {
			t.Errorf("the default of %s is refused: %v", s.name, err)
		}
	}
	text := ""
	for _, s := range settings {
		switch s.value(&v).(type) {
		case *string:
			text += s.name + " = \"\"\n"
		case *Duration:
			text += s.name + " = \"1h\"\n"
		case *[]string:
			text += s.name + " = []\n"
		}
	}
	c := &Config{Values: v, text: []byte(text), origins: map[string]string{}}
	if wrong := c.decode(); wrong != nil || len(c.origins) != len(settings) {
		t.Errorf("the file does not take each setting: %v, %v", wrong, c.origins)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("issuer = \"https://x.example\"\n[a.b]\nc = [1, {d = 2}]")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Reader{File: "f"}.parse([]byte(text))
		if (c == nil) == (err == nil) {
			t.Fatal(c, err)
		}
	})
}

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 15 * time.Minute: "15m", time.Hour: "1h", 90 * time.Minute: "1h30m",
		90 * time.Second: "1m30s", 10 * time.Second: "10s"} {
		if got := (Duration{d}).String(); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

// TestExample: the example has each setting, and can be used; so can the lines that are
// commented out, which are the defaults.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("../../examples/gateway.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{string(text), regexp.MustCompile(`(?m)^#([a-z-]+ = )`).ReplaceAllString(string(text), "$1")} {
		if _, err := ReadFile(write(t, s)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range Names() {
		if !regexp.MustCompile(`(?m)^#?` + name + ` = `).Match(text) {
			t.Errorf("the example has no %s", name)
		}
	}
}
