package vm

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
)

// fake is a hypervisor that works, or not.
type fake struct {
	hypervisor.Hypervisor
	name    string
	broken  error
	account hypervisor.Account
}

func (f fake) Name() string                                           { return f.name }
func (f fake) Staleness() time.Duration                               { return time.Duration(len(f.name)) * time.Second }
func (f fake) Writes() bool                                           { return f.name != "a" }
func (f fake) Works(context.Context, *host.Host) error                { return f.broken }
func (f fake) Account(context.Context, *host.Host) hypervisor.Account { return f.account }

// TestChoice checks that auto takes the first hypervisor that works, of any number, and that
// doctor says which, why, and what would help.
func TestChoice(t *testing.T) {
	lacks := &drivers.Error{Op: "use a", Err: errors.New("no library"), Hint: "install it"}
	noKVM := host.New(host.Config{Libexec: t.TempDir()}).NeedKVM(t.Context(), "a")
	a := fake{name: "a", account: hypervisor.Account{Why: "a works here", Facts: []drivers.Fact{{Name: "of a", Value: "1"}}}}
	bb := fake{name: "bb", account: hypervisor.Account{Why: "bb works here", Version: "bb 7", Facts: []drivers.Fact{{Name: "of bb", Value: "2"}}}}
	ccc := fake{name: "ccc", broken: errors.New("it is no use"), account: hypervisor.Account{Facts: []drivers.Fact{{Name: "of ccc", Value: "3"}}}}
	not := func(f fake, err error) fake { f.broken = err; return f }
	for name, test := range map[string]struct {
		all     []hypervisor.Hypervisor
		chosen  string
		facts   []string
		problem string
	}{
		"the first": {[]hypervisor.Hypervisor{a, bb, ccc}, "a", []string{"hypervisor: a, since a works here", "of a: 1", "of bb: 2"}, ""},
		"the second": {
			[]hypervisor.Hypervisor{not(a, lacks), bb, ccc}, "bb",
			[]string{"hypervisor: bb, since a can't be used: use a: no library", "to use a: install it", "of bb: 2"}, "",
		},
		"no KVM": {
			[]hypervisor.Hypervisor{not(a, noKVM), bb}, "bb",
			[]string{"hypervisor: bb, since a can't be used: " + errText(noKVM), "of bb: 2"}, "",
		},
		"none": {
			[]hypervisor.Hypervisor{not(a, lacks), ccc}, "",
			[]string{"a: can't be used: use a: no library"}, "it is no use",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "no KVM" && noKVM == nil {
				t.Fatal("KVM works without a program to try it")
			}
			d := New(Config{Hypervisors: test.all, SandboxesDir: t.TempDir()})
			got, err := d.hypervisors.choose(t.Context(), auto, false)
			switch {
			case test.chosen == "" && (err == nil || err.Error() != test.problem):
				t.Errorf("chosen: %v, %v", got, err)
			case test.chosen != "" && (err != nil || got.Name() != test.chosen):
				t.Errorf("chosen: %v, %v", got, err)
			}
			info := d.hypervisors.probe(t.Context())
			var facts []string
			for _, f := range info.Details {
				facts = append(facts, f.Name+": "+f.Value)
			}
			if !reflect.DeepEqual(facts, test.facts) || info.Problem != test.problem {
				t.Errorf("doctor tells %q, problem %q\nwant %q", facts, info.Problem, test.facts)
			}
		})
	}
	d := New(Config{Hypervisors: []hypervisor.Hypervisor{not(a, lacks), bb}})
	if _, err := d.hypervisors.choose(t.Context(), "a", false); err == nil || err.Error() != "use the a hypervisor: use a: no library" || drivers.HintOf(err) != "install it" {
		t.Errorf("asked for: %v (%s)", err, drivers.HintOf(err))
	}
	if _, err := d.hypervisors.choose(t.Context(), "xen", false); err == nil || !strings.HasSuffix(drivers.HintOf(err), "auto, a, bb") {
		t.Errorf("there is none: %v (%s)", err, drivers.HintOf(err))
	}
}

// TestChoiceForWriting checks that auto passes over a hypervisor whose VMs can't write to the
// host's directories, and that such a one is refused if it is asked for.
func TestChoiceForWriting(t *testing.T) {
	a, bb := fake{name: "a"}, fake{name: "bb"}
	d := New(Config{Hypervisors: []hypervisor.Hypervisor{a, bb}})
	if got, err := d.hypervisors.choose(t.Context(), auto, true); err != nil || got.Name() != "bb" {
		t.Errorf("auto: %v, %v", got, err)
	}
	only := New(Config{Hypervisors: []hypervisor.Hypervisor{a}})
	if got, err := only.hypervisors.choose(t.Context(), auto, true); err == nil || drivers.HintOf(err) == "" {
		t.Errorf("with no other: %v, %v", got, err)
	}
	dir := t.TempDir()
	w, err := drivers.NewWritable(dir, "/w", "")
	if err != nil {
		t.Fatal(err)
	}
	auth, err := drivers.NewMount(dir, drivers.AuthDir)
	if err != nil {
		t.Fatal(err)
	}
	spec := drivers.Spec{Auth: auth, Writable: []drivers.Writable{w}}
	err = checkWritable(spec, a)
	if err == nil || !strings.Contains(err.Error(), "a VM of a sees directories read-only") || drivers.HintOf(err) == "" {
		t.Errorf("asked for: %v (%s)", err, drivers.HintOf(err))
	}
	if err := checkWritable(spec, bb); err != nil {
		t.Error(err)
	}
	for range maxWritable {
		spec.Writable = append(spec.Writable, w)
	}
	if err := checkWritable(spec, bb); err == nil || !strings.Contains(err.Error(), "17 directories") || drivers.HintOf(err) == "" {
		t.Errorf("too many: %v (%s)", err, drivers.HintOf(err))
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
