package request

import (
	"fmt"

	"openshell-vm/gateway/api"
)

// CheckRestart refuses policies that there are not, and those that contradict --rm.
func CheckRestart(q *api.CreateRequest) error {
	invalid := func(message, hint string) error {
		return &api.Error{Code: api.CodeInvalid, Message: message, Hint: hint}
	}
	switch q.Restart.Name {
	case "", api.RestartNo:
		q.Restart = api.RestartPolicy{}
		return nil
	case api.RestartOnFailure, api.RestartAlways, api.RestartUnlessStopped:
	default:
		return invalid(fmt.Sprintf("there is no restart policy %q", q.Restart.Name),
			"use --restart no, on-failure[:N], always or unless-stopped")
	}
	switch {
	case q.Restart.Max < 0, q.Restart.Max > 0 && q.Restart.Name != api.RestartOnFailure:
		return invalid(fmt.Sprintf("the restart policy %s takes no number %d", q.Restart.Name, q.Restart.Max),
			"a number of tries is for --restart on-failure:N")
	case q.AutoRemove:
		return invalid("it can't be removed at its end and be restarted", "leave out --rm or --restart")
	}
	return nil
}
