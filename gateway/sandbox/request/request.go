// Package request judges what is asked of a new sandbox, before anything is made: what no
// driver could do, what would expose the gateway's own directories, and what a root surely
// does not have. It changes nothing but the request's defaults.
package request

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audience"
	"openshell-vm/gateway/sources"
	"openshell-vm/gateway/state"
	"openshell-vm/tokens"
)

// Auto leaves a choice to the gateway or the driver.
const Auto = "auto"

// Check refuses what no driver could do, and fills in defaults.
func Check(q *api.CreateRequest) error {
	if q.Name != "" {
		if err := state.CheckName(q.Name); err != nil {
			return err
		}
	}
	if q.TTL == 0 {
		q.TTL = tokens.DefaultTTL
	}
	q.Hypervisor = cmp.Or(q.Hypervisor, Auto)
	if !slices.Contains(api.Hypervisors, q.Hypervisor) {
		return &api.Error{Code: api.CodeInvalid,
			Message: fmt.Sprintf("there is no hypervisor %q", q.Hypervisor),
			Hint:    "use one of " + strings.Join(api.Hypervisors, ", ")}
	}
	if q.Rootfs != "" && q.Image != "" {
		return &api.Error{Code: api.CodeInvalid, Message: "both a rootfs and an image are given", Hint: "use one of --rootfs and --image"}
	}
	for _, variable := range q.Process.Env {
		if name, _, ok := strings.Cut(variable, "="); !ok || name == "" || strings.ContainsRune(variable, 0) {
			return &api.Error{Code: api.CodeInvalid,
				Message: fmt.Sprintf("the environment entry %q is malformed", variable),
				Hint:    "use --env NAME=VALUE"}
		}
	}
	if err := CheckDir(q.Process.Dir); err != nil {
		return err
	}
	if err := checkLabels(q.Labels); err != nil {
		return err
	}
	if err := CheckRestart(q); err != nil {
		return err
	}
	if err := checkMounts(q.Mounts); err != nil {
		return err
	}
	if err := checkShares(q); err != nil {
		return err
	}
	if err := checkPorts(q); err != nil {
		return err
	}
	if err := checkOnRenew(q.OnRenew); err != nil {
		return err
	}
	var err error
	if q.Tokens, err = audience.Complete(q.Tokens); err != nil {
		return err
	}
	if q.Sources, err = sources.Complete(q.Sources, audience.Names(q.Tokens)); err != nil {
		return err
	}
	if q.CPUs < 0 || q.Memory < 0 || q.Disk < 0 {
		return &api.Error{Code: api.CodeInvalid, Message: "CPUs, memory and disk can't be negative",
			Hint: "leave them out for the defaults"}
	}
	return nil
}

// CheckDir refuses a relative working directory: its meaning would depend on the engine.
func CheckDir(dir string) error {
	if dir == "" || path.IsAbs(dir) {
		return nil
	}
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the working directory %q is no absolute path", dir),
		Hint: "give the whole path inside the sandbox: --workdir /" + dir}
}
