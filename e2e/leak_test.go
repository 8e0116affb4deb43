//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// needles are the forms in which a token's secret part, the signature, could leak: as in the
// token, as bytes, and in the other base64 encoding.
func needles(token string) [][]byte {
	text := token[strings.LastIndexByte(token, '.')+1:]
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return [][]byte{[]byte(text)}
	}
	return [][]byte{[]byte(text), raw, []byte(base64.StdEncoding.EncodeToString(raw))}
}

// leaks looks for the tokens in every process's arguments and environment, and in all that the
// gateway and its monitors wrote, except the shares.
func (w *world) leaks(tokens []string) []string {
	var found []string
	search := func(place string, data []byte) {
		for _, token := range tokens {
			for _, needle := range needles(token) {
				if bytes.Contains(data, needle) {
					found = append(found, place)
					return
				}
			}
		}
	}
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, _ := os.ReadFile(file) // processes come and go
			search(file, data)
		}
	}
	for _, dir := range []string{w.stateDir(), filepath.Join(w.home, "run")} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil
			case d.IsDir() && (d.Name() == "shares" || d.Name() == "keys"):
				return filepath.SkipDir
			case d.Type().IsRegular() && d.Name() != "upper.ext4": // the guest's own disk
				data, _ := os.ReadFile(path)
				search(path, data)
			}
			return nil
		})
	}
	return found
}

// watchForLeaks searches until stop is called. stop returns what was found.
// rounds returns how often everything was searched so far.
func (w *world) watchForLeaks(j *judge) (rounds *atomic.Int64, stop func() (found []string)) {
	ctx, cancel := context.WithCancel(context.Background())
	rounds = new(atomic.Int64)
	done := make(chan []string)
	go func() {
		var found []string
		for ; ctx.Err() == nil; time.Sleep(time.Second) { // one takes a third of a second of processor
			found = append(found, w.leaks(j.tokens())...)
			rounds.Add(1)
		}
		done <- found
	}()
	return rounds, func() []string { cancel(); return <-done }
}

// provesSearch plants a token in a process's environment, in a process's arguments and in a
// record, and expects the search to find each.
func (w *world) provesSearch(token string) {
	w.Helper()
	sandboxes, err := filepath.Glob(filepath.Join(w.stateDir(), "sandboxes", "*"))
	if err != nil || len(sandboxes) == 0 {
		w.Fatal("no sandbox directory to plant in")
	}
	plant := filepath.Join(sandboxes[0], "planted.log")
	w.must(os.WriteFile(plant, []byte("x "+needleText(token)), 0o600))
	defer os.Remove(plant)
	if !slices.Contains(w.leaks([]string{token}), plant) {
		w.Error("a planted token in a log was not found: the search does not work")
	}
	for _, form := range []string{"cmdline", "environ"} {
		ctx, cancel := context.WithCancel(context.Background())
		cmd := w.command(ctx, "witness/reader", "-count", "0", "-every", "1s", "-path", "/dev/null")
		if form == "cmdline" {
			cmd.Args = append(cmd.Args, token)
		} else {
			cmd.Env = append(cmd.Env, "PLANTED="+token)
		}
		w.must(cmd.Start())
		place := fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, form)
		w.eventually("a planted token in "+form+" is found", patience, func() bool {
			return slices.Contains(w.leaks([]string{token}), place)
		})
		cancel()
		_ = cmd.Wait()
	}
}

func needleText(token string) string { return string(needles(token)[0]) }
