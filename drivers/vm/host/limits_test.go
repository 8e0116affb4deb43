package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
)

// fakeHost makes a host with these files.
func fakeHost(t *testing.T, files map[string]string) *Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Host{root: root, cpus: 2, uid: 1000}
}

const meminfo = "MemTotal:       25165824 kB\nMemFree:         1048576 kB\nMemAvailable:   16777216 kB\n"

func TestMemory(t *testing.T) {
	v1 := "9:name=systemd:/\n4:memory:/a/b\n0::/\n"
	for name, test := range map[string]struct {
		files  map[string]string
		wanted int64
		got    int64
		err    string
	}{
		"default":      {nil, 0, defaultMemory, ""},
		"rounded up":   {nil, 300<<20 + 1, 301 << 20, ""},
		"all there is": {nil, 16 << 30, 16 << 30, ""},
		"too much":     {nil, 17 << 30, 0, "give the VM memory: 17GiB were asked for, MemAvailable of this host is 16GiB"},
		"nearly none":  {nil, 4, 0, "give the VM memory: 4B were asked for, a guest needs at least 128MiB"},
		"too little":   {nil, 1 << 20, 0, "give the VM memory: 1MiB were asked for, a guest needs at least 128MiB"},
		"v2 limit": {map[string]string{
			"proc/self/cgroup": "0::/user.slice/a.scope\n", "sys/fs/cgroup/user.slice/a.scope/memory.max": "max\n",
			"sys/fs/cgroup/user.slice/memory.max": "1073741824\n",
		}, 2 << 30, 0, "sys/fs/cgroup/user.slice/memory.max) is 1GiB"},
		"v1 limit": {map[string]string{
			"proc/self/cgroup": v1, "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "536870912\n",
		}, 1 << 30, 0, "sys/fs/cgroup/memory/a/memory.limit_in_bytes) is 512MiB"},
		"hybrid limit": {map[string]string{
			"proc/self/cgroup": v1, "sys/fs/cgroup/unified/memory.max": "268435456\n",
		}, 512 << 20, 0, "is 256MiB"},
		"limits that allow it": {map[string]string{
			"proc/self/cgroup": v1, "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "2147483648\n",
		}, 1 << 30, 1 << 30, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"proc/meminfo": meminfo}
			for name, text := range test.files {
				files[name] = text
			}
			got, err := fakeHost(t, files).CheckMemory(test.wanted)
			if test.err == "" {
				if got != test.got || err != nil {
					t.Errorf("%d, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.err) || drivers.HintOf(err) == "" {
				t.Errorf("%v\nwant … %s", err, test.err)
			}
		})
	}
}

func TestCPUs(t *testing.T) {
	h := &Host{cpus: 4}
	for wanted, want := range map[float64]float64{0: defaultCPUs, 1: 1, 2: 2, 4: 4} {
		if got, err := h.CheckCPUs(wanted); got != want || err != nil {
			t.Errorf("%g: %g, %v", wanted, got, err)
		}
	}
	if got, err := (&Host{cpus: 1}).CheckCPUs(0); got != 1 || err != nil {
		t.Errorf("default of a small host: %g, %v", got, err)
	}
	for wanted, text := range map[float64]string{
		5:   "give the VM CPUs: 5 CPUs were asked for, this host has 4",
		4.5: "give the VM CPUs: 4.5 CPUs were asked for, this host has 4",
		0.5: "give the VM CPUs: 0.5 CPUs were asked for, a VM has whole ones",
		2.5: "give the VM CPUs: 2.5 CPUs were asked for, a VM has whole ones",
		-1:  "give the VM CPUs: -1 is no number of CPUs",
	} {
		if _, err := h.CheckCPUs(wanted); err == nil || err.Error() != text || drivers.HintOf(err) == "" {
			t.Errorf("%g: %v", wanted, err)
		}
	}
}

func TestNamesLimit(t *testing.T) {
	for descriptors, want := range map[uint64]uint64{
		0: 0, 1024: 128, 4096: 512, 20_000: 20_000 - namesMargin, 64 << 10: 32 << 10, 512 << 10: 256 << 10,
	} {
		if n := namesLimit(descriptors); n != want {
			t.Errorf("of %d descriptors, %d names; %d are wanted", descriptors, n, want)
		}
	}
}
