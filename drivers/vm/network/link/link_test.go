package link

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	guestMAC = tcpip.LinkAddress("\x52\x54\x00\x01\x02\x03")
	ourMAC   = tcpip.LinkAddress("\x52\x55\x00\x00\x00\x01")
)

// ipv4 makes a frame from the guest to us, with an IPv4 packet of this size. Its content is
// numbered.
func ipv4(number uint32, size int) []byte {
	frame := make([]byte, ethernetSize+size)
	header.Ethernet(frame).Encode(&header.EthernetFields{SrcAddr: guestMAC, DstAddr: ourMAC, Type: typeIPv4})
	ip := header.IPv4(frame[ethernetSize:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(size), TTL: 64, Protocol: 17, SrcAddr: tcpip.AddrFrom4([4]byte{10, 0, 0, 2}), DstAddr: tcpip.AddrFrom4([4]byte{10, 0, 0, 1})})
	ip.SetChecksum(^ip.CalculateChecksum())
	rest := ip.Payload()
	for i := range rest {
		rest[i] = byte(number) + byte(i)
	}
	binary.BigEndian.PutUint32(rest, number)
	return frame
}

func wire(frame []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

// TestSplitter feeds a stream of frames in pieces, from any byte on. All frames but the
// first one, which may be torn, have to be found.
func TestSplitter(t *testing.T) {
	var all []byte
	var frames [][]byte
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		frame := ipv4(uint32(i), 64+random.IntN(4000))
		if i%7 == 3 { // an IPv6 one
			header.Ethernet(frame).Encode(&header.EthernetFields{SrcAddr: guestMAC, DstAddr: ourMAC, Type: typeIPv6})
			frame[14], frame[18], frame[19] = 0x60, 0, 24
		}
		frames = append(frames, frame)
		all = append(all, wire(frame)...)
	}
	first := lengthSize + len(frames[0])
	for begin := range first {
		s := splitter{max: 20000}
		var buf []byte
		var found [][]byte
		for rest := all[begin:]; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(3000))
			buf, rest = append(buf, rest[:n]...), rest[n:]
			done := 0
			for {
				frame, used := s.next(buf[done:])
				done += used
				if frame == nil {
					break
				}
				found = append(found, bytes.Clone(frame))
			}
			buf = buf[done:]
		}
		want := frames[1:]
		if begin == 0 {
			want = frames
		}
		if len(found) != len(want) {
			t.Fatalf("from byte %d on, %d frames of %d are found", begin, len(found), len(want))
		}
		for i := range want {
			if !bytes.Equal(found[i], want[i]) {
				t.Fatalf("from byte %d on, frame %d is another", begin, i)
			}
		}
	}
}

// TestSplitterSurvivesGarbage: nothing makes it read out of bounds or stop for good.
func TestSplitterSurvivesGarbage(t *testing.T) {
	good := wire(ipv4(7, 500))
	random := rand.NewChaCha8([32]byte{1})
	for range 300 {
		garbage := make([]byte, 3000)
		random.Read(garbage)
		s := splitter{max: 20000}
		buf := append(garbage, bytes.Repeat(good, 60)...)
		found := 0
		for {
			frame, used := s.next(buf)
			buf = buf[used:]
			if frame == nil {
				break
			}
			if bytes.Equal(frame, good[lengthSize:]) {
				found++
			}
		}
		if found < 20 {
			t.Fatalf("after garbage %d frames of 60 are found", found)
		}
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add(wire(ipv4(1, 100)), 3)
	f.Add([]byte{0, 0, 0, 34, 1, 2, 3}, 0)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		s := splitter{max: 2000}
		for len(data) > 0 {
			frame, used := s.next(data)
			if used > len(data) || len(frame) > 2000 {
				t.Fatalf("%d of %d bytes used, a frame of %d", used, len(data), len(frame))
			}
			data = data[used:]
			if frame == nil {
				return
			}
		}
	})
}

