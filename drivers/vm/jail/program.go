package jail

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// loaderCache tells the loader where libraries lie.
const loaderCache = "/etc/ld.so.cache"

// Program returns the binds that a program needs to start: itself, the given plug-ins,
// its loader, and the libraries that they are linked with, each file at its own path.
// The caller adds what the program loads by name later.
//
// Program asks the loader itself, which knows its cache and search paths. The loader
// maps the files but runs none of their code.
func Program(ctx context.Context, path string, plugins ...string) ([]Bind, error) {
	seen := map[string]bool{}
	var binds []Bind
	add := func(file string) {
		if !seen[file] {
			seen[file] = true
			binds = append(binds, Bind{Source: file, Target: filepath.Clean(file), Exec: true})
		}
	}
	loader, err := interpreter(path)
	if err != nil {
		return nil, err
	}
	if loader != "" {
		add(loader)
		if _, err := os.Stat(loaderCache); err == nil {
			binds = append(binds, Bind{Source: loaderCache, Target: loaderCache})
		}
	}
	for _, file := range append([]string{path}, plugins...) {
		add(file)
		if loader == "" {
			continue // static
		}
		libraries, err := linked(ctx, loader, file)
		if err != nil {
			return nil, err
		}
		for _, l := range libraries {
			add(l)
		}
	}
	return binds, nil
}

// interpreter returns the loader that an executable names; "" for a static one.
func interpreter(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			return strings.TrimRight(string(name), "\x00"), err
		}
	}
	return "", nil
}

// linked asks the loader for the libraries of file.
func linked(ctx context.Context, loader, file string) ([]string, error) {
	cmd := exec.CommandContext(ctx, loader, "--list", file)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.New(strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("find the libraries of %s: %w", file, err)
	}
	return parseList(string(out))
}

// parseList reads lines like "libc.so.6 => /lib/libc.so.6 (0x7f…)". Lines without "=>"
// are the kernel's own object and the loader.
func parseList(out string) ([]string, error) {
	var files []string
	for line := range strings.Lines(out) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if !ok {
			continue
		}
		if rest == "not found" {
			return nil, fmt.Errorf("library %s is not installed", name)
		}
		i := strings.LastIndex(rest, " (")
		if i < 0 || !filepath.IsAbs(rest) {
			return nil, fmt.Errorf("the loader's line %q is not understood", strings.TrimSpace(line))
		}
		files = append(files, rest[:i])
	}
	return files, nil
}
