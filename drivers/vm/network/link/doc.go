// Package link is the wire between a guest and its network process: a stream socket that
// carries Ethernet frames, each after its length in four bytes, the highest first. QEMU's
// -netdev stream and libkrun's krun_add_net_unixstream both speak that.
//
// The wire outlives the process at its end. A process may be killed between any two
// instructions, and the next one goes on with the same socket:
//
//   - What a process has written ends with a whole frame. The kernel takes a write of up to
//     atomicWrite bytes whole or not at all, and Endpoint writes whole frames in such
//     pieces.
//   - What a process has read may end within a frame, so the next process may begin
//     within one. It looks for the next frame: a length, and behind it a header that fits
//     to the length. What lies before that is lost, as on any network.
package link