// TestPieces: what is written at once is whole frames, and what the kernel takes whole.
func TestPieces(t *testing.T) {
	var all []byte
	for i := range 100 {
		all = append(all, wire(ipv4(uint32(i), 100+i*200))...)
	}
	for len(all) > 0 {
		n := piece(all)
		if n <= 0 || n > atomicWrite {
			t.Fatalf("a piece of %d bytes", n)
		}
		s := splitter{max: atomicWrite, synced: true}
		for rest := all[:n]; len(rest) > 0; {
			frame, used := s.next(rest)
			if frame == nil {
				t.Fatal("a piece ends within a frame")
			}
			rest = rest[used:]
		}
		all = all[n:]
	}
	if n := piece(wire(make([]byte, MaxMTU+ethernetSize))); n != atomicWrite {
		t.Errorf("the largest frame takes %d bytes, and not %d", n, atomicWrite)
	}
}

// killedEnv makes the test binary a process that floods a wire until it is killed.
const killedEnv = "OPENSHELL_TEST_FLOOD"

func TestMain(m *testing.M) {
	if os.Getenv(killedEnv) != "" {
		flood()
	}
	os.Exit(m.Run())
}

// flood writes frames of all sizes to descriptor 3, without an end.
func flood() {
	conn, err := net.FileConn(os.NewFile(3, "wire"))
	if err != nil {
		panic(err)
	}
	e := New(conn, ourMAC, MaxMTU)
	go e.Run()
	for i := uint32(0); ; i++ {
		frame := ipv4(i, 64+rand.IntN(MaxMTU-64))
		e.Send(guestMAC, typeIPv4, frame[ethernetSize:])
		if i%8 == 7 {
			time.Sleep(time.Millisecond)
		}
	}
}

// TestKilledWriter kills writers in the middle, on one wire that goes on. The far end
// must never see a torn frame: it is a hypervisor, which would take the next bytes for a
// frame's length.
func TestKilledWriter(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, far := os.NewFile(uintptr(fds[0]), "wire"), os.NewFile(uintptr(fds[1]), "far")
	defer theirs.Close()
	conn, err := net.FileConn(far)
	far.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var frames atomic.Int64
	ended, broken := make(chan struct{}), make(chan string, 1)
	go func() {
		s := splitter{max: MaxMTU + ethernetSize, synced: true}
		var buf []byte
		part := make([]byte, 5000) // slow, so that the wire is full when a writer dies
		for {
			size, err := conn.Read(part)
			if err != nil {
				close(ended)
				return
			}
			buf = append(buf, part[:size]...)
			for {
				frame, used := s.next(buf)
				buf = buf[used:]
				if s.skipped > 0 || !s.synced {
					broken <- "a torn frame"
					return
				}
				if frame == nil {
					break
				}
				frames.Add(1)
			}
		}
	}()
	const kills = 25
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.ExtraFiles, cmd.Stderr = append(os.Environ(), killedEnv+"=1"), []*os.File{theirs}, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before, deadline := frames.Load(), time.Now().Add(time.Minute)
		for frames.Load() < before+300 && len(broken) == 0 && time.Now().Before(deadline) { // it writes, and not only what the last one left
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		select {
		case what := <-broken:
			t.Fatal(what)
		default:
		}
	}
	unix.Shutdown(int(theirs.Fd()), unix.SHUT_RDWR)
	select {
	case what := <-broken:
		t.Fatal(what)
	case <-ended:
		if n := frames.Load(); n < 300*kills {
			t.Errorf("only %d frames came through", n)
		}
		t.Logf("%d frames of %d killed writers, none torn", frames.Load(), kills)
	}
}

// TestAFullWire: a guest that takes nothing stops nobody, and memory is bounded.
func TestAFullWire(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	e := New(near, ourMAC, 9000)
	go e.Run()
	packet := make([]byte, 9000)
	for range 3 * queueSize / len(packet) {
		var list stack.PacketBufferList
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: ethernetSize, Payload: buffer.MakeWithData(packet)})
		e.AddHeader(pkt)
		list.PushBack(pkt)
		if _, err := e.WritePackets(list); err != nil {
			t.Fatal(err)
		}
		e.Send(guestMAC, typeIPv4, packet)
	}
	e.out.Lock()
	defer e.out.Unlock()
	if len(e.queue) > queueSize {
		t.Errorf("%d bytes wait", len(e.queue))
	}
}
