// Package stream is the one way of bytes between a workload and a user's
// terminal. Every hop is a Conn of this package: guest init ↔ monitor
// (virtio-console), monitor ↔ gateway (unix socket), gateway ↔ CLI (HTTP upgrade).
//
// # The wire
//
// A frame is an 8-byte header and a payload of at most MaxPayload bytes:
//
//	byte 0     kind
//	bytes 1-3  session, big-endian: 0 is the workload, others are execs
//	bytes 4-7  payload length, big-endian
//
// A session has a client's end and a process's end. The client sends Stdin,
// StdinClose, Signal and Resize; the process sends Stdout, Stderr, and last of all
// Exit or Error. Both send Credit and Abort. Control frames carry JSON: a message of
// MaxPayload bytes or more is split over neighbouring frames, all full but the last.
//
// # Credit
//
// Each side may send so many bytes of Stdin, Stdout and Stderr in a session as the
// other has room for: Window at first, and what a Credit frame adds later. A frame
// costs its payload and frameCost, which stands for the header and what keeps it in
// memory, so that empty frames are not free. Credit is given back when a consumer has
// taken the bytes. Who sends more than that breaks the protocol, and the connection ends.
// So nothing is dropped, and a session holds at most Window bytes in each direction.
//
// # The rules that every hop can rely on
//
//   - A Conn's reading loop never waits for a consumer. A hang-up is noticed at once,
//     also when nobody reads the input: Session.Done closes.
//   - Signals, sizes, credit and aborts overtake the bytes that wait to be sent, and
//     wait for no credit: no input that nobody reads is in their way.
//   - The end of input is io.EOF. A hang-up never is: it is ErrHangup, or an
//     *AbortError with the other side's reason.
//   - Bytes that were sent arrive, in order, or the session ends with an error.
//
// A peer from before there was credit is spoken to without (Options.Credit):
// its bytes wait in the socket once legacyRoom of them wait here, and then the
// rules above hold no better than they did for it.
//
// Nothing here authenticates: each hop's socket does. No token ever travels in a frame.
package stream
