package drivers

import (
	"fmt"
	"slices"

	"openshell-vm/internal/contract"
	"openshell-vm/internal/mounts"
)

// Share is a share of the user's own that a sandbox sees beside its own. Its Mount's source is the
// share's directory, which lies in the gateway's own: nobody but the gateway may name it, and it is
// exempt from Spec.Hidden.
type Share struct {
	Name  string `json:"name"` // unique in a Spec
	Mount Mount  `json:"mount"`
}

// AllShares returns the mounts of all shares that the sandbox sees, its own first.
func (s Spec) AllShares() []Mount {
	all := []Mount{s.Auth}
	for _, share := range s.Shares {
		all = append(all, share.Mount)
	}
	return all
}

// ShareNamed returns the mount of one of Shares by its name, or of Auth for "". ok is false if there
// is none.
func (s Spec) ShareNamed(name string) (m Mount, ok bool) {
	if name == "" {
		return s.Auth, true
	}
	i := slices.IndexFunc(s.Shares, func(share Share) bool { return share.Name == name })
	if i < 0 {
		return m, false
	}
	return s.Shares[i].Mount, true
}

// checkShares refuses targets of shares that can't be, or that would hide something.
func checkShares(spec Spec) error {
	auth := spec.Auth.Target()
	if auth != contract.AuthDir {
		if err := spec.checkShareTarget("the sandbox's own share", auth); err != nil {
			return err
		}
		if spec.VM.TokenUser != "" && !mounts.Within(auth, contract.OwnDir) {
			return &Error{Op: "show the sandbox's own share at " + auth,
				Err:  fmt.Errorf("only in %s it can be kept from other users than %s", contract.OwnDir, spec.VM.TokenUser),
				Hint: "leave out --at or --token-user"}
		}
	}
	for i, s := range spec.Shares {
		target := s.Mount.Target()
		if err := spec.checkShareTarget("the share "+s.Name, target); err != nil {
			return err
		}
		if overlap(target, contract.AuthDir) {
			return shareError("the share "+s.Name, target, "that is the place of the sandbox's own share")
		}
		for _, other := range append([]Share{{"", spec.Auth}}, spec.Shares[:i]...) {
			if overlap(target, other.Mount.Target()) {
				return shareError("the share "+s.Name, target, "another share is at "+other.Mount.Target())
			}
		}
	}
	return nil
}

// checkShareTarget refuses what is no place for a share, whatever else there is.
func (s Spec) checkShareTarget(what, target string) error {
	switch {
	case isFile(target):
		return shareError(what, target, "a sandbox has a file there")
	case s.VM.Inotify && overlap(target, contract.MirrorDir):
		return shareError(what, target, "with --inotify the mirror is at "+contract.MirrorDir)
	case overlap(target, DoorDir):
		return shareError(what, target, "the gateway's socket is at "+DoorDir)
	case mounts.Within(contract.SharesDir, target):
		return shareError(what, target, "it would hide "+contract.SharesDir)
	}
	return nil
}

func shareError(what, target, why string) error {
	return &Error{Op: "show " + what + " at " + target, Err: fmt.Errorf("%s", why), Hint: "show it somewhere else"}
}

// ownFiles are files that every driver puts into a sandbox's root.
var ownFiles = []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}

// isFile reports whether a path is that of such a file, or would lie in one.
func isFile(target string) bool {
	return slices.ContainsFunc(ownFiles, func(file string) bool { return mounts.Within(target, file) })
}

// overlap reports whether one of two paths lies in the other, or is it.
func overlap(a, b string) bool { return mounts.Within(a, b) || mounts.Within(b, a) }
