package vm

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
)

// Probe says which hypervisor a VM would get, why, and how to get a better one. It also says
// what a jail lacks on this host.
func (d *Driver) Probe(ctx context.Context) drivers.Info {
	info := d.hypervisors.probe(ctx)
	facts, err := d.host.JailFacts()
	if err != nil && info.Problem == "" {
		info.Problem, info.Hint = err.Error(), drivers.HintOf(err)
	}
	info.Details = append(append(info.Details, facts...), limitFact())
	info.Usable = info.Problem == ""
	return info
}

// probe tries all hypervisors and chooses the first that works. For each one
// before that it says why it does not work, and what to do about it.
func (hs hypervisors) probe(ctx context.Context) (info drivers.Info) {
	var refused []refusal
	var chosen string
	var accounts []drivers.Fact
	for _, h := range hs.all {
		if err := h.Works(ctx, hs.host); err != nil {
			if chosen == "" {
				refused = append(refused, refusal{h.Name(), err})
			}
			continue
		}
		account := h.Account(ctx, hs.host)
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

// refusal says why a hypervisor can't be used.
type refusal struct {
	name string
	err  error
}

// choice says which hypervisor is chosen and why. It leaves out hints about KVM: the chosen
// hypervisor, which works without KVM, gives that hint itself.
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
