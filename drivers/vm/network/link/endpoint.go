package link

import (
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// queueSize is how many bytes wait for a guest that does not take them. Frames beyond
// that are dropped, as a network card drops them.
const queueSize = 4 << 20

// readSize is more than a wire holds under way, so that one read takes all of it.
const readSize = 256 << 10

// Endpoint is the end of a wire as a network stack's card. Make it with New; Run reads
// until the wire ends.
type Endpoint struct {
	wire io.ReadWriter
	mtu  uint32
	mac  tcpip.LinkAddress

	// Take sees each packet from the guest before the stack does. If it returns true,
	// it has dealt with the packet, and the stack does not see it. It must not keep
	// packet. Set it before Run.
	Take func(protocol tcpip.NetworkProtocolNumber, packet []byte) bool

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
	onClose    func()

	out   sync.Mutex
	ready sync.Cond // there is something in queue, or the wire is broken
	queue []byte    // whole frames
	err   error     // that ended the writer
	idle  []byte    // the writer's last buffer, to be the next queue

	received, sent atomic.Int64 // by the guest: bytes of frames
}

// Traffic returns how many bytes of frames the guest has received and sent. What waits
// for it counts as received.
func (e *Endpoint) Traffic() (received, sent int64) { return e.received.Load(), e.sent.Load() }

var _ stack.LinkEndpoint = (*Endpoint)(nil)

// New makes an Endpoint with an address of its own on a wire. mtu is at most MaxMTU.
func New(wire io.ReadWriter, mac tcpip.LinkAddress, mtu uint32) *Endpoint {
	e := &Endpoint{wire: wire, mtu: min(mtu, MaxMTU), mac: mac}
	e.ready.L = &e.out
	return e
}

// Run delivers the guest's frames to the stack, and the stack's to the guest, until the
// wire ends. It returns why that did.
func (e *Endpoint) Run() error {
	written := make(chan struct{})
	go func() { defer close(written); e.write() }()
	err := e.read()
	e.stop(err)
	<-written
	return err
}

func (e *Endpoint) read() error {
	s := splitter{max: int(e.mtu) + ethernetSize + 4} // 4 for a VLAN's tag
	buf, have := make([]byte, readSize), 0
	for {
		n, err := e.wire.Read(buf[have:])
		have += n
		done := 0
		for {
			frame, used := s.next(buf[done:have])
			done += used
			if frame == nil {
				break
			}
			e.deliver(frame)
		}
		have = copy(buf, buf[done:have])
		if err != nil {
			return err
		}
	}
}

// deliver gives a frame to the stack, if it is for this card.
func (e *Endpoint) deliver(frame []byte) {
	e.sent.Add(int64(len(frame)))
	eth := header.Ethernet(frame)
	kind := tcpip.PacketHost
	switch to := eth.DestinationAddress(); {
	case to == header.EthernetBroadcastAddress:
		kind = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(to):
		kind = tcpip.PacketMulticast
	case to != e.mac:
		return
	}
	if e.Take != nil && e.Take(eth.Type(), frame[ethernetSize:]) {
		return
	}
	e.mu.RLock()
	d := e.dispatcher
	e.mu.RUnlock()
	if d == nil {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)}) // copies
	defer pkt.DecRef()
	if !e.ParseHeader(pkt) {
		return
	}
	pkt.PktType = kind
	d.DeliverNetworkPacket(eth.Type(), pkt)
}

// WritePackets queues packets for the guest. What does not fit is dropped.
func (e *Endpoint) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	e.out.Lock()
	defer e.out.Unlock()
	if e.err != nil {
		return 0, &tcpip.ErrClosedForSend{}
	}
	for _, pkt := range packets.AsSlice() {
		if size := pkt.Size(); size <= int(e.mtu)+ethernetSize && len(e.queue)+lengthSize+size <= queueSize {
			e.received.Add(int64(size))
			e.queue = binary.BigEndian.AppendUint32(e.queue, uint32(size))
			for _, part := range pkt.AsSlices() {
				e.queue = append(e.queue, part...)
			}
		}
	}
	e.ready.Signal()
	return packets.Len(), nil
}

