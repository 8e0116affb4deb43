package project

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/kballard/go-shellquote"

	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/plainfile"
)

// place is where a file lies.
type place struct {
	path  string   // the file as it is named
	file  string   // without symbolic links
	dir   string   // without symbolic links
	wide  bool     // the directory is a home, or has one in it
	whose []string // what is odd about who wrote the file
}

func newPlace(file string) (place, error) {
	info, err := os.Stat(file)
	if err != nil {
		return place{}, say.Errorf("name a file that is there", "read the project file: %v", err)
	}
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return place{}, say.Errorf("name a file that is there", "read the project file: %v", err)
	}
	p := place{path: file, file: real, dir: filepath.Dir(file)}
	for _, own := range []func() (string, error){os.UserHomeDir, api.StateDir} {
		if dir, err := own(); err == nil {
			p.wide = p.wide || within(p.dir, dir)
		}
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 && int(uid) != os.Geteuid() {
		p.whose = append(p.whose, fmt.Sprintf("belongs to user %d", uid))
	}
	if info.Mode().Perm()&0o002 != 0 {
		p.whose = append(p.whose, fmt.Sprintf("can be written by others (mode %04o)", info.Mode().Perm()))
	}
	return p, nil
}

// within says whether a path is dir, or lies below it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// outside says where a path of the host leads to, and whether that is not the project's own. What is
// not there yet counts, too.
func (p place) outside(path string) (real string, outside bool) {
	missing, links := "", 0
	for real = path; ; {
		if at, err := filepath.EvalSymlinks(cmp.Or(real, "/")); err == nil {
			real = filepath.Join(at, missing)
			return real, p.wide || !within(p.dir, real)
		}
		if target, err := os.Readlink(real); err == nil { // to where nothing is yet
			if links++; links > 40 {
				return path, true
			}
			if !filepath.IsAbs(target) {
				target = above(real) + "/" + target
			}
			real = strings.TrimRight(target, "/")
			continue
		}
		if real == "" {
			return path, true
		}
		dir := above(real)
		missing = filepath.Join(strings.Trim(real[len(dir):], "/"), missing)
		real = dir
	}
}

// above is a path without its last name; "" for one of the root. It is not cleaned: a .. is that of what
// a link leads to.
func above(path string) string {
	return strings.TrimRight(path[:max(0, strings.LastIndex(path, "/"))], "/")
}

// mostNames are looked at in a directory that is followed: the gateway follows none with as many.
const mostNames = 10000

// leads returns where links in a directory of the project's own lead to outside of it.
func (p place) leads(dir string) (outside []string) {
	seen, left := map[string]bool{}, mostNames
	for todo := []string{dir}; len(todo) > 0; {
		dir, todo = todo[0], todo[1:]
		if seen[dir] {
			continue
		}
		seen[dir] = true
		entries, _ := os.ReadDir(dir) // what is no directory has none; what can't be read can't be followed
		for _, e := range entries {
			if left--; left < 0 {
				return append(outside, "more than can be looked at")
			}
			real, out := p.outside(filepath.Join(dir, e.Name()))
			if out {
				outside = append(outside, real)
			} else if e.IsDir() || e.Type()&os.ModeSymlink != 0 {
				todo = append(todo, real)
			}
		}
	}
	return outside
}

// harmless are keys that ask nothing of the host: what they change is inside. Whatever is not among
// them, and is not judged below, needs consent, as a flag does that was added later.
var harmless = strings.Fields("name user workdir entrypoint tty interactive env-file label label-file restart rm ttl driver hypervisor " +
	"platform pull ephemeral require-jail cpus memory disk network allow-egress token-user inotify auth-mode at on-renew")

// ofFiles says that a setting names files of lines for another flag.
func (s setting) ofFiles() bool { return s.key == "env-file" || s.key == "label-file" }

// ofHost are keys with a path of this host, which may begin with the home directory.
var ofHost = strings.Fields("mount volume file rootfs static-token env-file label-file github-app oauth")

// tilde is a home directory at the beginning of a path.
var tilde = regexp.MustCompile(`(^|=)~/`)

