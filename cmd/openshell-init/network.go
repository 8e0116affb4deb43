package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
)

// connectNetwork sets up the guest's card as the host wants it. lo is up before it. Without
// IPv6 in its kernel the guest has IPv4 alone.
func connectNetwork(spec *guest.Network) error {
	if spec == nil {
		return nil
	}
	link, err := card(spec.MAC)
	if err != nil {
		return err
	}
	kernel, err := openNetlink()
	if err != nil {
		return err
	}
	defer kernel.close()
	if err := kernel.raise(link.Index, spec.MTU); err != nil {
		return fmt.Errorf("bring %s up with an MTU of %d: %w", link.Name, spec.MTU, err)
	}
	for _, text := range spec.Addresses {
		prefix, err := netip.ParsePrefix(text)
		if err == nil {
			err = kernel.address(link.Index, prefix)
		}
		if err != nil && !lacksIPv6(prefix.Addr(), err) {
			return fmt.Errorf("give %s the address %s: %w", link.Name, text, err)
		}
	}
	for _, text := range spec.Gateways {
		addr, err := netip.ParseAddr(text)
		if err == nil {
			err = kernel.gateway(link.Index, addr)
		}
		if err != nil && !lacksIPv6(addr, err) {
			return fmt.Errorf("make %s the gateway: %w", text, err)
		}
	}
	return nil
}

// lacksIPv6 reports whether err says that the kernel was built, or told, to have no IPv6.
func lacksIPv6(addr netip.Addr, err error) bool {
	return addr.Is6() && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EACCES) ||
		errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENETUNREACH))
}

// namesDir holds the files that are mounted over the rootfs's own, so that these stay as
// they are.
const namesDir = runDir + "/names"

// nameFiles are the files about names that a guest with a network gets, by their place in
// the sandbox.
func nameFiles(spec guest.BootSpec) map[string]string {
	return map[string]string{
		"/etc/hosts":       hostsFile(spec.Hostname) + spec.Network.Hosts,
		"/etc/hostname":    spec.Hostname + "\n",
		"/etc/resolv.conf": spec.Network.Resolv,
	}
}

// writeNames writes these files in the init's own namespace, and returns a mount of each.
func writeNames(spec guest.BootSpec) (files map[string]int, err error) {
	files = map[string]int{}
	if spec.Network == nil {
		return files, nil
	}
	if err := os.MkdirAll(namesDir, 0o755); err != nil {
		return files, err
	}
	for target, content := range nameFiles(spec) {
		name := filepath.Join(namesDir, filepath.Base(target))
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return files, err
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return files, fmt.Errorf("take %s for the sandbox: %w", target, err)
		}
		files[target] = fd
	}
	return files, nil
}

// mountNames mounts the files in the sandbox. As docker does it makes a file that is
// missing, and follows a link, whose target it makes.
func mountNames(files map[string]int) error {
	for target, fd := range files {
		if err := makeFile(target); err != nil {
			return fmt.Errorf("make %s: %w", target, err)
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	return nil
}

// mostLinks is how many links makeFile follows, as the kernel does.
const mostLinks = 40

// makeFile makes an empty file where name, or a link there, leads, unless there is one.
func makeFile(name string) error {
	for range mostLinks {
		to, err := os.Readlink(name)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(name), to)
		}
		name = to
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
