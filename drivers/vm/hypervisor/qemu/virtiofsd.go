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

// Virtiofsd tells the two virtio-fs daemons apart.
type Virtiofsd string

// The C daemon came with QEMU until 7.2; the Rust one took its place. Older ones
// of that announce submounts to the guest only if they are asked to, newer ones
// unless they are asked not to.
const (
	VirtiofsdC       Virtiofsd = "c"
	VirtiofsdRust    Virtiofsd = "rust"
	VirtiofsdRustOld Virtiofsd = "rust-old"
)

// noAnnounce is the option of newer Rust daemons. An announced submount of a
// root, such as what covers a hidden directory, is an error in an overlay.
const noAnnounce = "--no-announce-submounts"

// noGroups is what the C daemon says, whatever it is asked, to an ordinary user
// who is in any group beside the first. In its jail it believes that it left them.
const noGroups = "setgroups() failed"

// DetectVirtiofsd runs the program at path for its version and options, and says
// which it is.
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

// parseVirtiofsdVersion knows "virtiofsd version 7.2.22 (Debian …)" of the C
// daemon and "virtiofsd 1.13.0" of the Rust one.
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

// Device is one virtio-fs device. It has no cache setting: what it is for
// decides, because a wrong one hides renewals from the guest for good.
type Device int

// Root is the sandbox's root, whose files do not change on the host: cache
// auto, since without one a shared mapping fails. Shares must show a publish at
// once: no cache.
const (
	Root Device = iota
	Shares
)

// VirtiofsdArgs is the command line, after the program's name, of a virtiofsd
// that serves dir to one client on the listening socket fd. It stays in the
// foreground. The jail has set the limit on descriptors, and keeps what is
// mounted on dir read-only; caps are the capabilities that it keeps.
func VirtiofsdArgs(flavor Virtiofsd, device Device, dir string, fd int, caps []string) []string {
	if flavor == VirtiofsdC {
		cache := map[Device]string{Root: "auto", Shares: "none"}[device]
		return []string{
			"--fd=" + strconv.Itoa(fd), "-f", "--rlimit-nofile=0",
			"-o", "source=" + dir, "-o", "cache=" + cache,
			"-o", "sandbox=chroot", "-o", "modcaps=" + modCaps(caps),
			"-o", "no_posix_lock,no_flock,no_writeback,no_xattr", "-o", "log_level=warn",
		}
	}
	cache := map[Device]string{Root: "auto", Shares: "never"}[device]
	args := []string{
		"--fd=" + strconv.Itoa(fd), "--rlimit-nofile=0",
		"--shared-dir=" + dir, "--cache=" + cache,
		"--sandbox=none", "--modcaps=" + modCaps(caps),
		"--inode-file-handles=never", "--log-level=warn",
	}
	if flavor == VirtiofsdRust {
		args = append(args, noAnnounce)
	}
	return args
}

// modCaps makes either daemon ask for the capabilities of its jail and no others.
func modCaps(caps []string) string {
	changes := jail.ChrootServerCaps
	for _, c := range caps {
		changes += ":+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return changes
}
