//go:build e2e

package docker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/driverstest/testhost"
)

func TestConformance(t *testing.T) {
	engine := testhost.FindEngine(t, "docker")
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	dir, mountable := testhost.WorkDir(t)
	driverstest.Run(t, driverstest.Harness{
		Name: New(Config{}).Probe(t.Context()).Version,
		New: func(gatewayID string) drivers.Driver {
			return New(Config{GatewayID: gatewayID})
		},
		Dir: dir, Mountable: mountable, Blind: true, Apart: os.Getuid() != 0, RootIsRoot: true, Netns: engine.Netns(), Server: testhost.Address,
		Complete:      func(_ testing.TB, s *drivers.Spec) { s.Image = testhost.Image },
		RestartEngine: func(t testing.TB) { engine.Do(t, "restart") },
		RemoveBehind: func(t testing.TB, id string) {
			if err := cli.ContainerRemove(t.Context(), "openshell-"+id, api.RemoveOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
		},
		Impostor: func(t testing.TB, name string, labels map[string]string, onImage bool) {
			impostor(t, cli, name, labels, onImage)
		},
		Metadata: func(t testing.TB, id string) []byte { return metadata(t, cli, id) },
		Unload: func(_ testing.TB, ref string) {
			_, _ = cli.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true})
		},
	})
}

func TestImageSource(t *testing.T) {
	testhost.FindEngine(t, "docker")
	driverstest.ImageSource(t, "docker-daemon")
}

// impostor does what `docker import --change LABEL …` and `docker run` do.
func impostor(t testing.TB, cli *client.Client, name string, labels map[string]string, onImage bool) {
	t.Helper()
	config := &api.Config{Image: testhost.Image, Cmd: []string{"sh", "-c", "exit 3"}, Labels: labels}
	if onImage {
		config.Image, config.Labels = importLabelled(t, cli, labels), nil
	}
	made, err := cli.ContainerCreate(t.Context(), config, nil, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cli.ContainerRemove(context.Background(), made.ID, api.RemoveOptions{Force: true})
	})
	if err := cli.ContainerStart(t.Context(), made.ID, api.StartOptions{}); err != nil {
		t.Fatal(err)
	}
}

// importLabelled imports the test image's content again, with labels.
func importLabelled(t testing.TB, cli *client.Client, labels map[string]string) (id string) {
	t.Helper()
	root, err := os.Open(filepath.Join(os.Getenv("OPENSHELL_ENGINES"), "busybox.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var changes []string
	for k, v := range labels {
		changes = append(changes, "LABEL "+k+"="+strconv.Quote(v))
	}
	ref := "localhost/openshell-impostor:" + strings.ToLower(rand.Text())
	answer, err := cli.ImageImport(t.Context(), image.ImportSource{Source: root, SourceName: "-"}, ref, image.ImportOptions{Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if text, err := io.ReadAll(answer); err != nil || strings.Contains(string(text), "errorDetail") {
		t.Fatalf("import: %s, %v", text, err)
	}
	t.Cleanup(func() {
		_, _ = cli.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true})
	})
	return ref
}

// The same as an ordinary user of the engine's group, who can neither look into
// a container's processes nor signal them. What goes through the engine's own socket is the
// same for each user: TestConformance and Podman's rootless suite have that.
func TestConformanceGroup(t *testing.T) {
	engine := testhost.FindEngine(t, "docker")
	var st syscall.Stat_t
	if err := syscall.Stat(strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://"), &st); err != nil {
		t.Fatal(err)
	}
	engine.AsUser(t, 15000, []int{int(st.Gid)}, "^TestConformance$",
		"-test.skip=^TestConformance$/^(attached-|started-again|standard-input|much-|detached-|unread-|a-client-|what-ends-|logs-|terminal)")
}

// metadata is the container's inspect and every file of its own that the
// engine keeps, its log included.
func metadata(t testing.TB, cli *client.Client, id string) []byte {
	c, raw, err := cli.ContainerInspectWithRaw(t.Context(), "openshell-"+id, true)
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	if err := json.Compact(&all, raw); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 { // the engine's files are root's
		return all.Bytes()
	}
	kept := filepath.Join(os.Getenv("OPENSHELL_ENGINES"), "docker", "data", "containers", c.ID)
	files := 0
	err = filepath.WalkDir(kept, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all.Write(data)
		files++
		return err
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files in %s: %v", files, kept, err)
	}
	return all.Bytes()
}

// around is the engine with something that happens around each start.
type around struct {
	*engine
	start func(start func() error) error
}

func (a around) Start(ctx context.Context, name string) error {
	return a.start(func() error { return a.engine.Start(ctx, name) })
}

func TestSwappedSource(t *testing.T) {
	testhost.FindEngine(t, "docker")
	dir, mountable := testhost.WorkDir(t)
	driverstest.Swapped(t, driverstest.Harness{
		Name: "docker", New: func(gatewayID string) drivers.Driver { return New(Config{GatewayID: gatewayID}) },
		Dir: dir, Mountable: mountable, Complete: func(_ testing.TB, s *drivers.Spec) { s.Image = testhost.Image },
	}, func(gatewayID string, start func(func() error) error) drivers.Driver {
		return container.New(around{&engine{}, start}, gatewayID)
	})
}

func TestMounting(t *testing.T) {
	testhost.FindEngine(t, "docker")
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	driverstest.Mounting(t, New(Config{}), func(t testing.TB, name, source, target string) {
		made, err := cli.ContainerCreate(t.Context(), &api.Config{Image: testhost.Image, Cmd: []string{"true"}},
			&api.HostConfig{Binds: []string{source + ":" + target + ":ro"}}, nil, nil, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cli.ContainerRemove(context.Background(), made.ID, api.RemoveOptions{Force: true})
		})
	})
}

func TestEngineGone(t *testing.T) {
	driverstest.EngineGone(t, "docker", New(Config{GatewayID: "gone00000000"}))
}

func TestWrongImage(t *testing.T) {
	testhost.FindEngine(t, "docker")
	driverstest.WrongImages(t, New(Config{GatewayID: "gone00000000"}), "localhost:1/no/such:image", "no-such-image-here:none")
}
