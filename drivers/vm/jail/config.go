package jail

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/cgroup"
)

// Config says what to run and all that it may have. It travels to the jail in
// an inherited memory file, never in arguments.
type Config struct {
	// Name is the jail's host name, and part of its cgroup's where Cgroup is zero:
	// [a-zA-Z0-9][a-zA-Z0-9._-]*, at most 64 bytes.
	Name    string  `json:"name"`
	Profile Profile `json:"profile"`

	Path string   `json:"path"` // the program, as the jail sees it
	Args []string `json:"args"` // after the program's name
	Env  []string `json:"env"`  // K=V, complete
	Dir  string   `json:"dir"`  // working directory; "" for /

	Binds   []Bind   `json:"binds"`   // in this order; a later one may lie in an earlier one
	Devices []string `json:"devices"` // device nodes, at the same path inside
	Tmpfs   []string `json:"tmpfs"`   // empty writable directories in memory, 64 MiB each
	Masks   []string `json:"masks"`   // existing directories that are covered by an empty read-only one
	Proc    bool     `json:"proc"`    // a read-only /proc of the program itself

	Network bool     `json:"network"` // the caller's network instead of an empty one
	Caps    []string `json:"caps"`    // kept beside the profile's, as "CAP_DAC_READ_SEARCH"

	// NoFile limits descriptors; 0 for as many as the hard limit allows.
	NoFile uint64 `json:"noFile"`
	// Tasks limits processes and threads together, by a cgroup and, for an
	// ordinary user, by RLIMIT_NPROC; 0 for no limit, else at least 16.
	Tasks uint64 `json:"tasks"`

	// Cgroup is entered by the jail. That in which tasks are counted is the jail's
	// own: made before it, in one that exists, and removed after it. The zero Cgroup
	// stands for one beside the caller's that counts tasks, if that can be had.
	Cgroup cgroup.Group `json:"cgroup,omitzero"`

	// Require makes everything that this host can't give an error.
	Require bool `json:"require"`
}

// Bind shows a file or directory of the host in the jail, with all that is
// mounted below it. It is read-only, nosuid, nodev and noexec all the way down
// but for what is asked for.
type Bind struct {
	Source string `json:"source"`
	// Is what the caller has found at Source, and nothing else is taken: somebody may
	// have changed the path since. The zero Directory stands for whatever is there.
	Is       drivers.Directory `json:"is,omitzero"`
	Target   string            `json:"target"`
	Writable bool              `json:"writable,omitempty"`
	Exec     bool              `json:"exec,omitempty"`   // programs and libraries
	Device   bool              `json:"device,omitempty"` // a device node, which works; nothing else of Bind counts
}

// Profile names what a program gets.
type Profile string

const (
	// Strict is for programs that need nothing from the kernel but files,
	// threads and sockets: QEMU and openshell-krun.
	Strict Profile = "strict"
	// FileServer is for the Rust virtiofsd with --sandbox=none and the option
	// modcaps=ChrootServerCaps: it gives up capabilities by a call that needs one.
	FileServer Profile = "file-server"
	// ChrootServer is for the C virtiofsd with -o sandbox=chroot and the same
	// modcaps: it insists on confining itself once more. It has a thread by then,
	// which goes on as it was.
	ChrootServer Profile = "chroot-server"
)

// profile is what a Profile stands for.
type profile struct {
	caps     []string // kept
	noGroups bool     // it insists on setgroups, which must seem to succeed
	serves   bool     // it opens files for a guest, which may ask for writing
	lacks    []string // what a program gets less than Strict, for people
}

var profiles = map[Profile]profile{
	Strict: {},
	FileServer: {
		serves: true,
		caps:   []string{"CAP_SETPCAP"},
		lacks:  []string{"virtiofsd keeps CAP_SETPCAP until it serves"},
	},
	ChrootServer: {
		serves:   true,
		caps:     []string{"CAP_SETPCAP", "CAP_SYS_CHROOT"},
		noGroups: true,
		lacks:    []string{"a thread of virtiofsd keeps CAP_SETPCAP and CAP_SYS_CHROOT, with which it can chroot within its jail"},
	},
}

// ChrootServerCaps is the value of either virtiofsd's option modcaps that makes
// it ask for no capability at all. Without it, it asks for what its jail does
// not have, and ends. Those that Config.Caps keeps are added as
// ":+dac_read_search".
const ChrootServerCaps = "-chown:-dac_override:-fowner:-fsetid:-setgid:-setuid:-mknod:-setfcap"

// minTasks is room for the threads of the process that makes the jail.
const minTasks = 16

// capLacks says what a capability that Config.Caps keeps is good for, for people.
var capLacks = map[string]string{
	"CAP_DAC_READ_SEARCH": "it keeps CAP_DAC_READ_SEARCH, to read the files of all users in its jail",
	"CAP_FOWNER":          "it keeps CAP_FOWNER, to open them as their owner would",
}

// Lacks says what a program of that Config gets more than the strictest one, one
// line each.
func (c Config) Lacks() []string {
	lacks := slices.Clone(c.Profile.Lacks())
	for _, name := range c.Caps {
		lacks = append(lacks, cmp.Or(capLacks[name], "it keeps "+name))
	}
	return lacks
}

// Lacks says what the profile gives up towards Strict, one line each.
func (p Profile) Lacks() []string { return profiles[p].lacks }

// validate finds what the jail would stumble over half-way.
func (c Config) validate() error {
	if _, ok := profiles[c.Profile]; !ok {
		return fmt.Errorf("unknown jail profile %q", c.Profile)
	}
	if !validName(c.Name) {
		return fmt.Errorf("jail name %q is malformed", c.Name)
	}
	if c.Tasks > 0 && c.Tasks < minTasks {
		return fmt.Errorf("a jail of %d tasks is too small to be made", c.Tasks)
	}
	paths := append([]string{c.Path}, c.Tmpfs...)
	paths = append(append(paths, c.Masks...), c.Devices...)
	for _, b := range c.Binds {
		if !filepath.IsAbs(b.Source) {
			return fmt.Errorf("jail source %q is not absolute", b.Source)
		}
		paths = append(paths, b.Target)
	}
	for _, p := range paths {
		if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
			return fmt.Errorf("jail path %q is not a clean absolute path below /", p)
		}
	}
	_, err := c.caps()
	return err
}

func validName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return name != "" && len(name) <= 64 && strings.Trim(name, letters+"._-") == "" && strings.ContainsAny(name[:1], letters)
}

// caps are the capabilities that the program keeps, as a set of bits.
func (c Config) caps() (uint64, error) {
	var set uint64
	for _, name := range append(profiles[c.Profile].caps, c.Caps...) {
		bit, ok := capabilities[name]
		if !ok {
			return 0, fmt.Errorf("unknown capability %q", name)
		}
		set |= 1 << bit
	}
	return set, nil
}
