// Package config reads what an image's maker wrote of how to run it, and puts it together
// with what a user asked for, exactly as docker run does.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"openshell-vm/internal/fault"
	"openshell-vm/internal/vocab"
)

// Config is what an image says of how to run it. All of it is the word of the image's
// maker, and nothing more.
type Config struct {
	Entrypoint, Cmd, Env []string
	User, Dir            string
	StopSignal           string
	Volumes, Ports       []string // sorted
	Labels               map[string]string
	Architecture         string
	Created              string // RFC 3339; "" if it does not say
	History              int    // steps
}

// Read reads an image's configuration.
func Read(raw []byte) (Config, error) {
	var f v1.ConfigFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return Config{}, fmt.Errorf("the image's configuration can't be read: %w", err)
	}
	c := Config{
		Entrypoint: f.Config.Entrypoint, Cmd: f.Config.Cmd, Env: f.Config.Env, User: f.Config.User, Dir: f.Config.WorkingDir,
		StopSignal: f.Config.StopSignal, Labels: f.Config.Labels, Architecture: f.Architecture, History: len(f.History),
		Volumes: slices.Sorted(maps.Keys(f.Config.Volumes)), Ports: slices.Sorted(maps.Keys(f.Config.ExposedPorts)),
	}
	if !f.Created.IsZero() {
		c.Created = f.Created.UTC().Format("2006-01-02T15:04:05Z")
	}
	return c, nil
}

// ErrNoCommand means that neither the image nor the user names a command.
var ErrNoCommand = errors.New("it has no command, and none is given")

// Process is what to run: the user's p, completed by the image. entrypoint is the user's,
// and "" if there is none. A command takes the place of the image's Cmd, and keeps its
// entry point; an entry point takes the place of both.
func (c Config) Process(p vocab.Process, entrypoint string) (vocab.Process, error) {
	command, args := c.Entrypoint, c.Cmd
	if entrypoint != "" {
		command, args = []string{entrypoint}, nil
	}
	if len(p.Args) > 0 {
		args = p.Args
	}
	p.Args = slices.Concat(command, args)
	if len(p.Args) == 0 || p.Args[0] == "" {
		return p, &fault.Error{Err: ErrNoCommand, Hint: "put a command after the image's name, such as sh"}
	}
	p.Env = environment(c.Env, p.Env)
	if p.User == "" {
		p.User = c.User
	}
	if p.Dir == "" {
		p.Dir = path.Join("/", c.Dir)
	}
	return p, nil
}

// environment lets the user's variables take the place of the image's. What is no variable
// is left out.
func environment(image, user []string) (env []string) {
	taken := map[string]bool{}
	for _, kv := range user {
		key, _, _ := strings.Cut(kv, "=")
		taken[key] = true
	}
	for _, kv := range image {
		key, _, ok := strings.Cut(kv, "=")
		if ok && key != "" && !taken[key] && !strings.ContainsRune(kv, 0) {
			env = append(env, kv)
		}
	}
	return append(env, user...)
}

// Signal is the number of the signal that asks the workload to end. ok is false if the
// image names none, or none that Linux knows.
func (c Config) Signal() (n int, ok bool) { return vocab.Signal(c.StopSignal) }

// Dirs are the directories that a sandbox of the image has to have: the volumes and the
// working directory. Outer ones come first.
func (c Config) Dirs(p vocab.Process) (dirs []string) {
	for _, dir := range append(slices.Clone(c.Volumes), p.Dir) {
		if dir = path.Join("/", dir); dir != "/" && !strings.ContainsRune(dir, 0) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
