package daemon

import (
	"io/fs"
	"os"

	"openshell-vm/internal/logind"
)

// Advice is for who leaves something running on this host: one line each, such as
// what ends when the user logs out. supervisor is who restarts the gateway.
func Advice(supervisor string) []string {
	if line := logoutAdvice(logind.Host(), os.Geteuid(), logind.User(), supervisor); line != "" {
		return []string{line}
	}
	return nil
}

// logoutAdvice says what ends with the user's last session, and how to keep it;
// "" if nothing does, or if no systemd runs. root is the host's file system.
func logoutAdvice(root fs.FS, uid int, name, supervisor string) string {
	if !logind.Runs(root) || uid == 0 || logind.Lingers(root, name) {
		return ""
	}
	if supervisor != "systemd" && !logind.KillsProcesses(root, name) {
		return ""
	}
	return "the gateway and its VMs end when you log out, and no token is renewed then: loginctl enable-linger keeps them"
}
