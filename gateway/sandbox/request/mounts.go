package request

import (
	"fmt"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// checkMounts refuses mounts that no driver could make.
func checkMounts(all []api.Mount) error {
	for _, m := range all {
		if m.Volume == "" {
			continue
		}
		if err := state.CheckName(m.Volume); err != nil {
			return err
		}
		if m.Source != "" {
			return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the mount at %s has both a directory and a volume", m.Target),
				Hint: "give one of them"}
		}
	}
	return nil
}
