package sandbox

import "openshell-vm/gateway/api"

// checkMounts refuses mounts that no driver could make.
func checkMounts(all []api.Mount) error {
	for _, m := range all {
		if m.Volume != "" {
			return &api.Error{Code: api.CodeInvalid, Message: "there are no volumes yet", Hint: "mount a directory: --mount DIR:" + m.Target + ":rw"}
		}
	}
	return nil
}
