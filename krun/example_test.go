package krun_test

import (
	"log"

	"openshell-vm/krun"
)

// A VM without a network runs one command in a directory tree that it can't change. From
// StartEnter on the process belongs to the VM and ends with it.
func Example() {
	lib, err := krun.Open(krun.Options{})
	if err != nil {
		log.Fatal(err) // it says where libkrun was looked for
	}
	vm, err := lib.NewContext()
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range []func() error{
		func() error { return vm.SetVMConfig(2, 512) },
		func() error { return vm.AddVirtioFS3(krun.RootTag, "/srv/rootfs", 0, true) },
		func() error { return vm.DisableImplicitVsock() },
		func() error {
			return vm.SetExec("/bin/echo", []string{"hello from", "a VM"}, []string{"PATH=/bin:/usr/bin"})
		},
	} {
		if err := step(); err != nil {
			log.Fatal(err) // an *krun.Error: which function, and since which version there is one
		}
	}
	log.Fatal(vm.StartEnter())
}
