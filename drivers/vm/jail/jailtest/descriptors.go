package jailtest

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// descriptor is an open file of a process.
type descriptor struct {
	number string
	link   string // what /proc says it is
	mount  string // id of the mount that the file lies in
	writes bool
}

// checkDescriptors wants only these descriptors: those that the process inherited, those of
// files in its jail, and those of objects of its own without a name.
func (p process) checkDescriptors() {
	p.Helper()
	host := mountIDs(process{T: p.T, dir: "/proc/self"}.read("mountinfo"))
	streams := map[string]bool{}
	own := map[string]int{}
	for _, d := range p.descriptors() {
		object, _, _ := strings.Cut(d.link, ":")
		switch {
		case object == "socket" || object == "pipe":
			streams[d.link] = true
		case object == "anon_inode" || object == "/memfd":
			own[d.link]++
			continue
		case host[d.mount]:
			if !slices.ContainsFunc(p.want.HostFiles, func(pattern string) bool { return matches(pattern, d.link) }) {
				p.Errorf("descriptor %s is the host's %s", d.number, d.link)
			}
		case !p.names(d.link) || d.writes && !p.mayWrite(d.link):
			p.Errorf("descriptor %s is %s (for writing: %v)", d.number, d.link, d.writes)
		}
		p.Logf("descriptor %s %s", d.number, d.link)
	}
	p.Logf("its own: %v", own)
	p.countStreams(streams)
}

func (p process) countStreams(streams map[string]bool) {
	p.Helper()
	count := map[string]int{}
	for link := range streams {
		object, _, _ := strings.Cut(link, ":")
		count[object]++
	}
	if count["socket"] > p.want.Sockets || count["pipe"] > p.want.Pipes {
		p.Errorf("it has %v, of which %d sockets and %d pipes were to be", count, p.want.Sockets, p.want.Pipes)
	}
}

func (p process) descriptors() (all []descriptor) {
	p.Helper()
	for _, number := range p.list("fd") {
		link, err := os.Readlink(filepath.Join(p.dir, "fd", number))
		if err != nil {
			continue // closed since it was listed
		}
		data, err := os.ReadFile(filepath.Join(p.dir, "fdinfo", number))
		if err != nil {
			continue
		}
		info := fields(string(data))
		flags, err := strconv.ParseUint(info["flags"], 8, 32)
		if err != nil || info["mnt_id"] == "" {
			p.Errorf("descriptor %s, %s, is not understood: %s", number, link, data)
		}
		all = append(all, descriptor{number, link, info["mnt_id"], int(flags)&(os.O_WRONLY|os.O_RDWR) != 0})
	}
	return all
}

// names reports whether a path is in the jail: a mount, something below one, or a directory
// on the way to one.
func (p process) names(name string) bool {
	return slices.ContainsFunc(p.want.Paths, func(m string) bool {
		return m == name || strings.HasPrefix(name, m+"/") || strings.HasPrefix(m, strings.TrimSuffix(name, "/")+"/")
	})
}

// mayWrite reports whether a path is a writable mount, in one, or a device.
func (p process) mayWrite(name string) bool {
	return slices.ContainsFunc(slices.Concat(p.want.Writable, p.want.Devices), func(m string) bool {
		return m == name || strings.HasPrefix(name, m+"/")
	})
}

func mountIDs(mountinfo string) map[string]bool {
	ids := map[string]bool{}
	for line := range strings.Lines(mountinfo) {
		id, _, _ := strings.Cut(line, " ")
		ids[id] = true
	}
	return ids
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
