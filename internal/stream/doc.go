// Package stream carries the bytes between a workload and a user's terminal. Every hop is a
// Conn of this package: guest init ↔ monitor (virtio-console), monitor ↔ gateway (unix
// socket), gateway ↔ CLI (HTTP upgrade).
//
// # The wire
//
// A frame is an 8-byte header and a payload of at most MaxPayload bytes:
//
//	byte 0     kind
//	bytes 1-3  session, big-endian: 0 is the workload, others are execs
//	bytes 4-7  payload length, big-endian
//
// A session has a client's end and a process's end. The client sends Stdin, StdinClose,
// Signal and Resize. The process sends Stdout, Stderr, and last of all Exit or Error. Both
// send Credit and Abort. Control frames carry JSON. A message of MaxPayload bytes or more is
// split over frames that follow each other; all of them are full but the last.
//
// # Credit
//
// Each side may send as many bytes of Stdin, Stdout and Stderr in a session as the other has
// room for: Window at first, and later what Credit frames add. A frame costs its payload and
// frameCost, which is for the header and the memory that keeps the frame, so that empty
// frames are not free. A side gives credit back when a consumer has taken the bytes. Sending
// more than the credit breaks the protocol, and the connection ends. So nothing is dropped,
// and a session holds at most Window bytes in each direction.
//
// # The rules that every hop can rely on
//
//   - A Conn's reading loop never waits for a consumer. It notices a hang-up at once, also
//     while nobody reads the input: Session.Done closes.
//   - Signals, sizes, credit and aborts overtake the bytes that wait to be sent, and need no
//     credit. Input that nobody reads does not hold them up.
//   - The end of input is io.EOF. A hang-up never is: it is ErrHangup, or an *AbortError
//     with the other side's reason.
//   - Bytes that were sent arrive, in order, or the session ends with an error.
//
// A peer from before there was credit gets none (Options.Credit). When legacyRoom of its
// bytes wait here, the reading loop waits, and so does the peer. Then the first two rules do
// not hold.
//
// Nothing here authenticates: each hop's socket does. No token ever travels in a frame.
package stream
