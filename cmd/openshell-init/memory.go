package main

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// outOfMemory is the reason given for a workload that the guest's kernel killed.
const outOfMemory = "the guest ran out of memory, and its kernel killed the workload"

// memoryPatience is how long the kernel may take to log whom it has killed: it
// kills first.
const memoryPatience = 200 * time.Millisecond

// killedForMemory says whether the kernel killed a process, which has ended by
// SIGKILL, for want of memory. Its log is the only place that tells.
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

// tellsOfKill looks for the line that follows each kill for want of memory. The
// process's own name comes after the number, so it can't pretend.
func tellsOfKill(log []byte, pid int) bool {
	for line := range bytes.Lines(log) {
		why, who, found := bytes.Cut(line, []byte(": Killed process "))
		if found && bytes.HasSuffix(why, []byte("ut of memory")) && bytes.HasPrefix(who, fmt.Appendf(nil, "%d (", pid)) {
			return true
		}
	}
	return false
}

// kernelLog is what the kernel's ring buffer holds.
func kernelLog() ([]byte, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return nil, err
	}
	log := make([]byte, size)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log)
	return log[:max(n, 0)], err
}
