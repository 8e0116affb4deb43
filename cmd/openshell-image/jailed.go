package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/images/source"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/internal/inode"
)

// inside is the argument for the process in the jail.
const inside = "inside"

// The descriptor of an archive in the jail, and where a directory is there.
const (
	archiveFD = 3
	sourceDir = "/source"
)

// order is what the process in the jail is told.
type order struct {
	images.Task
	Archive bool `json:"archive"` // it has one, as archiveFD
}

// runJailed has the task done by this program in a jail, which answers on this process's
// standard output. An error means that it has not; an ExitError, that it crashed or was killed.
func runJailed(ctx context.Context, task images.Task) error {
	runtime.LockOSThread() // the jail dies with the thread that started it
	cfg, err := jailFor(ctx, &task)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var files []*os.File
	if task.Given.File != nil {
		files = append(files, task.Given.File)
	}
	c, err := jail.Command(self, cfg, files...)
	if err != nil {
		return err
	}
	in, toIt, err := os.Pipe()
	if err != nil {
		c.Close()
		return err
	}
	defer toIt.Close() // it ends then, if it has not yet
	c.Stdin, c.Stdout, c.Stderr = in, os.Stdout, os.Stderr
	err = c.Start()
	in.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Process.Kill() })()
	if _, err := c.Report(); err != nil {
		_ = c.Wait()
		return err
	}
	if err := json.NewEncoder(toIt).Encode(order{task, len(files) > 0}); err != nil {
		return err
	}
	if err := c.Wait(); ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// jailFor says what the process in the jail may have: this program, the store, and the
// source.
func jailFor(ctx context.Context, task *images.Task) (jail.Config, error) {
	ref, err := source.Parse(task.Request.Reference)
	if err != nil {
		return jail.Config{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return jail.Config{}, err
	}
	binds, err := jail.Program(ctx, self)
	if err != nil {
		return jail.Config{}, err
	}
	cfg := jail.Config{
		Name: fmt.Sprintf("image-%d", os.Getpid()), Profile: jail.Unpacker, Path: self, Args: []string{inside}, Env: []string{},
		Binds: append(binds, jail.Bind{Source: task.Request.Dir, Target: task.Request.Dir, Writable: true}),
		Tasks: 1024, Require: task.Request.RequireJail,
	}
	switch ref.Kind {
	case source.Registry:
		cfg.Network = true
		cfg.Env, cfg.Binds = networkEnv(os.LookupEnv), append(cfg.Binds, networkFiles(os.Getenv)...)
	case source.OCI:
		task.Given.Dir = sourceDir
		layout, err := layoutFiles(ref.Path)
		if err != nil {
			return cfg, err
		}
		cfg.Binds = append(cfg.Binds, layout...)
		if os.Geteuid() == 0 {
			cfg.Caps = []string{"CAP_DAC_READ_SEARCH"} // the directory may be another user's
		}
	}
	return cfg, nil
}

// layoutFiles are what of a directory belongs to an OCI layout. The rest of it may be anything,
// as in oci:/tmp. None of it may be a link: the jail would follow that out of the directory.
func layoutFiles(dir string) (binds []jail.Bind, err error) {
	for _, name := range []string{"index.json", "blobs"} {
		source := filepath.Join(dir, name)
		var st unix.Stat_t
		if err := unix.Lstat(source, &st); err != nil {
			return nil, fmt.Errorf("it is no OCI layout: %w", &fs.PathError{Op: "lstat", Path: name, Err: err})
		}
		if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG {
			return nil, fmt.Errorf("it is no OCI layout: %s is neither a file nor a directory", name)
		}
		binds = append(binds,
			jail.Bind{Source: source, Is: inode.ID{Device: uint64(st.Dev), Inode: st.Ino}, Target: filepath.Join(sourceDir, name)})
	}
	return binds, nil
}

// networkEnv is what of the environment says how a registry is reached and known.
func networkEnv(lookup func(string) (string, bool)) (env []string) {
	for _, key := range []string{
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
	} {
		if value, ok := lookup(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// The host's files by which names are resolved and registries known: those that Go's packages
// net and crypto/x509 read, and what is linked to from the directories.
var (
	nameFiles = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"}
	certDirs  = []string{"/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"}
	certFiles = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem"}
)

// networkFiles returns those that there are.
func networkFiles(getenv func(string) string) (binds []jail.Bind) {
	dirs := append(filepath.SplitList(getenv("SSL_CERT_DIR")), certDirs...)
	files := append([]string{getenv("SSL_CERT_FILE")}, append(certFiles, nameFiles...)...)
	show := func(file string) {
		if _, err := os.Stat(file); err == nil && filepath.IsAbs(file) && filepath.Clean(file) != "/" {
			binds = append(binds, jail.Bind{Source: file, Target: filepath.Clean(file)})
		}
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		show(dir)
	}
	for _, file := range files {
		for _, name := range links(file) {
			if !slices.ContainsFunc(binds, func(b jail.Bind) bool { return strings.HasPrefix(name, b.Target+"/") }) {
				show(name)
			}
		}
	}
	return binds
}

// links returns a file and what it leads to, one link after the other: a link in a directory
// of the jail needs the next one.
func links(file string) (names []string) {
	for len(names) < 10 {
		names = append(names, filepath.Clean(file))
		next, err := os.Readlink(file)
		if err != nil {
			break
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(file), next)
		}
		file = next
	}
	return names
}

// unpack does the task on in, and writes what comes of it to out.
func unpack(ctx context.Context, in io.Reader, out *json.Encoder) {
	var o order
	if err := read(in, &o); err != nil {
		answer(out, nil, err)
		return
	}
	if o.Archive {
		o.Given.File = os.NewFile(archiveFD, "archive")
	}
	image, err := images.Make(ctx, o.Task, teller(out))
	answer(out, &image, err)
}
