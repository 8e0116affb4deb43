package gateway

import (
	"context"
	"errors"
	"slices"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// pullingFake is a fake engine with images.
type pullingFake struct {
	*fake
	gone chan struct{} // closed when a pull was cancelled
	last drivers.PullRequest
}

func (f *pullingFake) Pull(ctx context.Context, q drivers.PullRequest, report func(drivers.PullProgress)) error {
	f.last = q
	if q.Policy == drivers.PullNever && q.Image != "here" {
		return &drivers.Error{Op: "use " + q.Image, Err: errors.New("it is not here")}
	}
	switch q.Image {
	case "here":
		return nil
	case "wrong":
		return &drivers.Error{Op: "fetch image wrong", Err: errors.New("the registry has no such image"), Hint: "check the name"}
	case "endless":
		report(drivers.PullProgress{Status: "waiting"})
		<-ctx.Done()
		close(f.gone)
		return ctx.Err()
	}
	report(drivers.PullProgress{Layer: "abc", Status: "Downloading", Current: 1, Total: 2})
	report(drivers.PullProgress{Layer: "abc", Status: "Pull complete"})
	return nil
}

func TestPull(t *testing.T) {
	engine := &pullingFake{fake: newFake("fake"), gone: make(chan struct{})}
	w := newWorld(t, engine, newFake("vm"))
	w.run()
	pull := func(q api.CreateRequest) (said []api.PullProgress, err error) {
		err = w.client.Images.Pull(t.Context(), q, api.PullMissing, func(p api.PullProgress) { said = append(said, p) })
		return said, err
	}
	said, err := pull(api.CreateRequest{Driver: "auto", Image: "far"})
	want := []api.PullProgress{{Layer: "abc", Status: "Downloading", Current: 1, Total: 2}, {Layer: "abc", Status: "Pull complete"}}
	if err != nil || !slices.Equal(said, want) {
		t.Errorf("said %+v, %v", said, err)
	}
	for _, q := range []api.CreateRequest{{Driver: "fake", Image: "here"}, {Driver: "fake"}, {Driver: "vm", Image: "far"}} {
		if said, err := pull(q); err != nil || said != nil {
			t.Errorf("%+v: said %+v, %v", q, said, err)
		}
	}
	for _, require := range []bool{true, false} {
		_, err := pull(api.CreateRequest{Driver: "fake", Image: "here", RequireJail: require})
		if want := (drivers.PullRequest{Image: "here", RequireJail: require}); err != nil || engine.last != want {
			t.Errorf("the driver got %+v, not %+v; %v", engine.last, want, err)
		}
	}
	_, err = pull(api.CreateRequest{Driver: "fake", Image: "wrong"})
	refused(t, err, api.CodeDriver, "no such image")
	err = w.client.Images.Pull(t.Context(), api.CreateRequest{Driver: "fake", Image: "far"}, api.PullNever, nil)
	refused(t, err, api.CodeDriver, "it is not here")
	err = w.client.Images.Pull(t.Context(), api.CreateRequest{Driver: "fake", Image: "far"}, "sometimes", nil)
	refused(t, err, api.CodeInvalid, `no policy "sometimes"`)
	_, err = pull(api.CreateRequest{Driver: "none", Image: "far"})
	refused(t, err, api.CodeInvalid, `no driver "none"`)

	ctx, cancel := context.WithCancel(t.Context())
	err = w.client.Images.Pull(ctx, api.CreateRequest{Driver: "fake", Image: "endless"}, api.PullMissing, func(api.PullProgress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	<-engine.gone
}
