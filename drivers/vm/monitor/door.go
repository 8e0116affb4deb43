package monitor

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/peer"
	"openshell-vm/internal/stream"
)

const (
	// maxAsking is how many connections of a guest's programs the gateway gets at a time. Others
	// wait in the guest.
	maxAsking = 8
	// perSecond is how many connections a second are made for the guest.
	perSecond = 100
	// askingTime bounds one of them, whatever the guest does.
	askingTime = 2 * time.Minute
	// awayPause is how long a guest's connection waits, again and again, for a gateway that is
	// away; awayMost is how long in all.
	awayPause = 200 * time.Millisecond
	awayMost  = 5 * time.Second
)

// door brings what a guest's programs ask to the gateway's socket for this sandbox. The host
// opens a session ahead; it is taken when a program connects in the guest and writes. So the
// guest opens nothing itself, and all of it is bounded by the sessions.
type door struct {
	m   *monitor
	dir string // with the socket; it stays while gateways come and go
}

// serve opens sessions until ctx ends or the guest is gone.
func (d door) serve(ctx context.Context) {
	places, turns := make(chan struct{}, maxAsking), rate.NewLimiter(perSecond, perSecond)
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		session, err := d.m.control.conn.Open()
		if err != nil {
			return
		}
		if d.m.control.conn.Send(session.ID(), guest.Message{Door: &guest.Door{}}) != nil {
			session.Close()
			return
		}
		first, err := session.Next(ctx)
		asking.Go(func() {
			defer func() { session.Close(); <-places }()
			if err == nil && first.Kind == stream.Stdout {
				d.relay(ctx, session, first)
			}
		})
		// The guest may give up what it was given, again and again.
		if (err != nil || first.Kind != stream.Stdout) && d.pause(ctx) != nil || turns.Wait(ctx) != nil {
			return
		}
	}
}

func (d door) pause(ctx context.Context) error {
	select {
	case <-time.After(awayPause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// relay connects one program of the guest with the gateway.
func (d door) relay(ctx context.Context, session *stream.Session, first stream.Frame) {
	ctx, cancel := context.WithTimeout(ctx, askingTime)
	defer cancel()
	conn, err := d.dial(ctx)
	if err != nil {
		session.Abort("the gateway is away")
		return
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	go d.answer(ctx, cancel, session, conn)
	writes := true // until the gateway takes no more: its answer may be on its way all the same
	for f := first; f.Kind == stream.Stdout; {
		if writes {
			_, err = conn.Write(f.Payload)
			writes = err == nil
		}
		if f, err = session.Next(ctx); err != nil {
			return
		}
	}
	// The program has hung up.
}

// answer passes on what the gateway says. Then the guest closes the connection and ends the
// session: that is not done here, since what was sent may not be in the guest yet.
func (d door) answer(ctx context.Context, giveUp context.CancelFunc, session *stream.Session, conn net.Conn) {
	buf := make([]byte, stream.MaxPayload)
	for {
		n, err := conn.Read(buf)
		if n > 0 && session.Send(ctx, stream.Stdin, buf[:n]) != nil {
			giveUp()
			return
		}
		if err != nil {
			session.CloseInput()
			return
		}
	}
}

// dial connects to the gateway's socket. A gateway that is restarted is away for a moment.
func (d door) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, awayMost)
	defer cancel()
	for {
		conn, err := peer.DialIn(ctx, d.dir, guest.DoorSocket)
		if err == nil {
			return conn, nil
		}
		if d.pause(ctx) != nil {
			return nil, err
		}
	}
}
