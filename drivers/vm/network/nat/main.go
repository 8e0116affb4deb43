package nat

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"

	"gvisor.dev/gvisor/pkg/log"

	"openshell-vm/drivers/vm/network"
)

// memoryLimit is what the process may take before it collects garbage all the time, in
// bytes. Package vm adds as much to the VM's own limit. The most that a guest can make it
// take, in MiB:
//
//	90  buffers of connections: 16 with 2 × 1 MiB, 112 with 2 × 128 KiB, 960 with 2 × 16 KiB
//	16  what is copied between two sockets: 128 × 2 × 32 KiB, 960 × 2 × 4 KiB
//	25  the connections themselves, with the stacks of 2 goroutines each: 23 KiB
//	40  flows of datagrams: 256 × (32 KiB that wait + 2 × 64 KiB under way)
//	16  frames for the guest, and pieces of packets from it
//	10  questions for names: 64 connections and 64 questions, and their answers
//	15  the program itself
const memoryLimit = 224 << 20

// Main is openshell-net: it reads its configuration from the monitor, and serves until
// the monitor or the wire ends.
func Main() error {
	debug.SetMemoryLimit(memoryLimit)
	log.SetTarget(&log.Writer{Next: io.Discard}) // the stack would write what a guest makes it write
	control := os.NewFile(network.ControlFD, "control")
	conn, err := net.FileConn(control)
	if err != nil {
		return fmt.Errorf("it is started by openshell-vmm, not by hand: %w", err)
	}
	control.Close()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, network.MaxLine)
	first, err := next(lines)
	if err != nil {
		return err
	}
	if first.Config == nil {
		return errors.New("the monitor sent no configuration")
	}
	var writing sync.Mutex
	tell := func(m network.ToMonitor) {
		writing.Lock()
		defer writing.Unlock()
		_, _ = conn.Write(network.Line(m)) // if the monitor is gone, this process is about to be
	}
	wire := os.NewFile(network.WireFD, "wire")
	n, err := New(*first.Config, wire, tell)
	if err != nil {
		return err
	}
	wire.Close()
	for m := first; ; { // all that the monitor knows comes before the guest is served
		n.heed(m)
		if m.Resolv != nil {
			break
		}
		if m, err = next(lines); err != nil {
			return err
		}
	}
	if err := n.listen(first.Config.Forwards); err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- n.Run() }()
	go func() { ended <- n.follow(lines) }()
	return <-ended
}

// follow heeds the monitor's messages until it ends.
func (n *NAT) follow(lines *bufio.Scanner) error {
	for {
		m, err := next(lines)
		if err != nil {
			return err
		}
		n.heed(m)
	}
}

func (n *NAT) heed(m network.ToProcess) {
	if m.Resolv != nil {
		n.Use(*m.Resolv)
	}
	n.Restore(m.Given)
}

func next(lines *bufio.Scanner) (m network.ToProcess, err error) {
	if !lines.Scan() {
		if err := lines.Err(); err != nil {
			return m, fmt.Errorf("read the monitor's messages: %w", err)
		}
		return m, io.EOF
	}
	return m, json.Unmarshal(lines.Bytes(), &m)
}

// listen serves the inherited sockets.
func (n *NAT) listen(all []network.Forward) error {
	for i, f := range all {
		file := os.NewFile(uintptr(network.FirstListener+i), f.Listen)
		if err := n.Forward(f, file); err != nil {
			return fmt.Errorf("listen at %s: %w", f.Listen, err)
		}
	}
	return nil
}

// Forward serves a socket that listens for a forwarded port. It closes file.
func (n *NAT) Forward(f network.Forward, file *os.File) error {
	defer file.Close()
	if f.Protocol == "udp" {
		conn, err := net.FilePacketConn(file)
		if err != nil {
			return err
		}
		go n.forwardUDP(conn.(*net.UDPConn), f.Guest)
		return nil
	}
	l, err := net.FileListener(file)
	if err != nil {
		return err
	}
	go n.forwardTCP(l, f.Guest)
	return nil
}
