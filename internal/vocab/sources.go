package vocab

import "time"

// Source says where a file of a share comes from. The file is kept as fresh as that is.
// Exactly one of File, Command and Secret is set. A record keeps it, and never what it gives.
type Source struct {
	// Name is the file's name in the share; with slashes it lies in directories.
	Name string `json:"name"`
	// File is the absolute path of a file of the host, which is followed.
	File string `json:"file,omitempty"`
	// Command is a program of the host and its arguments: what it prints is the file.
	Command []string `json:"command,omitempty"`
	// Secret is the name of a secret that the gateway keeps.
	Secret string `json:"secret,omitempty"`
	// Every is how often the command runs, if what it prints has no expiry; 0 for the usual.
	Every time.Duration `json:"every,omitempty"`
	// Format is what the command prints, which says when that expires; "" for whatever is
	// recognized.
	Format string `json:"format,omitempty"`
	// Mode is the file's mode, without the right to write for others; 0 for 0444.
	Mode uint32 `json:"mode,omitempty"`
	// Owner owns the file, by the host's numbers; nil for the gateway's user.
	Owner *Owner `json:"owner,omitempty"`
}

// Owner is a user and a group, by their numbers on the host.
type Owner struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}
