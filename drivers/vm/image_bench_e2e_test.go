//go:build e2e

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/hypervisor/krun"
	"openshell-vm/drivers/vm/hypervisor/qemu"
	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/images/imagetest"
)

// large is an image of 200 MB in 4,000 files, which can be compressed to about a half.
func large(b *testing.B, c v1.Config) v1.Image {
	l := imagetest.NewLayer(b)
	block := make([]byte, 50_000)
	x := uint32(1)
	for i := range 4000 {
		if i%100 == 0 {
			l.Dir(fmt.Sprintf("data/%d", i/100))
		}
		for j := range block {
			x = x*1664525 + 1013904223
			block[j] = byte(x>>24) & 15
		}
		l.File(fmt.Sprintf("data/%d/%d", i/100, i), string(block))
	}
	return imagetest.Image(b, c, busybox(b), l)
}

func busybox(b *testing.B) *imagetest.Layer {
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		b.Skip(err)
	}
	return imagetest.NewLayer(b).Dir("bin").Program("bin/busybox", program).Symlink("bin/sh", "busybox")
}

// BenchmarkImageConvert makes a block image of a 200 MB image, from a file that docker save would
// write. The baseline is docker create and docker export of the same image, in the same run.
func BenchmarkImageConvert(b *testing.B) {
	host := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	if host == "" {
		b.Skip("no Docker: scripts/engines start docker")
	}
	dir := b.TempDir()
	saved := filepath.Join(dir, "saved.tar")
	tag, err := name.NewTag("localhost/openshell-bench:1")
	if err == nil {
		err = tarball.WriteToFile(saved, tag, large(b, v1.Config{Cmd: []string{"sh"}}))
	}
	if err != nil {
		b.Fatal(err)
	}
	docker := &dockerAPI{b, &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", host)
	}}}}
	f, err := os.Open(saved)
	if err != nil {
		b.Fatal(err)
	}
	docker.do("POST", "/images/load", f)
	b.Cleanup(func() { docker.do("DELETE", "/images/"+tag.String()+"?force=1", nil) })
	var ours, theirs time.Duration
	for b.Loop() {
		begin := time.Now()
		client := images.Client{Program: filepath.Join(os.Getenv("OPENSHELL_BIN"), images.Program)}
		q := images.Request{Dir: filepath.Join(dir, fmt.Sprint(begin.UnixNano())), Reference: "docker-archive:" + saved}
		if _, err := client.Pull(b.Context(), q, nil); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(begin)
		begin = time.Now()
		var made struct{ ID string }
		_ = json.Unmarshal(docker.do("POST", "/containers/create", strings.NewReader(`{"Image":"`+tag.String()+`"}`)), &made)
		docker.do("GET", "/containers/"+made.ID+"/export", nil)
		theirs += time.Since(begin)
		docker.do("DELETE", "/containers/"+made.ID+"?force=1", nil)
	}
	b.ReportMetric(ours.Seconds()/float64(b.N), "convert-s")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "docker-export-s")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}

type dockerAPI struct {
	b *testing.B
	*http.Client
}

// do asks Docker, and reads the whole answer. It keeps the beginning.
func (d *dockerAPI) do(method, path string, body io.Reader) []byte {
	q, err := http.NewRequest(method, "http://docker/v1.41"+path, body)
	if err != nil {
		d.b.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	answer, err := d.Do(q)
	if err != nil {
		d.b.Fatal(err)
	}
	defer answer.Body.Close()
	var said bytes.Buffer
	_, err = io.CopyN(&said, answer.Body, 1<<16)
	if err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
	}
	if err != nil && err != io.EOF || answer.StatusCode >= 300 {
		d.b.Fatalf("%s %s: %s, %v: %s", method, path, answer.Status, err, said.String())
	}
	return said.Bytes()
}

// BenchmarkImageFirstPrompt is the time from an image's name to the first output of its command:
// cold, with nothing of it in the cache; warm; and a second VM beside the first.
func BenchmarkImageFirstPrompt(b *testing.B) {
	registry := imagetest.Serve(b, nil)
	ref := registry.Push(large(b, v1.Config{Cmd: []string{"sh", "-c", "echo prompt; exec sleep 1000"}}), "bench/large:1")
	base, err := os.MkdirTemp("", "vm")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(base) })
	d := New(Config{
		GatewayID: "bench", SandboxesDir: filepath.Join(base, "sandboxes"), RuntimeDir: filepath.Join(base, "run"),
		CacheDir: filepath.Join(base, "cache"), Libexec: os.Getenv("OPENSHELL_BIN"),
		Hypervisors: chosen(krun.Options{}, qemu.Options{}), BootDeadline: patience,
	})
	for b.Loop() {
		os.RemoveAll(filepath.Join(base, "cache", cacheImages))
		b.ReportMetric(firstPrompt(b, d, base, "aaaaaaaaaaaa", ref).Seconds(), "cold-s")
		end(b, d, "aaaaaaaaaaaa")
		b.ReportMetric(firstPrompt(b, d, base, "bbbbbbbbbbbb", ref).Seconds(), "warm-s")
		before := allocated(b, base)
		b.ReportMetric(firstPrompt(b, d, base, "cccccccccccc", ref).Seconds(), "second-vm-s")
		b.ReportMetric(float64(allocated(b, base)-before)/1e6, "second-vm-MB")
		end(b, d, "bbbbbbbbbbbb")
		end(b, d, "cccccccccccc")
	}
}

// firstPrompt is what run does.
func firstPrompt(b *testing.B, d *Driver, base, id, ref string) time.Duration {
	begin := time.Now()
	auth := filepath.Join(base, "auth-"+id)
	gen := filepath.Join(auth, "..gen-00000001")
	for _, err := range []error{os.MkdirAll(gen, 0o755), os.MkdirAll(d.dir(id), 0o700), os.Symlink("..gen-00000001", filepath.Join(auth, "..data"))} {
		if err != nil {
			b.Fatal(err)
		}
	}
	share, err := drivers.NewMount(auth, drivers.AuthDir)
	if err != nil {
		b.Fatal(err)
	}
	spec := drivers.Spec{ID: id, GatewayID: "bench", Dir: d.dir(id), Auth: share, Image: ref, VM: drivers.VM{Hypervisor: qemu.Name}, Memory: 256 << 20}
	if err := d.Pull(b.Context(), drivers.PullRequest{Image: ref}, nil); err != nil {
		b.Fatal(err)
	}
	if spec, _, err = d.Resolve(b.Context(), spec); err == nil {
		err = d.Create(b.Context(), spec)
	}
	if err == nil {
		err = d.Start(b.Context(), id)
	}
	if err != nil {
		b.Fatal(err, drivers.HintOf(err))
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go func() { w.CloseWithError(d.Logs(ctx, id, true, w, io.Discard)) }()
	if _, err := r.Read(make([]byte, 6)); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

func end(b *testing.B, d *Driver, id string) {
	if err := d.Remove(b.Context(), id); err != nil {
		b.Fatal(err)
	}
	os.RemoveAll(d.dir(id))
}

func allocated(b *testing.B, base string) int64 {
	n, err := diskUsed(filepath.Join(base, "cache"), filepath.Join(base, "sandboxes"))
	if err != nil {
		b.Fatal(err)
	}
	return n
}
