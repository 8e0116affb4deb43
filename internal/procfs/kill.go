package procfs

import "golang.org/x/sys/unix"

// Kill sends SIGKILL to a process if it is still what it should be. still is asked when the process
// is held by a descriptor, so that it can't be taken for another one. Kill does not wait for its end.
func Kill(pid int, still func() bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if still() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}
