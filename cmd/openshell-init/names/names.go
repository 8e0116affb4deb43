// Package names gives the guest its name, and the files of names in its /etc.
package names

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Set sets the host name, and without a network writes those of /etc/hosts, /etc/hostname
// and /etc/resolv.conf that the rootfs lacks. It runs on the sandbox's thread.
func Set(hostname string, network bool) error {
	if hostname == "" {
		hostname = "localhost"
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set the host name %q: %w", hostname, err)
	}
	if network {
		return nil
	}
	for _, f := range []struct{ name, content string }{
		{"/etc/hosts", hostsFile(hostname)},
		{"/etc/hostname", hostname + "\n"},
		{"/etc/resolv.conf", "# this sandbox has no network\n"},
	} {
		if err := writeMissing(f.name, f.content); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

func hostsFile(hostname string) string {
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	if hostname != "localhost" && hostname != "" {
		hosts += "127.0.1.1\t" + hostname + "\n"
	}
	return hosts
}

// writeMissing writes a file unless the name exists, be it a dangling symlink.
func writeMissing(name, content string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}
