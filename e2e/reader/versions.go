package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// looked is one line of versions: what is the same as before is only counted.
type looked struct {
	Version int    `json:"version"`
	Looks   int    `json:"looks"` // so far
	Error   string `json:"error,omitempty"`
}

// versions reads files of a share through ..data, which it opens once for all of them, in a tight
// loop until its standard input ends. It reports each version that differs from the one before,
// what is wrong, and at the end how often it looked.
func versions(dir string, names []string) {
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(end)
	}()
	out, last, r := bufio.NewWriter(os.Stdout), -1, looked{}
	tell := func() {
		line, _ := json.Marshal(r)
		fmt.Fprintf(out, "%s\n", line)
		if out.Flush() != nil {
			os.Exit(1) // nobody listens any more
		}
	}
	for ended := false; !ended; {
		select {
		case <-end:
			ended = true
		default:
		}
		began := time.Now()
		version, err := oneVersion(dir, names)
		r.Looks++
		if err != nil {
			r.Error = fmt.Sprintf("%v, %v after the directory was opened", err, time.Since(began))
		} else {
			r.Version, r.Error = version, ""
		}
		if err != nil || version != last || ended {
			tell()
		}
		last = r.Version
	}
}

// oneVersion returns the version that all of the files have.
func oneVersion(dir string, names []string) (int, error) {
	generation, err := os.OpenRoot(dir + "/..data")
	if err != nil {
		return 0, err
	}
	defer generation.Close()
	found := -1
	for _, name := range names {
		data, err := generation.ReadFile(name)
		if err != nil {
			return 0, err
		}
		version, err := versionOf(string(data))
		switch {
		case err != nil:
			return 0, fmt.Errorf("%s: %w", name, err)
		case found >= 0 && version != found:
			return 0, fmt.Errorf("%s is of version %d, and %s of %d", names[0], found, name, version)
		}
		found = version
	}
	return found, nil
}

// versionOf checks the last line of a file, which is the sum of all others. In each of these is
// the version.
func versionOf(text string) (version int, err error) {
	cut := strings.LastIndexByte(strings.TrimSuffix(text, "\n"), '\n') + 1
	sum := sha256.Sum256([]byte(text[:cut]))
	if text[cut:] != hex.EncodeToString(sum[:])+"\n" {
		return 0, fmt.Errorf("torn: %d bytes that end with %q", len(text), text[cut:])
	}
	if _, err := fmt.Sscanf(text, "version %d\n", &version); err != nil {
		return 0, fmt.Errorf("no version in it: %w", err)
	}
	if line := fmt.Sprintf("version %d\n", version); strings.Count(text, line)*len(line) != cut {
		return 0, fmt.Errorf("torn: not all lines are of version %d", version)
	}
	return version, nil
}
