// Package gateways is for requests that outlive the gateway that they were sent to.
// A sandbox does not end with its gateway, and so what waits for the sandbox, or
// reads of it, does not either: it asks the next gateway.
package gateways

import (
	"context"
	"errors"
	"time"

	"openshell-vm/gateway/api"
)

// GapLine says of a sandbox (%s) what is lost between two gateways.
const GapLine = "openshell-vm: the gateway was restarted: output may be missing here; openshell-vm logs %s has it"

// pause keeps who asks again and again from doing nothing else.
const pause = 50 * time.Millisecond

// patience is how long the gateway after one that was ended is waited for.
const patience = 10 * time.Second

// Over asks a gateway, and the next one when it ends before it has answered. A gateway
// that was ended may be met once more in its last moment. It is then gone without a
// word, and its earlier word that it ends stays.
func Over(ctx context.Context, client *api.Client, ask func(*api.Client) error) error {
	var gone error
	for {
		err := ask(client)
		if !Gone(err) {
			return err
		}
		if !IsEnding(gone) || !errors.Is(err, api.ErrNotRunning) {
			gone = err
		}
		if client, err = next(ctx, gone); err != nil {
			return err
		}
	}
}

// next connects to the gateway after one that is gone. One that died is started
// again. After one that was ended, as by gateway restart, another is waited for and
// not started: who stopped it wants none.
func next(ctx context.Context, gone error) (*api.Client, error) {
	if err := sleep(ctx); err != nil {
		return nil, err
	}
	if !IsEnding(gone) {
		return api.EnsureStarted(ctx, "")
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if client, err := api.Connect(ctx); err == nil {
			return client, nil
		}
		if sleep(ctx) != nil {
			return nil, gone
		}
	}
}

func sleep(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// Gone says of a gateway that has answered before that it ended, and that what was
// asked of it did not.
func Gone(err error) bool {
	return errors.Is(err, api.ErrStreamLost) || errors.Is(err, api.ErrNotRunning) || IsEnding(err)
}

// IsEnding says that a gateway was told to end.
func IsEnding(err error) bool { return code(err) == api.CodeEnding }

// NotFound says that the gateway knows no such thing.
func NotFound(err error) bool { return code(err) == api.CodeNotFound }

func code(err error) string {
	var answer *api.Error
	if !errors.As(err, &answer) {
		return ""
	}
	return answer.Code
}
