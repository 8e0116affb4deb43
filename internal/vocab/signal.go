package vocab

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstRealtime is the number of SIGRTMIN as libc and Docker have it. The kernel's own is less.
const firstRealtime = 34

// Signal returns the number of a signal as users and images name it: SIGQUIT, quit, 3, RTMIN+3.
// ok is false if Linux knows no such signal.
func Signal(name string) (n int, ok bool) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, n > 0 && n <= 64
	}
	name = "SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if plus, realtime := strings.CutPrefix(name, "SIGRTMIN"); realtime {
		n, err := strconv.Atoi("0" + strings.TrimPrefix(plus, "+"))
		return firstRealtime + n, err == nil && firstRealtime+n <= 64
	}
	n = int(unix.SignalNum(name))
	return n, n > 0
}
