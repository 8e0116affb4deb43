package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	"openshell-vm/drivers"
)

func (e *engine) HasImage(ctx context.Context, ref string) (bool, error) {
	cli, err := e.client()
	if err != nil {
		return false, err
	}
	_, err = cli.ImageInspect(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (e *engine) Pull(ctx context.Context, ref string, report func(drivers.PullProgress)) error {
	cli, err := e.client()
	if err != nil {
		return err
	}
	stream, err := cli.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: login(ref)})
	if err != nil {
		return err
	}
	defer stream.Close()
	return readProgress(stream, report)
}

// readProgress reads the engine's report. The last line may be an error.
func readProgress(stream io.Reader, report func(drivers.PullProgress)) error {
	for lines := json.NewDecoder(stream); ; {
		var line struct {
			ID             string `json:"id"`
			Status         string `json:"status"`
			Error          string `json:"error"`
			ProgressDetail struct {
				Current int64 `json:"current"`
				Total   int64 `json:"total"`
			} `json:"progressDetail"`
		}
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if line.Error != "" {
			return errors.New(line.Error)
		}
		report(drivers.PullProgress{Layer: line.ID, Status: line.Status,
			Current: line.ProgressDetail.Current, Total: line.ProgressDetail.Total})
	}
}
