package vm

// What the driver keeps in a sandbox's directory (Spec.Dir), beside the files
// that package monitor names.
const (
	specFile  = "vm.json"    // the drivers.Spec; its presence says that Create has succeeded
	upperFile = "upper.ext4" // the writable layer of the root
	bootDir   = "boot"       // shared with the guest: the boot spec
	rootDir   = "root"       // the root of who gave none: package host makes it
)

// runtimeVMs is the directory below Config.RuntimeDir that has one directory a
// running VM, for its socket.
const runtimeVMs = "vms"
