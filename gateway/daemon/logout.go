package daemon

import (
	"io/fs"
	"os"

	"openshell-vm/internal/logind"
)

// Advice returns advice for users who leave something running on this host, one line each:
// what ends when the user logs out, and how to keep it. supervisor is what restarts the
// gateway.
func Advice(supervisor string) []string {
	if line := logoutAdvice(logind.Host(), os.Geteuid(), logind.User(), supervisor); line != "" {
		return []string{line}
	}
	return nil
}

// logoutAdvice says what ends with the user's last session, and how to keep it. It is "" if
// nothing ends, or if systemd does not run. root is the host's file system.
func logoutAdvice(root fs.FS, uid int, name, supervisor string) string {
	if !logind.Runs(root) || uid == 0 || logind.Lingers(root, name) {
		return ""
	}
	if supervisor != "systemd" && !logind.KillsProcesses(root, name) {
		return ""
	}
	return "the gateway and its VMs end when you log out, and no token is renewed then: loginctl enable-linger keeps them"
}
