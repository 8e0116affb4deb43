package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Mount tables. %[1]s stands for the place where the hierarchies are mounted.
const (
	tableV1 = `31 23 0:28 / %[1]s rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / %[1]s/cpu rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / %[1]s/memory rw,relatime shared:7 - cgroup cgroup rw,memory
39 31 0:36 / %[1]s/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / %[1]s/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
`
	tableHybrid = tableV1 + "41 31 0:38 / %[1]s/unified rw,relatime - cgroup2 cgroup2 rw\n"
	tableV2     = "31 23 0:28 / %[1]s rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
	tableNested = `35 31 0:32 /docker/ab12 %[1]s/memory ro,nosuid - cgroup cgroup rw,memory
39 31 0:36 /docker/ab12 %[1]s/pids ro,nosuid - cgroup cgroup rw,pids
`
)

// Files of a group of version 2 that hands nothing on, or that hands on what systemd lets it.
var (
	leaf  = map[string]string{"cgroup.controllers": "cpu memory pids\n", handsFile: "\n", "cgroup.type": "domain\n"}
	slice = map[string]string{"cgroup.controllers": "cpu memory pids\n", handsFile: "memory pids\n", "cgroup.type": "domain\n"}
	top   = map[string]string{"cgroup.controllers": "cpu memory pids\n", handsFile: "cpu memory pids\n"}
)

func TestPlace(t *testing.T) {
	const user = "/user.slice/user-1000.slice"
	bare := map[string]string{"cgroup.controllers": "cpu memory pids\n", handsFile: "\n"} // the root, by hand
	counting := map[string]string{"cgroup.controllers": "pids\n", handsFile: "pids\n", "cgroup.type": "domain\n"}
	tests := []struct {
		name, table, member string
		groups              map[string]map[string]string // version 2's, by path
		refused             map[string]string            // why, by the end of a path
		memory, tasks       string                       // below where all is mounted; a reason begins with "!"
	}{
		{name: "version 1", table: tableV1, member: "9:name=systemd:/x.service\n5:pids:/x.service\n4:memory:/system.slice/x.service\n2:cpu,cpuacct:/\n",
			memory: "/memory/system.slice/x.service", tasks: "/pids/x.service"},
		{name: "hybrid, root", table: tableHybrid, member: "8:pids:/\n4:memory:/process/1f\n1:cpu:/\n0::/\n",
			memory: "/memory/process/1f", tasks: "/pids"},
		{name: "hybrid, an ordinary user", table: tableHybrid, member: "8:pids:/user.slice\n4:memory:/\n0::/user.slice\n",
			refused: map[string]string{"/memory": "another user's", "/pids/user.slice": "another user's"},
			memory:  "!another user's", tasks: "!another user's"},
		{name: "memory in version 1 alone", table: tableHybrid, member: "4:memory:/\n0::/a\n",
			groups: map[string]map[string]string{"/unified": top, "/unified/a": leaf},
			memory: "/memory", tasks: "/unified"},
		{name: "version 2, a service of root's", table: tableV2, member: "0::/system.slice/x.service\n",
			groups: map[string]map[string]string{"": top, "/system.slice": slice, "/system.slice/x.service": leaf},
			memory: "/system.slice", tasks: "/system.slice"},
		{name: "version 2, root's own group that hands on", table: tableV2, member: "0::/a\n",
			groups: map[string]map[string]string{"": top, "/a": slice},
			memory: "/a", tasks: "/a"},
		{name: "version 2, a unit of the user's systemd", table: tableV2, member: "0::" + user + "/user@1000.service/app.slice/x.service\n",
			groups: map[string]map[string]string{"": top, "/user.slice": slice, user: slice, user + "/user@1000.service": slice,
				user + "/user@1000.service/app.slice": slice, user + "/user@1000.service/app.slice/x.service": leaf},
			refused: map[string]string{user: "another user's", user + "/" + procsFile: "another user's"},
			memory:  user + "/user@1000.service/app.slice", tasks: user + "/user@1000.service/app.slice"},
		{name: "version 2, a service with a limit", table: tableV2, member: "0::/system.slice/x.service\n",
			groups: map[string]map[string]string{"": top, "/system.slice": slice, "/system.slice/x.service": merged(leaf, "memory.max", "1073741824\n")},
			memory: "!x.service/memory.max bounds all", tasks: "!x.service/memory.max bounds all"},
		{name: "version 2, a service without one", table: tableV2, member: "0::/system.slice/x.service\n",
			groups: map[string]map[string]string{"": top, "/system.slice": merged(slice, "cpu.max", "100000 100000\n"), "/system.slice/x.service": merged(
				leaf, "memory.max", "max\n", "memory.high", "max\n", "cpu.max", "max 100000\n", "cpuset.cpus", "\n", "io.max", "")},
			memory: "/system.slice", tasks: "/system.slice"},
		{name: "version 2, a user's shell", table: tableV2, member: "0::" + user + "/session-3.scope\n",
			groups:  map[string]map[string]string{"": top, "/user.slice": slice, user: slice, user + "/session-3.scope": leaf},
			refused: map[string]string{"": "another user's", "/user.slice": "another user's", user: "another user's"},
			memory:  "!another user's", tasks: "!another user's"},
		{name: "version 2, only tasks are delegated", table: tableV2, member: "0::/u/x\n",
			groups: map[string]map[string]string{"": bare, "/u": counting, "/u/x": leaf}, refused: map[string]string{"": "another user's"},
			memory: "!another user's", tasks: "/u"},
		{name: "version 2, all in the root", table: tableV2, member: "0::/\n",
			groups: map[string]map[string]string{"": bare}, memory: "", tasks: ""},
		{name: "version 2, nothing handed on", table: tableV2, member: "0::/a/b\n",
			groups: map[string]map[string]string{"": leaf, "/a": leaf, "/a/b": leaf},
			memory: "!hands the memory controller on", tasks: "!hands the pids controller on"},
		{name: "a container with a namespace of its own", table: tableV2, member: "0::/\n",
			groups: map[string]map[string]string{"": leaf},
			memory: "!hands the memory controller on", tasks: "!hands the pids controller on"},
		{name: "a container that sees a part, read-only", table: tableNested, member: "5:pids:/docker/ab12\n4:memory:/docker/ab12/x\n",
			refused: map[string]string{"/memory/x": "read-only", "/pids": "read-only"},
			memory:  "!/memory/x is read-only", tasks: "!/pids is read-only"},
		{name: "a container that sees a part, writable", table: tableNested, member: "5:pids:/docker/ab12\n4:memory:/docker/ab12/x\n",
			memory: "/memory/x", tasks: "/pids"},
		{name: "outside of what is in sight", table: tableV2, member: "0::/../x\n", memory: "!not in sight", tasks: "!not in sight"},
		{name: "another container's", table: tableNested, member: "5:pids:/docker/ab123\n4:memory:/\n", memory: "!not in sight", tasks: "!not in sight"},
		{name: "nothing mounted", table: "", member: "0::/\n", memory: "!no cgroup hierarchy", tasks: "!no cgroup hierarchy"},
		{name: "no cgroups in the kernel", table: tableV2, member: "", memory: "!the kernel has no memory", tasks: "!the kernel has no pids"},
		{name: "nonsense", table: "a b - c\n - \n", member: ":::\nx\n0:\n", memory: "!no", tasks: "!no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			mounted := filepath.Join(dir, "cgroup")
			h := host{mountinfo: dir + "/mountinfo", member: dir + "/member", writable: func(path string) error {
				if why, ok := tt.refused[strings.TrimPrefix(path, mounted)]; ok {
					return fmt.Errorf("%s is %s", path, why)
				}
				return nil
			}}
			write(t, h.mountinfo, strings.ReplaceAll(tt.table, "%[1]s", mounted))
			write(t, h.member, tt.member)
			for path, files := range tt.groups {
				for name, content := range files {
					write(t, filepath.Join(mounted, path, name), content)
				}
			}
			p := h.place()
			check(t, "memory", p.Memory, p.NoMemory, mounted, tt.memory)
			check(t, "tasks", p.Tasks, p.NoTasks, mounted, tt.tasks)
		})
	}
}

