package drivers

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"openshell-vm/internal/vocab"
)

// Mount exposes a host directory inside a sandbox. It is always read-only, submounts too;
// a driver that cannot enforce that refuses the sandbox.
//
// Only NewMount makes a Mount with paths, so no driver sees an unchecked path.
type Mount struct {
	source string
	target string
	volume string // "" if the source is no volume's directory
}

// elsewhere is the hint where a target can't be had.
const elsewhere = "mount it somewhere else"

// MountElsewhere refuses a mount for what is at its target, or may not be there.
func MountElsewhere(source, target, why string) error {
	return &Error{Op: "mount " + source + " at " + target, Err: errors.New(why), Hint: elsewhere}
}

// NewMount checks both paths: absolute, clean, and not one that the sandbox
// needs for itself. It does not look at the file system.
func NewMount(source, target string) (Mount, error) {
	if !filepath.IsAbs(source) || filepath.Clean(source) != source {
		return Mount{}, fmt.Errorf("mount source %q is not a clean absolute path", source)
	}
	if !path.IsAbs(target) || path.Clean(target) != target {
		return Mount{}, fmt.Errorf("mount target %q is not a clean absolute path", target)
	}
	for _, p := range []string{source, target} {
		if strings.ContainsAny(p, "\x00\n") {
			return Mount{}, fmt.Errorf("mount path %q contains a NUL or a newline", p)
		}
	}
	switch top := "/" + strings.SplitN(strings.TrimPrefix(target, "/"), "/", 2)[0]; {
	case target == "/":
		return Mount{}, &Error{Err: errors.New("mount target / would hide the whole root"), Hint: elsewhere}
	case top == "/proc" || top == "/sys" || top == "/dev":
		err := fmt.Errorf("mount target %q lies in %s, which belongs to the sandbox's kernel", target, top)
		return Mount{}, &Error{Err: err, Hint: elsewhere}
	}
	return Mount{source: source, target: target}, nil
}

// NewVolume makes a Mount of a volume. The source is the volume's directory, which the gateway
// has made in its state directory: see JudgeMounts.
func NewVolume(name, source, target string) (Mount, error) {
	m, err := NewMount(source, target)
	m.volume = name
	return m, err
}

// Source is the directory on the host.
func (m Mount) Source() string { return m.source }

// Target is the path inside the sandbox.
func (m Mount) Target() string { return m.target }

// Volume is the name of the volume that the source belongs to; "" if it is a directory of
// the user's.
func (m Mount) Volume() string { return m.volume }

// MarshalJSON writes both paths and the volume's name; the zero Mount is null.
func (m Mount) MarshalJSON() ([]byte, error) {
	if m == (Mount{}) {
		return []byte("null"), nil
	}
	return json.Marshal(vocab.Mount{Source: m.source, Target: m.target, Volume: m.volume})
}

// UnmarshalJSON reads a Mount with NewMount's checks. So a path that NewMount refuses can't
// come from a stored Spec either.
func (m *Mount) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*m = Mount{}
		return nil
	}
	var j vocab.Mount
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	checked, err := NewVolume(j.Volume, j.Source, j.Target)
	if err == nil {
		*m = checked
	}
	return err
}

// Writable is a directory of the host that the sandbox may write to, because its user asked
// for that. It is a type of its own: what takes a Mount can't be given a writable one.
type Writable struct{ mount Mount }

// NewWritable checks both paths as NewMount does. volume is the name of the volume that the
// source belongs to; "" for a directory of the user's.
func NewWritable(source, target, volume string) (Writable, error) {
	m, err := NewVolume(volume, source, target)
	return Writable{m}, err
}

// Source is the directory on the host.
func (w Writable) Source() string { return w.mount.source }

// Target is the path inside the sandbox.
func (w Writable) Target() string { return w.mount.target }

// Volume is the name of the volume; "" if it is a directory of the user's.
func (w Writable) Volume() string { return w.mount.volume }

// MarshalJSON writes both paths and the volume's name.
func (w Writable) MarshalJSON() ([]byte, error) {
	return json.Marshal(vocab.Mount{Source: w.mount.source, Target: w.mount.target, Writable: true, Volume: w.mount.volume})
}

// UnmarshalJSON reads a Writable with NewWritable's checks.
func (w *Writable) UnmarshalJSON(data []byte) error {
	var j vocab.Mount
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	checked, err := NewWritable(j.Source, j.Target, j.Volume)
	if err == nil {
		*w = checked
	}
	return err
}
