package jail

import (
	"slices"
	"strings"
)

// Report is what a started jail really has.
type Report struct {
	Profile      Profile  `json:"profile"`
	Namespaces   []string `json:"namespaces"`   // kinds of which it has its own
	Mounts       []string `json:"mounts"`       // "/path ro", in the order they were made
	Capabilities []string `json:"capabilities"` // when the program starts
	NoNewPrivs   bool     `json:"noNewPrivs"`
	Seccomp      bool     `json:"seccomp"`
	LandlockABI  int      `json:"landlockABI"`  // 0: none
	NoFile       uint64   `json:"noFile"`       // descriptors
	NewProcesses bool     `json:"newProcesses"` // whether it may start any
	Tasks        uint64   `json:"tasks"`        // processes and threads; 0: not limited
	Cgroups      []string `json:"cgroups"`      // directories of the cgroups that it is in
	NoCgroup     string   `json:"noCgroup"`     // why it is in none
	Missing      []Gap    `json:"missing"`      // what this host can't give
	ProfileLacks []string `json:"profileLacks"` // what the program keeps, by design
}

// Gap is one thing that a host can't give, and why.
type Gap struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

func (r *Report) miss(name string, why error) {
	r.Missing = append(r.Missing, Gap{Name: name, Why: why.Error()})
}

// Verdict says in one line for people what the jail lacks: what its program keeps by
// design, and what this host can't give. It is "complete" if nothing is missing.
func (r Report) Verdict() string {
	lacks := slices.Clone(r.ProfileLacks)
	for _, gap := range r.Missing {
		lacks = append(lacks, "no "+gap.Name+": "+gap.Why)
	}
	if len(lacks) == 0 {
		return "complete"
	}
	return strings.Join(lacks, "; ")
}

// message is what the jail writes to its parent: one without Error before the exec, and
// one with Error if a step or the exec failed.
type message struct {
	Report Report `json:"report"`
	Error  string `json:"error,omitempty"`
	Hint   string `json:"hint,omitempty"` // what to do about it
}
