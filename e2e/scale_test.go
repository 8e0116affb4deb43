//go:build e2e

package e2e

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
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"openshell-vm/gateway/api"
)

// scaleShares is the number of shares for the measurement. The variable SHARES overrides it.
const scaleShares = 10_000

// BenchmarkRunShares measures one gateway with 10,000 shares of the user's own on tmpfs: shares
// created per second, compared with the same directories and files made by hand; the API's first
// answer after a kill; share ls; and keys rotate, until every share has the new key. The goals on
// two cores are 500/s, 1 s and 0.5 s.
func BenchmarkRunShares(b *testing.B) {
	n := scaleShares
	if text := os.Getenv("SHARES"); text != "" {
		n, _ = strconv.Atoi(text)
	}
	w := newWorld(b, os.Getuid())
	dir, err := os.MkdirTemp("/dev/shm", "oe")
	w.must(err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	w.setenv(api.EnvStateDir, filepath.Join(dir, "state"))
	w.setenv(api.EnvRuntimeDir, filepath.Join(dir, "run"))
	w.run("ps")
	var status api.Status
	w.json(&status, "gateway", "status")
	client := socketClient(filepath.Join(status.RuntimeDir, "gateway.sock"))
	for b.Loop() {
		byHand := timed(func() { w.must(makeByHand(filepath.Join(dir, "hand"), n)) })
		created := timed(func() { w.must(createShares(client, n)) })
		b.ReportMetric(float64(n)/created.Seconds(), "creations/s")
		b.ReportMetric(created.Seconds()/byHand.Seconds(), "creation/by-hand")

		b.ReportMetric(timed(func() { w.run("share", "ls") }).Seconds(), "s-share-ls")

		w.killGateway()
		began := time.Now()
		w.startGateway()
		w.eventually("the API answers", patience, func() bool {
			answer, err := client.Do(request("GET", "/v1/status", nil))
			if err == nil {
				answer.Body.Close()
			}
			return err == nil
		})
		b.ReportMetric(time.Since(began).Seconds(), "s-API-after-kill")

		began = time.Now()
		b.Logf("keys rotate: %s", w.run("keys", "rotate"))
		b.ReportMetric(time.Since(began).Seconds(), "s-keys-rotate")
	}
	w.run("gateway", "stop")
}

func timed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// makeByHand makes the directories and files of a share without a token: the baseline.
func makeByHand(base string, n int) error {
	for i := range n {
		generation := filepath.Join(base, fmt.Sprint(i), "auth", "..gen-00000001")
		if err := os.MkdirAll(generation, 0o755); err != nil {
			return err
		}
		for _, name := range []string{"sandbox.jwt", "metadata.json", "record"} {
			if err := os.WriteFile(filepath.Join(generation, name), make([]byte, 500), 0o444); err != nil {
				return err
			}
		}
		auth := filepath.Dir(generation)
		for name, target := range map[string]string{"new": "..gen-00000001", "sandbox.jwt": "..data/sandbox.jwt", "metadata.json": "..data/metadata.json"} {
			if err := os.Symlink(target, filepath.Join(auth, name)); err != nil {
				return err
			}
		}
		if err := os.Rename(filepath.Join(auth, "new"), filepath.Join(auth, "..data")); err != nil {
			return err
		}
	}
	return nil
}

func socketClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

func request(method, path string, body []byte) *http.Request {
	r, err := http.NewRequest(method, "http://gateway"+path, bytes.NewReader(body))
	if err != nil {
		panic(err) // a path of ours
	}
	r.Header.Set(api.Header, fmt.Sprint(api.Version))
	return r
}

// createShares makes n shares, eight at a time.
func createShares(client *http.Client, n int) error {
	var group errgroup.Group
	group.SetLimit(8)
	for i := range n {
		group.Go(func() error {
			body, err := json.Marshal(map[string]any{"name": fmt.Sprintf("s%05d", i), "ttl": int64(time.Hour)})
			if err != nil {
				return err
			}
			answer, err := client.Do(request("POST", "/v1/shares", body))
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			text, _ := io.ReadAll(answer.Body)
			if answer.StatusCode >= 300 {
				return fmt.Errorf("share %d: %s: %s", i, answer.Status, text)
			}
			return nil
		})
	}
	return group.Wait()
}
