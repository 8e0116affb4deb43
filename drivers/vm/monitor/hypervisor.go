package monitor

import "os"

// hypervisors start the processes of a VM by the hypervisor's name. Such a
// function puts every process into m.group and hands the guest's ends of the
// ports over; it returns as soon as they run, since the boot is watched by
// the control port. What it started when it fails is killed by its caller.
var hypervisors = map[string]func(m *monitor, ports portFiles) error{
	"qemu": startQEMU,
	"krun": startKrun,
}

// portFiles are the hypervisor's ends of the guest's ports: connected sockets
// that a hypervisor process inherits.
type portFiles struct{ stdio, console, control *os.File }

func (p portFiles) close() {
	for _, f := range []*os.File{p.stdio, p.console, p.control} {
		f.Close()
	}
}
