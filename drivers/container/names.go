package container

import (
	"encoding/json"
	"maps"

	"openshell-vm/drivers"
)

// prefix begins the name of every container that is ours.
const prefix = "openshell-"

// startedFile lies in a sandbox's own directory. It holds a time just before the last
// start (RFC 3339).
const startedFile = "container-started"

// Log files are kept as small as the VM's.
const (
	LogSize  = 10 << 20 // bytes per file
	LogFiles = 3
)

func nameOf(id string) string { return prefix + id }

// labelsOf are the user's labels, and those by which a container is found again.
func labelsOf(spec drivers.Spec) (map[string]string, error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{}
	maps.Copy(labels, spec.Labels)
	maps.Copy(labels, map[string]string{ // after the user's, which can't replace them
		drivers.LabelSandboxID: spec.ID,
		drivers.LabelName:      spec.Name,
		drivers.LabelGatewayID: spec.GatewayID,
		drivers.LabelSpec:      string(data),
	})
	return labels, nil
}

// specOf reads the spec back; nil if there is none that can be read.
func specOf(f Found) *drivers.Spec {
	spec := new(drivers.Spec)
	if err := json.Unmarshal([]byte(f.Labels[drivers.LabelSpec]), spec); err != nil || spec.ID == "" {
		return nil
	}
	return spec
}

// Paused is the reason of a container that was paused with its engine's own command.
// It does not run on. Its token is renewed all the same.
const Paused = "frozen: its engine was told to pause it; unpause lets it go on"
