package kvm

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/procfs"
)

// passingFor is how long a result is remembered that a busy machine may have caused.
const passingFor = 10 * time.Minute

// cache is the file's content.
type cache struct {
	Boot    string           `json:"boot"` // results of another boot are forgotten
	Results map[string]entry `json:"results"`
}

type entry struct {
	Result
	Until time.Time `json:"until,omitzero"`
}

// identity is what a result is valid for.
type identity struct{ boot, key string }

// identify collects all that the answer depends on: the boot, the user with all groups,
// the device node (loading the module again makes a new one), and the hypervisor.
func identify(device, hypervisor string) (identity, error) {
	boot, err := procfs.BootID()
	if err != nil {
		return identity{}, err
	}
	groups, err := os.Getgroups()
	if err != nil {
		return identity{}, err
	}
	slices.Sort(groups)
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return identity{}, fmt.Errorf("stat %s: %w", device, err)
	}
	key := fmt.Sprintf("%s uid=%d gid=%d groups=%v node=%d.%d", hypervisor,
		os.Geteuid(), os.Getegid(), groups, st.Ctim.Sec, st.Ctim.Nsec)
	return identity{boot, key}, nil
}

func recall(file string, id identity, now time.Time) (Result, bool) {
	e, ok := read(file, id.boot).Results[id.key]
	if !ok || !e.Usable && e.Reason == "" || !e.Until.IsZero() && now.After(e.Until) {
		return Result{}, false
	}
	return e.Result, true
}

// maxCache bounds the file, in bytes.
const maxCache = 1 << 20

// read reads the cache. It is empty if the file is missing, spoilt or of another boot.
func read(file, boot string) cache {
	empty := cache{Boot: boot, Results: map[string]entry{}}
	data, err := plainfile.Read(file, maxCache)
	if err != nil {
		return empty
	}
	var c cache
	if err := json.Unmarshal(data, &c); err != nil || c.Boot != boot || c.Results == nil {
		return empty
	}
	return c
}

// remember adds r to the file. If two processes do so at once, one result is lost; the
// next Probe finds it again.
func remember(file string, id identity, r Result, now time.Time) {
	if file == "" {
		return
	}
	c := read(file, id.boot)
	e := entry{Result: r}
	if r.passing {
		e.Until = now.Add(passingFor)
	}
	c.Results[id.key] = e
	_ = atomicfile.WriteJSON(file, c, atomicfile.Volatile) // if it fails, the next Probe runs again
}
