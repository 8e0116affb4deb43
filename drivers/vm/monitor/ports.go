package monitor

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/internal/rotlog"
)

// ports are our ends of the guest's ports.
type ports struct{ stdio, console, control *net.UnixConn }

// make connects the ports and returns the hypervisor's ends.
func (p *ports) make() (theirs hypervisor.Ports, err error) {
	for _, c := range []struct {
		name string
		ours **net.UnixConn
		file **os.File
	}{
		{guest.PortStdio, &p.stdio, &theirs.Stdio},
		{guest.PortConsole, &p.console, &theirs.Console},
		{guest.PortControl, &p.control, &theirs.Control},
	} {
		if *c.ours, *c.file, err = port(c.name); err != nil {
			return theirs, err
		}
	}
	return theirs, nil
}

func (p *ports) close() {
	for _, c := range []*net.UnixConn{p.stdio, p.console, p.control} {
		c.Close()
	}
}

// port makes one guest port. It returns our end and the hypervisor's.
func port(name string) (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make the port %s: %w", name, err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// copyTo copies r into the log until r ends. Output that the log can't take is lost: a
// full disk must not block the other end.
func copyTo(log *rotlog.Log, r io.Reader) {
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			log.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}
