package qemu

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"openshell-vm/drivers/vm/jail"
)

// Virtiofsd is a kind of virtio-fs daemon.
type Virtiofsd string

// The C daemon came with QEMU until 7.2; then the Rust daemon took its place. An old Rust
// daemon announces submounts to the guest only if it is asked to. A newer one announces
// them unless it is asked not to.
const (
	VirtiofsdC       Virtiofsd = "c"
	VirtiofsdRust    Virtiofsd = "rust"
	VirtiofsdRustOld Virtiofsd = "rust-old"
)

// noAnnounce is an option of newer Rust daemons. If a submount of the root is announced,
// such as a mask, it is an error in an overlay.
const noAnnounce = "--no-announce-submounts"

// noGroups is the C daemon's error, whatever its arguments, for an ordinary user with
// supplementary groups. In its jail setgroups seems to succeed.
const noGroups = "setgroups() failed"

// DetectVirtiofsd asks the program at path for its version and options, and returns
// which kind it is.
func DetectVirtiofsd(ctx context.Context, path string) (flavor Virtiofsd, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil && strings.Contains(string(out), noGroups) {
		return VirtiofsdC, "of unknown version", nil
	} else if err != nil {
		return "", "", fmt.Errorf("%s --version: %w", path, err)
	}
	flavor, version, err = parseVirtiofsdVersion(string(out))
	if err != nil || flavor != VirtiofsdRust {
		return flavor, version, err
	}
	help, err := exec.CommandContext(ctx, path, "--help").CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("%s --help: %w", path, err)
	}
	if !strings.Contains(string(help), noAnnounce) {
		flavor = VirtiofsdRustOld
	}
	return flavor, version, nil
}

// parseVirtiofsdVersion reads the C daemon's "virtiofsd version 7.2.22 (Debian …)" and
// the Rust daemon's "virtiofsd 1.13.0".
func parseVirtiofsdVersion(out string) (Virtiofsd, string, error) {
	line, _, _ := strings.Cut(out, "\n")
	fields := strings.Fields(line)
	switch {
	case len(fields) >= 3 && fields[0] == "virtiofsd" && fields[1] == "version":
		return VirtiofsdC, fields[2], nil
	case len(fields) >= 2 && fields[0] == "virtiofsd":
		return VirtiofsdRust, fields[1], nil
	}
	return "", "", fmt.Errorf("it is no virtiofsd: its version line is %q", line)
}

// Device is one virtio-fs device. There is no setting for its cache: a wrong one would
// hide renewals from the guest for good, so the device's purpose decides.
type Device int

// Root is the sandbox's root. Its files do not change on the host, and it has cache
// auto: without a cache, shared mappings fail. Shares must show a publish at once, and
// have no cache. Writable is a directory that the guest may write to. It has cache auto, for
// shared mappings too: a file that is opened shows what the host has written by then, and
// what the guest writes is on the host at once. Extended attributes are kept there.
const (
	Root Device = iota
	Shares
	Writable
)

var (
	cachesC    = map[Device]string{Root: "auto", Shares: "none", Writable: "auto"}
	cachesRust = map[Device]string{Root: "auto", Shares: "never", Writable: "auto"}
)

// VirtiofsdArgs returns the command line, after the program's name, of a virtiofsd that
// serves dir to one client on the listening socket fd. It stays in the foreground. The
// jail sets the limit on descriptors, keeps dir read-only unless it is Writable, and leaves
// the program the capabilities caps. Locks are the guest's own in any case.
func VirtiofsdArgs(flavor Virtiofsd, device Device, dir string, fd int, caps []string) []string {
	if flavor == VirtiofsdC {
		attributes := "no_xattr"
		if device == Writable {
			attributes = "xattr"
		}
		return []string{
			"--fd=" + strconv.Itoa(fd), "-f", "--rlimit-nofile=0",
			"-o", "source=" + dir, "-o", "cache=" + cachesC[device],
			"-o", "sandbox=chroot", "-o", "modcaps=" + modCaps(caps),
			"-o", "no_posix_lock,no_flock,no_writeback," + attributes, "-o", "log_level=warn",
		}
	}
	args := []string{
		"--fd=" + strconv.Itoa(fd), "--rlimit-nofile=0",
		"--shared-dir=" + dir, "--cache=" + cachesRust[device],
		"--sandbox=none", "--modcaps=" + modCaps(caps),
		"--inode-file-handles=never", "--log-level=warn",
	}
	if flavor == VirtiofsdRust {
		args = append(args, noAnnounce)
	}
	if device == Writable {
		args = append(args, "--xattr")
	}
	if device == Writable && flavor == VirtiofsdRust {
		args = append(args, "--killpriv-v2") // else the guest asks for an attribute before each write
	}
	return args
}

// modCaps returns the option that makes either daemon ask only for the capabilities that
// its jail has.
func modCaps(caps []string) string {
	changes := jail.ChrootServerCaps
	for _, c := range caps {
		changes += ":+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return changes
}
