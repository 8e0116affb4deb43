package session

import (
	"context"

	"openshell-vm/cmd/openshell-vm/gateways"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// Exec runs a further command until it ends. The detach keys end it: there is no way
// back to it. Its exit code is the error, as in Code.
func (s *Session) Exec(ctx context.Context, client *api.Client, ref string, r api.ExecRequest) error {
	defer close(s.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.detached:
			cancel()
		case <-ctx.Done():
		}
	}()
	code, err := client.Exec(ctx, ref, r, s.streams())
	select {
	case <-s.detached:
		return nil
	default:
	}
	switch {
	case gateways.IsEnding(err):
		return say.Errorf("run it again; the sandbox goes on: "+say.Program+" ps",
			"the gateway was stopped or restarted, and the command in %s was ended with it", ref)
	case gateways.Gone(err):
		return say.Errorf("see "+say.Program+" ps, and whether it still runs inside; the sandbox goes on",
			"the gateway is gone, and with it the way to the command in %s", ref)
	case err != nil:
		return err
	}
	return Code(code)
}
