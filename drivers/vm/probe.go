package vm

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
)

// Probe says which hypervisor a VM would get, why, and how to get a better one;
// and what of the jail this host can't give.
func (d *Driver) Probe(ctx context.Context) drivers.Info {
	info := d.probeHypervisors(ctx)
	facts, err := d.host.JailFacts()
	if err != nil && info.Problem == "" {
		info.Problem, info.Hint = err.Error(), drivers.HintOf(err)
	}
	info.Details = append(append(info.Details, facts...), limitFact())
	info.Usable = info.Problem == ""
	return info
}

// probeHypervisors tries all of them. The first that works is taken; those that are
// tried before it are told of, with what to do to have them.
func (d *Driver) probeHypervisors(ctx context.Context) (info drivers.Info) {
	var refused []refusal
	var chosen string
	var accounts []drivers.Fact
	for _, h := range d.cfg.Hypervisors {
		if err := h.Works(ctx, d.host); err != nil {
			if chosen == "" {
				refused = append(refused, refusal{h.Name(), err})
			}
			continue
		}
		account := h.Account(ctx, d.host)
		if chosen == "" {
			chosen = h.Name()
			info.Details = choice(chosen, account.Why, refused)
		}
		info.Version = cmp.Or(account.Version, info.Version)
		accounts = append(accounts, account.Facts...)
	}
	if chosen == "" && len(refused) > 0 {
		last := len(refused) - 1
		info.Problem, info.Hint = refused[last].err.Error(), drivers.HintOf(refused[last].err)
		for _, r := range refused[:last] {
			info.Details = append(info.Details, drivers.Fact{Name: r.name, Value: "can't be used: " + r.err.Error()})
		}
	}
	info.Details = append(info.Details, accounts...)
	return info
}

// refusal is why a hypervisor can't be used.
type refusal struct {
	name string
	err  error
}

// choice tells which hypervisor is taken and why. Who has no KVM is told so for all
// hypervisors at once, by the one that can do without.
func choice(name, why string, refused []refusal) []drivers.Fact {
	var facts []drivers.Fact
	var reasons []string
	for _, r := range refused {
		reasons = append(reasons, r.name+" can't be used: "+r.err.Error())
		if hint := drivers.HintOf(r.err); hint != "" && !errors.Is(r.err, host.ErrNoKVM) {
			facts = append(facts, drivers.Fact{Name: "to use " + r.name, Value: hint})
		}
	}
	if len(reasons) > 0 {
		why = strings.Join(reasons, "; ")
	}
	return append([]drivers.Fact{{Name: "hypervisor", Value: name + ", since " + why}}, facts...)
}