// args are the flags that a setting stands for. A file of lines is read now: it is its content that
// is judged and agreed to.
func (s setting) args(p place) (args, asks []string, err error) {
	given := s.text
	if home, err := os.UserHomeDir(); err == nil && slices.Contains(ofHost, s.key) {
		given = tilde.ReplaceAllString(given, "${1}"+strings.ReplaceAll(home, "$", "$$")+"/")
	}
	if !s.ofFiles() {
		return []string{"--" + s.key + "=" + given}, nil, nil
	}
	if _, err := plainfile.Read(given, maxFile); err != nil { // not a device, and no terabyte
		return nil, nil, say.Errorf("give a file of at most 64 KiB with lines NAME=VALUE", "%s: %v", s.key, err)
	}
	flag, readLines := "--label=", request.LabelFile
	if s.key == "env-file" {
		flag, readLines = "--env=", request.EnvFile
	}
	lines, err := readLines(given)
	if err != nil {
		return nil, nil, err
	}
	if at, err := filepath.Abs(given); err == nil {
		if real, outside := p.outside(at); outside {
			asks = append(asks, "has the lines of "+real)
		}
	}
	for _, line := range lines {
		args = append(args, flag+line)
		if s.key == "env-file" && !strings.Contains(line, "=") {
			asks = append(asks, "has the variable "+line+" of this shell")
		}
	}
	return args, asks, nil
}

// judge says what a setting, read as a request, asks of the host, one line for each thing; and
// whether the sandbox could write the project file.
func (p place) judge(s setting, q api.CreateRequest) (asks []string, written bool) {
	add := func(format string, args ...any) { asks = append(asks, fmt.Sprintf(format, args...)) }
	path := func(doing, path string) {
		if real, outside := p.outside(path); outside {
			add("%s %s", doing, real)
		}
	}
	switch s.key {
	case "mount", "volume":
		for _, m := range q.Mounts {
			written = p.mount(m, add) || written
		}
	case "rootfs":
		path("has as its root", q.Rootfs)
	case "image":
		kind, rest, _ := strings.Cut(q.Image, ":")
		if slices.Contains([]string{"oci", "oci-archive", "docker-archive"}, kind) {
			file, _, _ := strings.Cut(rest, ":")
			path("has the image", file)
		}
	case "file":
		for _, source := range q.Sources {
			path("shows "+source.Name+" of the file", source.File)
			if real, outside := p.outside(source.File); !outside {
				for _, at := range p.leads(real) {
					add("shows below %s what a link in %s leads to: %s", source.Name, real, at)
				}
			}
		}
	case "static-token":
		path("has the token of the file", q.Tokens.Static)
	case "github-app", "oauth": // where they lead to is asked for, too, so that consent ends when that changes
		for _, source := range q.Sources {
			p.tokens(source, add)
		}
	case "share":
		for _, share := range q.Shares {
			add("shows the share %s, with the token and the files that are in it", share.Name)
		}
	case "exec":
		for _, source := range q.Sources {
			add("runs on this host, as you: %s", shellquote.Join(source.Command...))
		}
	case "env":
		if !strings.Contains(s.text, "=") {
			add("has the variable %s of this shell", s.text)
		}
	case "publish":
		for _, port := range q.Ports {
			if ip, err := netip.ParseAddr(port.HostIP); port.HostIP != "" && (err != nil || !ip.IsLoopback()) {
				add("is open for other hosts at %s", port.Listen())
			}
		}
	default:
		if !slices.Contains(harmless, s.key) {
			add("has %s %s", s.key, strconv.Quote(s.text))
		}
	}
	return asks, written
}

// tokens judges a source of tokens that others make for a key, or a refresh token, of the host.
func (p place) tokens(s api.Source, add func(string, ...any)) {
	if app := s.GitHubApp; app != nil {
		key, _ := p.outside(app.Key)
		of, for_ := "", "all that its installation may"
		if app.URL != "" {
			of = " at " + app.URL
		}
		if len(app.Repositories) > 0 {
			for_ = strings.Join(app.Repositories, ", ")
		}
		add("has tokens of the GitHub App %s%s, made with the key %s, for %s", app.App, of, key, for_)
		return
	}
	file, _ := p.outside(s.OAuth)
	add("has access tokens, made with the refresh token in %s", file)
}

// mount judges a mount.
func (p place) mount(m api.Mount, add func(string, ...any)) (written bool) {
	how := "reads"
	if m.Writable {
		how = "writes to"
	}
	if m.Source == "" {
		add("%s the volume %s, which other sandboxes may use", how, m.Volume)
		return false
	}
	real, outside := p.outside(m.Source)
	if outside {
		add("%s %s", how, real)
	}
	return m.Writable && (within(real, p.path) || within(real, p.file))
}
