package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// setNames sets the host name, brings lo up, and without a network writes those of
// /etc/hosts, /etc/hostname and /etc/resolv.conf that the rootfs lacks. It runs on the
// sandbox's thread.
func setNames(hostname string, network bool) error {
	if hostname == "" {
		hostname = "localhost"
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set the host name %q: %w", hostname, err)
	}
	if network {
		return raiseLoopback()
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
	return raiseLoopback()
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

// raiseLoopback brings lo up. A kernel without a network has no lo; that is not an
// error.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return nil
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
