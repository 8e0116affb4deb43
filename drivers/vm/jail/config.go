package jail

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"openshell-vm/drivers/vm/cgroup"
	"openshell-vm/internal/inode"
)

// Config says what program to run, and all that it may have. It travels to the jail in
// an inherited memory file, never in arguments.
type Config struct {
	// Name is the jail's host name. If Cgroup is zero it is also part of the cgroup's
	// name. It has the form [a-zA-Z0-9][a-zA-Z0-9._-]*, and at most 64 bytes.
	Name    string  `json:"name"`
	Profile Profile `json:"profile"`

	Path string   `json:"path"` // the program, as the jail sees it
	Args []string `json:"args"` // after the program's name
	Env  []string `json:"env"`  // K=V; all of the environment
	Dir  string   `json:"dir"`  // working directory; "" for /

	Binds   []Bind   `json:"binds"`   // mounted in this order; a later one may lie in an earlier one
	Devices []string `json:"devices"` // device nodes, at the same path inside
	Tmpfs   []string `json:"tmpfs"`   // empty writable directories in memory, 64 MiB each
	Masks   []string `json:"masks"`   // directories to cover with an empty read-only one
	Proc    bool     `json:"proc"`    // a small read-only /proc of the program itself

	Network bool     `json:"network"` // the caller's network instead of an empty one
	Caps    []string `json:"caps"`    // to keep beside the profile's, such as "CAP_DAC_READ_SEARCH"

	// NoFile limits descriptors; 0 means the hard limit.
	NoFile uint64 `json:"noFile"`
	// Tasks limits processes and threads together: by a cgroup, and for an ordinary user
	// by RLIMIT_NPROC, too. It is 0 for no limit, else at least 16.
	Tasks uint64 `json:"tasks"`

	// Cgroup is what the jail joins. The part of it that limits tasks is the jail's own:
	// it is made before the jail, in a directory that exists, and removed after it. If
	// Cgroup is zero, the jail gets one beside the caller's that limits tasks, where the
	// host has one to give.
	Cgroup cgroup.Group `json:"cgroup,omitzero"`

	// Require makes it an error if this host can't give something. The zero value lists
	// it in Report.Missing.
	Require bool `json:"require"`
}

// Bind shows a file or directory of the host in the jail, with all mounts below it. All
// of them are read-only, nosuid, nodev and noexec, except for what the fields allow.
type Bind struct {
	Source string `json:"source"`
	// Is identifies the directory that the caller has checked at Source. If another one is
	// there by now, the jail fails. The zero ID takes whatever is there.
	Is       inode.ID `json:"is,omitzero"`
	Target   string   `json:"target"`
	Writable bool     `json:"writable,omitempty"`
	Exec     bool     `json:"exec,omitempty"`   // programs and libraries
	Device   bool     `json:"device,omitempty"` // a device node that can be used; only Source and Target count then
}

// Profile names what kind of program runs in the jail, and so what it needs.
type Profile string

const (
	// Strict is for programs that need nothing from the kernel but files,
	// threads and sockets: QEMU and openshell-krun.
	Strict Profile = "strict"
	// FileServer is for the Rust virtiofsd with --sandbox=none and the option
	// modcaps=ChrootServerCaps. It needs CAP_SETPCAP to give up its capabilities.
	FileServer Profile = "file-server"
	// ChrootServer is for the C virtiofsd with -o sandbox=chroot and the same modcaps. It
	// insists on confining itself once more, and needs capabilities for that. A thread
	// that it has started by then keeps them.
	ChrootServer Profile = "chroot-server"
	// WritingServer is FileServer for a directory that the guest may write to.
	WritingServer Profile = "writing-server"
	// WritingChrootServer is ChrootServer for a directory that the guest may write to.
	WritingChrootServer Profile = "writing-chroot-server"
	// Network is for openshell-net, a static Go program. It has IP sockets, questions
	// about routes, and what the Go runtime needs. It opens no file.
	Network Profile = "network"
	// Unpacker is for openshell-image, a static Go program: it writes what the programs
	// outside of the jail read by its name, so it makes files and directories there, and
	// nothing else.
	Unpacker Profile = "unpacker"
)

// profile is what a Profile stands for.
type profile struct {
	caps     []string // that it keeps
	noGroups bool     // it insists on setgroups, which has to seem to succeed
	serves   bool     // it opens files for a guest, who may not write to them
	writes   bool     // it makes and changes files for a guest
	plain    bool     // what it makes are files and directories: no links, nothing special
	sockets  bool     // it has only the calls in networkCalls
	onlyIP   bool     // it makes no sockets but IP ones
	lacks    []string // for people: in what it is less confined than Strict
}

var profiles = map[Profile]profile{
	Strict: {},
	Network: {sockets: true, lacks: []string{
		"it has the network of the host, and the services on its loopback: that is its task",
	}},
	Unpacker:            {writes: true, plain: true, onlyIP: true},
	FileServer:          fileServer(profile{serves: true}),
	ChrootServer:        chrootServer(profile{serves: true}),
	WritingServer:       fileServer(profile{writes: true}),
	WritingChrootServer: chrootServer(profile{writes: true}),
}

func fileServer(p profile) profile {
	p.caps = []string{"CAP_SETPCAP"}
	p.lacks = []string{"virtiofsd keeps CAP_SETPCAP until it serves"}
	return p
}

func chrootServer(p profile) profile {
	p.caps, p.noGroups = []string{"CAP_SETPCAP", "CAP_SYS_CHROOT"}, true
	p.lacks = []string{"a thread of virtiofsd keeps CAP_SETPCAP and CAP_SYS_CHROOT, with which it can chroot within its jail"}
	return p
}

// ChrootServerCaps is the value of option modcaps with which both virtiofsds ask for no
// capability at all. Without it they ask for some that their jail does not have, and
// end. The caller appends those in Config.Caps, as ":+dac_read_search".
const ChrootServerCaps = "-chown:-dac_override:-fowner:-fsetid:-setgid:-setuid:-mknod:-setfcap"

// minTasks is enough for the threads of the process that makes the jail.
const minTasks = 16

// capLacks tells people what a capability in Config.Caps is good for.
var capLacks = map[string]string{
	"CAP_DAC_READ_SEARCH": "it keeps CAP_DAC_READ_SEARCH, to read the files of all users in its jail",
	"CAP_FOWNER":          "it keeps CAP_FOWNER, to open them as their owner would",
	"CAP_DAC_OVERRIDE":    "it keeps CAP_DAC_OVERRIDE, to write files for the guest's root whatever their modes",
	"CAP_CHOWN":           "it keeps CAP_CHOWN, to give files to the guest's users",
	"CAP_SETUID":          "it keeps CAP_SETUID, to make files as the guest's users",
	"CAP_SETGID":          "it keeps CAP_SETGID, to make files as the guest's groups",
}

// Lacks says what a program with this Config keeps that Strict alone would take away,
// one line each.
func (c Config) Lacks() []string {
	lacks := slices.Clone(c.Profile.Lacks())
	for _, name := range c.Caps {
		lacks = append(lacks, cmp.Or(capLacks[name], "it keeps "+name))
	}
	return lacks
}

// Lacks says in what the profile confines less than Strict, one line each.
func (p Profile) Lacks() []string { return profiles[p].lacks }

// validate finds mistakes in c before a jail is started.
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

// caps returns the capabilities that the program keeps, as a set of bits.
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
