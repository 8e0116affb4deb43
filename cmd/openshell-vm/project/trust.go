package project

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/text"
)

// What was agreed to is kept in the state directory, which no sandbox can have mounted to write to.
const (
	recordsDir = "projects"
	mostPlans  = 50      // that are remembered of a file, the newest ones
	maxRecord  = 1 << 20 // bytes
)

// record is what is remembered of a project file.
type record struct {
	File   string   `json:"file"`
	Agreed []string `json:"agreed"` // plans, the newest last
	// Written says that a plan let its sandbox write the file. A change may then be the sandbox's.
	Written bool     `json:"written,omitempty"`
	Lines   []string `json:"lines,omitempty"` // of the newest plan
}

// Agree asks for what needs consent, unless its user has given it before, and remembers it. With
// trust it is given. What needs consent is what the file asks of the host, and any change of a
// file that its sandbox could have written.
func (p *Project) Agree(trust bool) error {
	path, err := p.recordPath()
	if err != nil {
		return err
	}
	r, err := readRecord(path)
	if err != nil {
		return err
	}
	if slices.Contains(r.Agreed, p.Plan) {
		return nil
	}
	if wants := p.wants(r); len(wants) > 0 {
		if err := p.consent(wants, trust); err != nil {
			return err
		}
	} else if !p.written {
		return nil
	}
	r = record{File: p.Path, Agreed: append(r.Agreed, p.Plan), Written: r.Written || p.written, Lines: p.lines}
	r.Agreed = r.Agreed[max(0, len(r.Agreed)-mostPlans):]
	return r.write(path)
}

// wants is what needs consent, one line each.
func (p *Project) wants(r record) []string {
	var wants []string
	for i, what := range p.asks {
		where := ""
		if p.places[i] > 0 {
			where = fmt.Sprintf("line %d: ", p.places[i])
		}
		wants = append(wants, where+"it "+what)
	}
	if !r.Written {
		return wants
	}
	wants = append(wants, "it, or a file that it names, was changed, and a sandbox could have done that:")
	for _, line := range r.Lines {
		if !slices.Contains(p.lines, line) {
			wants = append(wants, "- "+line)
		}
	}
	for _, line := range p.lines {
		if !slices.Contains(r.Lines, line) {
			wants = append(wants, "+ "+line)
		}
	}
	return wants
}

// consent gets it from the terminal, or from a flag.
func (p *Project) consent(wants []string, trust bool) error {
	for i := range wants {
		wants[i] = text.Line(wants[i])
	}
	const needs = "needs your consent"
	told := func(what string) string {
		return fmt.Sprintf("%s: %s %s:\n  %s", say.Program, p.Path, what, strings.Join(wants, "\n  "))
	}
	switch {
	case trust:
		fmt.Fprintln(os.Stderr, told("has your consent by --trust"))
		return nil
	case !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stderr.Fd())):
		return say.Errorf("read it, then add --trust: that holds until it asks for something else", "%s %s: %s",
			p.Path, needs, strings.ReplaceAll(strings.Join(wants, "; "), ":; ", ": "))
	case !frame.Confirmed(os.Stdin, told(needs)):
		return say.Errorf("once it is as you want it, call the same command again", "%s has no consent, and nothing was done", p.Path)
	}
	return nil
}

func (p *Project) recordPath() (string, error) {
	state, err := api.StateDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(p.Path))
	return filepath.Join(state, recordsDir, hex.EncodeToString(sum[:16])+".json"), nil
}

func readRecord(path string) (r record, err error) {
	data, err := plainfile.Read(path, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, say.Errorf("remove it: the project file's consent is asked for anew", "read %s: %v", path, err)
	}
	return r, nil
}

func (r record) write(path string) error {
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = atomicfile.WriteJSON(path, r, atomicfile.Durable)
	}
	if err != nil {
		return say.Errorf("make the state directory writable", "keep the consent to the project file: %v", err)
	}
	return nil
}
