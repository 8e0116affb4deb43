package request

import (
	"fmt"
	"path"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// checkShares refuses shares that no driver could show, and completes where they are. Whether one
// is in another's way the drivers judge.
func checkShares(q *api.CreateRequest) error {
	invalid := func(hint, format string, args ...any) error {
		return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	if q.At != "" && (!path.IsAbs(q.At) || path.Clean(q.At) == "/") {
		return invalid("give an absolute path in the sandbox: --at /home/agent/.ssh", "the sandbox's own share can't be at %q", q.At)
	}
	if q.At != "" {
		q.At = path.Clean(q.At)
	}
	if len(q.Shares) > api.MaxShares {
		return invalid("put files into fewer ones", "%d shares are more than the %d that a sandbox may see", len(q.Shares), api.MaxShares)
	}
	seen := map[string]bool{}
	for i, s := range q.Shares {
		if err := state.CheckName(s.Name); err != nil {
			return err
		}
		if seen[s.Name] {
			return invalid("show each share once", "the share %s is there twice", s.Name)
		}
		seen[s.Name] = true
		if s.Target == "" {
			s.Target = path.Join(api.SharesDir, s.Name)
		}
		if !path.IsAbs(s.Target) || path.Clean(s.Target) == "/" {
			return invalid("give an absolute path in the sandbox: --share "+s.Name+":/path",
				"the share %s can't be at %q", s.Name, s.Target)
		}
		q.Shares[i].Target = path.Clean(s.Target)
	}
	return nil
}
