package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
)

// farewell is how long the host has to read how the workload ended: bytes under way at
// power-off may not arrive. A monitor ends the VM as soon as it has read that.
const farewell = time.Second

// takeDown takes the sandbox down in order, and then tells the host how it ended:
//
//  1. send the last frame on the stdio port, after all output
//  2. write the root's changes to the disk, and all others to their devices, and unmount them
//  3. send Exited on the control port: from here on the host may end the VM
//  4. wait for farewell, so that the host can read that and end the VM
func (s *supervisor) takeDown(exit outcome, grace time.Duration) {
	s.host.workload.Exit(exit.code)
	flush(s.host.stdio, killDeadline)
	s.root.leave()
	unmountRoot(exit.where, s.spec.Ephemeral, grace)
	unmountWritable(s.spec)
	s.host.send(guest.Message{Exited: &guest.Exited{Code: exit.code, Reason: exit.reason}})
	flush(s.host.control, farewell)
	time.Sleep(farewell)
}

// defaultGrace bounds the unmounting if the boot spec gives no grace.
const defaultGrace = 10 * time.Second

// unmountRoot writes the changes to the disk and unmounts it. After the Sync all that
// was written is safe. The kernel lets go of the disk only with the sandbox's mount
// namespace, a little after its last process: unmountRoot waits for that, up to grace.
func unmountRoot(where layout, ephemeral bool, grace time.Duration) {
	unix.Sync()
	if grace <= 0 {
		grace = defaultGrace
	}
	err := errors.Join(unix.Unmount(newRoot, 0), unix.Unmount(upperDir, 0))
	if err != nil {
		logf("unmount the root: %v", err)
		return
	}
	if ephemeral {
		return
	}
	dev, err := where.findUpper()
	if err != nil {
		logf("unmount the root: %v", err)
		return
	}
	for deadline := time.Now().Add(grace); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		// This open fails as long as the disk is mounted anywhere.
		fd, err := unix.Open(dev, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
			return
		}
	}
	logf("%s is still in use", filepath.Base(dev))
}

// unmountWritable unmounts the devices that the sandbox may write to. All that was written,
// also by mappings, has reached the host since the Sync of unmountRoot.
func unmountWritable(spec guest.BootSpec) {
	for _, m := range spec.Mounts {
		if !m.Writable {
			continue
		}
		if err := unix.Unmount(filepath.Join(writableAt, m.Name), 0); err != nil {
			logf("unmount %s: %v", m.Name, err)
		}
	}
}

// powerOff ends the VM.
func powerOff(exit outcome) {
	unix.Sync()
	how := unix.LINUX_REBOOT_CMD_POWER_OFF
	if request := exit.where.ExitRequest; request != 0 {
		reportExitCode("/", request, exit.code)
	}
	if exit.where.EndsByRestart {
		how = unix.LINUX_REBOOT_CMD_RESTART
	}
	err := unix.Reboot(how)
	logf("power off: %v", err)
	os.Exit(exit.code) // the kernel panics then, and that ends the hypervisor
}

// reportExitCode tells the file server of the directory root with which code its
// process on the host has to exit. request is guest.Traits.ExitRequest.
func reportExitCode(root string, request uint32, code int) {
	dir, err := os.Open(root)
	if err != nil {
		logf("report the exit code: %v", err)
		return
	}
	defer dir.Close()
	if err := unix.IoctlSetInt(int(dir.Fd()), uint(request), code); err != nil {
		logf("report the exit code: %v", err)
	}
}
