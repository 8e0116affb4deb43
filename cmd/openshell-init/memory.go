package main

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// outOfMemory is the reason for a workload that the guest's kernel killed for want of
// memory.
const outOfMemory = "the guest ran out of memory, and its kernel killed the workload"

// memoryPatience is how long the kernel may take to log a kill: it kills first, and logs
// then.
const memoryPatience = 200 * time.Millisecond

// killedForMemory reports whether a process that ended by SIGKILL was killed by the
// kernel for want of memory. Only the kernel's log tells.
func killedForMemory(pid int) bool {
	for deadline := time.Now().Add(memoryPatience); ; time.Sleep(10 * time.Millisecond) {
		log, err := kernelLog()
		switch {
		case err != nil:
			logf("read the kernel's log: %v", err)
			return false
		case tellsOfKill(log, pid):
			return true
		case time.Now().After(deadline):
			return false
		}
	}
}

// tellsOfKill looks for the line that the kernel logs after each kill for want of
// memory. In it the pid comes before the process's name, so no name can fake it.
func tellsOfKill(log []byte, pid int) bool {
	for line := range bytes.Lines(log) {
		why, who, found := bytes.Cut(line, []byte(": Killed process "))
		if found && bytes.HasSuffix(why, []byte("ut of memory")) && bytes.HasPrefix(who, fmt.Appendf(nil, "%d (", pid)) {
			return true
		}
	}
	return false
}

// kernelLog returns the content of the kernel's ring buffer.
func kernelLog() ([]byte, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return nil, err
	}
	log := make([]byte, size)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log)
	return log[:max(n, 0)], err
}
