package vocab

import (
	"io/fs"
	"time"
)

// PathStat describes what a path names in a sandbox. Its JSON is docker's.
type PathStat struct {
	Name    string      `json:"name"`
	Size    int64       `json:"size"`
	Mode    fs.FileMode `json:"mode"`
	ModTime time.Time   `json:"mtime"`
	// LinkTarget is where a symbolic link leads in the end, from the sandbox's root.
	LinkTarget string `json:"linkTarget,omitempty"`
}

// CopyTask is one part of a copy between a VM and its host. The guest init does it.
type CopyTask struct {
	// Do is CopyStat (a PathStat as JSON comes out), CopyOut (an archive comes out) or CopyIn
	// (an archive goes in).
	Do   string `json:"do"`
	Path string `json:"path"` // absolute, in the sandbox
}

// What a CopyTask can do.
const (
	CopyStat = "stat"
	CopyOut  = "out"
	CopyIn   = "in"
)

// CopyNoPath is the exit code of a CopyTask whose path names nothing. 1 is all other
// failures; a line on standard error says why.
const CopyNoPath = 2
