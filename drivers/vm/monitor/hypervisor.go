package monitor

// hypervisors start the processes of a VM by the hypervisor's name. Such a
// function puts every process into m.group and hands the guest's ends of the
// ports over; it returns as soon as they run, since the boot is watched by
// the control port. What it started when it fails is killed by its caller.
var hypervisors = map[string]func(m *monitor, ports portFiles) error{
	"qemu": startQEMU,
	"krun": startKrun,
}
