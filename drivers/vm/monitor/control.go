package monitor

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/text"
)

// maxGuestMessage bounds one message of the guest, in bytes. The longest that an
// honest guest sends is the reason of a failed boot.
const maxGuestMessage = 64 << 10

// control is the host's side of the guest's control port. It carries messages, and a
// session for each exec. Only the host opens sessions.
type control struct {
	log      *slog.Logger
	port     *listened
	conn     *stream.Conn
	messages chan guest.Message // closed when nothing comes any more

	full atomic.Bool // the guest did not take the last message

	mu     sync.Mutex
	breach *stream.ProtocolError
}

func newControl(log *slog.Logger, port io.ReadWriteCloser) *control {
	c := &control{log: log, port: &listened{ReadWriteCloser: port}, messages: make(chan guest.Message, 64)}
	c.conn = stream.New(c.port, stream.Options{Credit: true, MaxMessage: maxGuestMessage, Message: c.take})
	return c
}

// send queues a message for the guest and never waits. A message that does not fit is
// dropped: all that waits for the guest has a deadline of its own.
func (c *control) send(m guest.Message) {
	err := c.conn.Send(0, m)
	if full := err != nil; c.full.Swap(full) != full && full {
		c.log.Warn("the guest does not take control messages", "error", err)
	}
}

// take queues a message of the guest for boot and watch. A guest breaks the protocol
// if it sends more than they read, or what is no JSON.
func (c *control) take(_ uint32, data []byte) error {
	var m guest.Message
	if err := json.Unmarshal(data, &m); err != nil {
		return &stream.ProtocolError{What: "a control message that is no JSON"}
	}
	select {
	case c.messages <- m:
		return nil
	default:
		return &stream.ProtocolError{What: "more control messages than can be read"}
	}
}

// read is the port's reading loop.
func (c *control) read() {
	err := c.conn.Run()
	c.broke(err)
	if !errors.Is(err, stream.ErrHangup) {
		c.log.Warn("the control port ended", "error", err)
	}
	close(c.messages)
}

// broke notes that the guest broke the protocol on one of its ports. It closes the
// control port, and that ends the VM.
func (c *control) broke(err error) {
	var breach *stream.ProtocolError
	if !errors.As(err, &breach) {
		return
	}
	c.mu.Lock()
	if c.breach == nil {
		c.breach = breach
	}
	c.mu.Unlock()
	c.conn.Close()
}

// broken says how the guest broke the protocol; nil if it did not.
func (c *control) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.breach == nil {
		return nil
	}
	return errors.New("the guest broke the protocol: " + c.breach.What)
}

// printable makes a guest's line fit for a user's terminal.
func printable(s string) string { return text.Short(s, text.MaxSaid) }
