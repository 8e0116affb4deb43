package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/monitor"
)

// hypervisors are those that may be used on a host, in the order in which auto tries them.
type hypervisors struct {
	all  []hypervisor.Hypervisor
	host *host.Host
}

// auto stands for the first hypervisor that works.
const auto = "auto"

// named returns the hypervisor of that name; nil if there is none.
func (hs hypervisors) named(name string) hypervisor.Hypervisor {
	for _, h := range hs.all {
		if h.Name() == name {
			return h
		}
	}
	return nil
}

// choose returns the first hypervisor that works; if the VM writes to the host, the
// first one for that. If the user wants a certain one, it returns that, or an error if that
// does not work.
func (hs hypervisors) choose(ctx context.Context, wanted string, writes bool) (chosen hypervisor.Hypervisor, err error) {
	if wanted == "" || wanted == auto {
		for _, h := range hs.all {
			if writes && !h.Writes() {
				continue
			}
			if err = h.Works(ctx, hs.host); err == nil {
				return h, nil
			}
		}
		if err == nil {
			err = &drivers.Error{Op: "choose a hypervisor", Err: errors.New("none here lets a VM write to directories of the host"),
				Hint: "mount them read-only, or use --driver podman or docker"}
		}
		return nil, err
	}
	h := hs.named(wanted)
	if h == nil {
		names := []string{auto}
		for _, h := range hs.all {
			names = append(names, h.Name())
		}
		return nil, &drivers.Error{
			Op: "choose a hypervisor", Err: fmt.Errorf("there is none called %q", wanted), Hint: "use one of " + strings.Join(names, ", "),
		}
	}
	if err := h.Works(ctx, hs.host); err != nil {
		return nil, &drivers.Error{Op: "use the " + wanted + " hypervisor", Err: err,
			Hint: cmp.Or(drivers.HintOf(err), "use --hypervisor "+auto)}
	}
	return h, nil
}

// find finds the Tools of a hypervisor on this host.
func (hs hypervisors) find(ctx context.Context, name string) (hypervisor.Tools, error) {
	h := hs.named(name)
	if h == nil {
		return nil, fmt.Errorf("this version knows no hypervisor %q", name)
	}
	return h.Find(ctx, hs.host)
}

// read returns the Tools of the last start of the sandbox in dir.
func (hs hypervisors) read(dir string) (hypervisor.Tools, error) {
	cfg, err := monitor.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	h := hs.named(cfg.Hypervisor)
	if h == nil {
		return nil, fmt.Errorf("there is no hypervisor %q", cfg.Hypervisor)
	}
	return h.Read(cfg.Tools)
}
