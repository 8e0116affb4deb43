package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"time"
)

// Event is something that happened to a sandbox or a share.
type Event struct {
	Number uint64    `json:"number"` // grows; counts from the gateway's start
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`   // KindSandbox, KindShare or KindGateway
	Action string    `json:"action"` // EventCreated, …
	ID     string    `json:"id,omitempty"`
	Name   string    `json:"name,omitempty"`
	// Details are words about it, such as exitCode, reason, generation. They hold no secret.
	Details map[string]string `json:"details,omitempty"`
}

// KindGateway is the kind of events about the events themselves.
const KindGateway = "gateway"

// Values of Event.Action.
const (
	EventCreated   = "create"
	EventStarted   = "start"
	EventRestarted = "restart"  // started again by its restart policy
	EventRenewed   = "renewed"  // a fresh token is in the share
	EventFailed    = "failed"   // a renewal failed, and is tried again
	EventUnseen    = "unseen"   // a generation is not seen within the driver's bound
	EventSeen      = "seen"     // it is seen after all
	EventOnRenew   = "on-renew" // what is to be done at a new generation was done, or failed: see the reason
	EventWarning   = "warning"  // about the user's own token: see the reason
	EventEnded     = "ended"    // the workload ended
	EventRemoved   = "remove"
	EventRenamed   = "rename"
	EventUpdated   = "update"
	EventMissed    = "missed" // this follower was too slow: count events are missing
)

// Events calls tell with each event after since that the gateway remembers. With follow it
// goes on with those that happen, until ctx ends or tell returns an error. If the gateway ends
// meanwhile, the error wraps ErrStreamLost.
func (c *Client) Events(ctx context.Context, since time.Time, follow bool, tell func(Event) error) error {
	q := url.Values{}
	if !since.IsZero() {
		q.Set("since", since.Format(time.RFC3339Nano))
	}
	if follow {
		q.Set("follow", "1")
	}
	body, err := c.send(ctx, "GET", "/v1/events?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := json.NewDecoder(body)
	for {
		var e Event
		err := lines.Decode(&e)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF) && !follow:
			return nil
		case err != nil:
			return ErrStreamLost
		}
		if err := tell(e); err != nil {
			return err
		}
	}
}
