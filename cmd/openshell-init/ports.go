package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/stream"
)

// portDeadline is how long the ports may take to appear after their driver was loaded.
// The hypervisor adds them one by one.
const portDeadline = 10 * time.Second

const portsDir = "/sys/class/virtio-ports"

// host is the monitor at the other end of the two ports.
type host struct {
	control *stream.Conn // messages, and a session for each exec
	stdio   *stream.Conn // the workload's session
	// workload is stdio's only session.
	workload *stream.Session
	// message gets each message on control. It is set before serve, and must not wait.
	message func(session uint32, m guest.Message)
}

// connect waits for the two ports and opens them.
func connect(wait time.Duration) (*host, error) {
	deadline := time.Now().Add(wait)
	files := map[string]*os.File{}
	for _, name := range []string{guest.PortControl, guest.PortStdio} {
		dev, err := awaitPort(portsDir, name, deadline)
		if err != nil {
			return nil, err
		}
		if files[name], err = openPort(dev); err != nil {
			return nil, err
		}
	}
	return newHost(port{files[guest.PortControl]}, port{files[guest.PortStdio]})
}

func newHost(control, stdio io.ReadWriteCloser) (h *host, err error) {
	h = &host{stdio: stream.New(stdio, stream.Options{Process: true, Credit: true})}
	h.control = stream.New(control, stream.Options{
		Process: true, Credit: true, MaxMessage: stream.MaxMessage, Message: h.take,
	})
	h.workload, err = h.stdio.Accept(0)
	return h, err
}

// serve starts to read both ports.
func (h *host) serve() {
	for _, c := range []*stream.Conn{h.control, h.stdio} {
		go func() { logf("the host can't be understood any more: %v", c.Run()) }()
	}
}

func (h *host) take(session uint32, data []byte) error {
	var m guest.Message
	if err := json.Unmarshal(data, &m); err != nil {
		logf("session %d: control message: %v", session, err)
		return nil
	}
	h.message(session, m)
	return nil
}

func (h *host) send(m guest.Message) error { return h.control.Send(0, m) }

// flush waits until the port has taken all that was sent, for a time at most.
func flush(c *stream.Conn, within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := c.Flush(ctx); err != nil {
		logf("the host does not take what it is told: %v", err)
	}
}

// awaitPort finds a port's device by the name that the hypervisor gave it. It polls: a
// new name takes a few milliseconds at most, which is not worth a netlink socket.
func awaitPort(class, name string, deadline time.Time) (dev string, err error) {
	for {
		if dev := findPort(class, name); dev != "" {
			return filepath.Join("/dev", dev), nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("no virtio-console port with the name %q", name)
		}
		time.Sleep(time.Millisecond)
	}
}

func findPort(class, name string) (dev string) {
	files, err := filepath.Glob(filepath.Join(class, "*", "name"))
	if err != nil {
		return ""
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil && strings.TrimSpace(string(data)) == name {
			return filepath.Base(filepath.Dir(file))
		}
	}
	return ""
}

// openPort opens a port in blocking mode. Its driver writes at most 32 KiB at a time and
// supports polling poorly, so one thread for each port is simpler and safe.
func openPort(dev string) (*os.File, error) {
	fd, err := unix.Open(dev, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the port %s: %w", dev, err)
	}
	return os.NewFile(uintptr(fd), dev), nil
}

// port is a port that goes on after an end of file: that only means that the host has
// not connected its end yet, or has closed it.
type port struct{ *os.File }

func (p port) Read(b []byte) (int, error) {
	for {
		n, err := p.File.Read(b)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
