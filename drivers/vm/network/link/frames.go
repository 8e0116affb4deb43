package link

import (
	"bytes"
	"encoding/binary"
)

const (
	lengthSize   = 4
	ethernetSize = 14

	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd
)

// atomicWrite is how many bytes the kernel surely puts into one buffer of a stream
// socket. It queues such a write whole or not at all, even if the writer is killed.
const atomicWrite = 32 << 10

// MaxMTU is the largest packet that a wire carries, without the Ethernet header.
const MaxMTU = atomicWrite - lengthSize - ethernetSize

// splitter finds the frames in a stream of bytes.
type splitter struct {
	max     int // bytes of the longest frame
	synced  bool
	skipped int // bytes that were no frame, for tests and the log
}

// next returns the first frame in b, and how many bytes it takes up together with what
// lies before it. Without a whole frame it returns nil, and how many bytes to drop.
func (s *splitter) next(b []byte) (frame []byte, used int) {
	for {
		if !s.synced {
			n, found := s.search(b[used:])
			used += n
			s.skipped += n
			if !found {
				return nil, used
			}
			s.synced = true
		}
		rest := b[used:]
		if len(rest) < lengthSize {
			return nil, used
		}
		size := int(binary.BigEndian.Uint32(rest))
		if size < ethernetSize || size > s.max {
			s.synced = false
			used++ // whatever this is, it is no frame
			s.skipped++
			continue
		}
		if len(rest) < lengthSize+size {
			return nil, used
		}
		return rest[lengthSize : lengthSize+size], used + lengthSize + size
	}
}

// search returns where in b the next frame begins. If found is false, the bytes before
// skip are none, and more have to come to tell about the others.
func (s *splitter) search(b []byte) (skip int, found bool) {
	for i := range b {
		switch s.judge(b[i:]) {
		case isFrame:
			return i, true
		case tooShort:
			return i, false
		}
	}
	return len(b), false
}

type judgement int

const (
	noFrame judgement = iota
	isFrame
	tooShort // to tell
)

// headSize is how much of a frame judge looks at.
const headSize = lengthSize + ethernetSize + 20

// judge tells whether a frame begins at b: its length and its header have to agree.
func (s *splitter) judge(b []byte) judgement {
	if len(b) < lengthSize {
		return tooShort
	}
	size := int64(binary.BigEndian.Uint32(b))
	if size < ethernetSize+20 || size > int64(s.max) {
		return noFrame
	}
	if len(b) < headSize {
		return tooShort
	}
	packet := b[lengthSize+ethernetSize : headSize]
	room := int(size) - ethernetSize
	fits := false
	switch binary.BigEndian.Uint16(b[lengthSize+ethernetSize-2:]) {
	case typeIPv4:
		fits = packet[0] == 0x45 && int(binary.BigEndian.Uint16(packet[2:])) <= room && sum(packet) == 0xffff ||
			packet[0] > 0x45 && packet[0] < 0x50 && int(binary.BigEndian.Uint16(packet[2:])) <= room
	case typeIPv6:
		fits = packet[0]>>4 == 6 && 40+int(binary.BigEndian.Uint16(packet[4:])) <= room
	case typeARP:
		fits = room >= 28 && bytes.HasPrefix(packet, []byte{0, 1, 8, 0, 6, 4})
	}
	if fits {
		return isFrame
	}
	return noFrame
}

// sum is the internet checksum; 0xffff for a header that carries its own.
func sum(b []byte) uint16 {
	var n uint32
	for ; len(b) >= 2; b = b[2:] {
		n += uint32(binary.BigEndian.Uint16(b))
	}
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}