// merged returns files with more of them, given by name and content.
func merged(files map[string]string, more ...string) map[string]string {
	all := maps.Clone(files)
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func check(t *testing.T, what, dir string, err error, mounted, want string) {
	t.Helper()
	reason, refused := strings.CutPrefix(want, "!")
	switch {
	case refused && (err == nil || dir != "" || !strings.Contains(err.Error(), reason)):
		t.Errorf("%s: %q, %v; wanted the reason %q", what, dir, err, reason)
	case !refused && (err != nil || dir != mounted+want):
		t.Errorf("%s: %q, %v; wanted %q", what, dir, err, mounted+want)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestGroupPaths(t *testing.T) {
	for name, c := range map[string]struct{ in, below, part Group }{
		"version 2":   {Group{"/c/vm", "/c/vm"}, Group{"/c/vm/x", "/c/vm/x"}, Group{"", "/c/vm/x"}},
		"version 1":   {Group{"/m/vm", "/p/vm"}, Group{"/m/vm/x", "/p/vm/x"}, Group{"/m/vm", "/p/vm/x"}},
		"memory only": {Group{"/c/vm", ""}, Group{"/c/vm/x", ""}, Group{"/c/vm", ""}},
		"tasks only":  {Group{"", "/p/vm"}, Group{"", "/p/vm/x"}, Group{"", "/p/vm/x"}},
		"none":        {},
	} {
		if got := c.in.Below("x"); got != c.below {
			t.Errorf("%s: below is %+v", name, got)
		}
		if got := c.in.Part("x"); got != c.part {
			t.Errorf("%s: a part is %+v", name, got)
		}
	}
}
