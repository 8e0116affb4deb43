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

// The C daemon came with QEMU until 7.2; the Rust one took its place.
const (
	VirtiofsdC    Virtiofsd = "c"
	VirtiofsdRust Virtiofsd = "rust"
)

// DetectVirtiofsd runs the program at path for its version and says which of
// the two it is.
func DetectVirtiofsd(ctx context.Context, path string) (flavor Virtiofsd, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("%s --version: %w", path, err)
	}
	return parseVirtiofsdVersion(string(out))
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
	return []string{
		"--fd=" + strconv.Itoa(fd), "--rlimit-nofile=0",
		"--shared-dir=" + dir, "--cache=" + cache,
		"--sandbox=none", "--modcaps=" + modCaps(caps),
		"--inode-file-handles=never", "--log-level=warn",
	}
}

// modCaps makes either daemon ask for the capabilities of its jail and no others.
func modCaps(caps []string) string {
	changes := jail.ChrootServerCaps
	for _, c := range caps {
		changes += ":+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return changes
}
