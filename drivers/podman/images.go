package podman

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"openshell-vm/drivers"
)

func (e *engine) HasImage(ctx context.Context, ref string) (bool, error) {
	response, err := e.send(ctx, http.MethodGet, "/images/%s/exists", nil, nil, ref)
	if err == nil {
		response.Body.Close()
		return true, nil
	}
	var answer *refusal
	if errors.As(err, &answer) && answer.code == http.StatusNotFound {
		return false, nil
	}
	return false, err
}

// Pull leaves the login to the service. It has what `podman login` keeps for its user.
func (e *engine) Pull(ctx context.Context, ref string, report func(drivers.PullProgress)) error {
	response, err := e.send(ctx, http.MethodPost, "/images/pull", values("reference", ref), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return readProgress(response.Body, report)
}

// readProgress reads the service's report: lines for people, and errors.
func readProgress(stream io.Reader, report func(drivers.PullProgress)) error {
	for lines := json.NewDecoder(stream); ; {
		var line struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
		}
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if line.Error != "" {
			return errors.New(line.Error)
		}
		if text := strings.TrimSpace(line.Stream); text != "" {
			report(drivers.PullProgress{Status: text})
		}
	}
}
