package jail

import (
	"errors"
	"fmt"
	"os"
)

// userNamespace identifies the user namespace of this process.
func userNamespace() (string, error) { return os.Readlink("/proc/self/ns/user") }

// reportNamespaces reports which namespaces the jail has. That this is process 1 proves
// that clone made all of them; only the user namespace may be missing.
func reportNamespaces(s setup, r *Report) error {
	if os.Getpid() != 1 {
		return errors.New("a jail must be the first process of its own process namespace")
	}
	r.Namespaces = []string{"mount", "pid", "ipc", "uts"}
	if !s.Config.Network {
		r.Namespaces = append(r.Namespaces, "net")
	}
	own, err := userNamespace()
	if err != nil {
		return fmt.Errorf("identify the user namespace: %w", err)
	}
	if own != s.ParentUserNS {
		r.Namespaces = append(r.Namespaces, "user")
		return nil
	}
	r.miss("user namespace", errors.New("the kernel refuses to make one, so capabilities that are kept are the host's"))
	return nil
}