// Send queues one frame for the guest: an IP packet, from this card to the guest's.
func (e *Endpoint) Send(to tcpip.LinkAddress, protocol tcpip.NetworkProtocolNumber, packet []byte) {
	head := make(header.Ethernet, ethernetSize)
	head.Encode(&header.EthernetFields{SrcAddr: e.mac, DstAddr: to, Type: protocol})
	e.out.Lock()
	defer e.out.Unlock()
	if e.err != nil || len(e.queue)+lengthSize+len(head)+len(packet) > queueSize || len(packet) > int(e.mtu) {
		return
	}
	e.received.Add(int64(len(head) + len(packet)))
	e.queue = binary.BigEndian.AppendUint32(e.queue, uint32(len(head)+len(packet)))
	e.queue = append(append(e.queue, head...), packet...)
	e.ready.Signal()
}

// write writes the queue in pieces of whole frames, each small enough to be atomic.
func (e *Endpoint) write() {
	for {
		all := e.awaitQueue()
		if all == nil {
			return
		}
		for rest := all; len(rest) > 0; {
			n := piece(rest)
			if _, err := e.wire.Write(rest[:n]); err != nil {
				e.stop(err)
				return
			}
			rest = rest[n:]
		}
		e.out.Lock()
		e.idle = all[:0]
		e.out.Unlock()
	}
}

// awaitQueue takes the queue when something is in it; nil once the wire is broken.
func (e *Endpoint) awaitQueue() []byte {
	e.out.Lock()
	defer e.out.Unlock()
	for len(e.queue) == 0 && e.err == nil {
		e.ready.Wait()
	}
	if e.err != nil {
		return nil
	}
	all := e.queue
	e.queue, e.idle = e.idle, nil
	return all
}

// piece returns the size of the longest row of whole frames that one write takes whole.
func piece(frames []byte) int {
	n := 0
	for n < len(frames) {
		next := n + lengthSize + int(binary.BigEndian.Uint32(frames[n:]))
		if next > atomicWrite && n > 0 {
			break
		}
		n = next
	}
	return n
}

func (e *Endpoint) stop(err error) {
	e.out.Lock()
	defer e.out.Unlock()
	if e.err == nil {
		e.err = err
	}
	e.ready.Broadcast()
}

// The rest is what a stack wants to know of a card.

// MTU implements stack.LinkEndpoint.
func (e *Endpoint) MTU() uint32 { return e.mtu }

// SetMTU implements stack.LinkEndpoint: the size is New's.
func (e *Endpoint) SetMTU(uint32) {}

// MaxHeaderLength implements stack.LinkEndpoint.
func (e *Endpoint) MaxHeaderLength() uint16 { return ethernetSize }

// LinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) LinkAddress() tcpip.LinkAddress { return e.mac }

// SetLinkAddress implements stack.LinkEndpoint: the address is New's.
func (e *Endpoint) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.LinkEndpoint. Nothing damages a packet on a socket of this
// host, so its checksum needs no look.
func (e *Endpoint) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload | stack.CapabilityResolutionRequired
}

// Attach implements stack.LinkEndpoint.
func (e *Endpoint) Attach(d stack.NetworkDispatcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dispatcher = d
}

// IsAttached implements stack.LinkEndpoint.
func (e *Endpoint) IsAttached() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.dispatcher != nil
}

// Wait implements stack.LinkEndpoint: Run belongs to its caller.
func (e *Endpoint) Wait() {}

// ARPHardwareType implements stack.LinkEndpoint.
func (e *Endpoint) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// AddHeader implements stack.LinkEndpoint.
func (e *Endpoint) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(ethernetSize)).Encode(&header.EthernetFields{
		SrcAddr: e.mac, DstAddr: pkt.EgressRoute.RemoteLinkAddress, Type: pkt.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.LinkEndpoint.
func (e *Endpoint) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(ethernetSize)
	return ok
}

// Close implements stack.LinkEndpoint.
func (e *Endpoint) Close() {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.onClose != nil {
		e.onClose()
	}
}

// SetOnCloseAction implements stack.LinkEndpoint.
func (e *Endpoint) SetOnCloseAction(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onClose = f
}
