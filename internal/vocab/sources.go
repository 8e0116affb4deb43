package vocab

import "time"

// Source says where a file of a share comes from. The file is kept as fresh as that is.
// Exactly one of File, Command, Secret, GitHubApp and OAuth is set. A record keeps it, and never what it gives.
type Source struct {
	// Name is the file's name in the share; with slashes it lies in directories.
	Name string `json:"name"`
	// File is the absolute path of a file of the host, which is followed.
	File string `json:"file,omitempty"`
	// Command is a program of the host and its arguments: what it prints is the file.
	Command []string `json:"command,omitempty"`
	// Secret is the name of a secret that the gateway keeps.
	Secret string `json:"secret,omitempty"`
	// GitHubApp is an installation of a GitHub App: its token, and git's credential file with that,
	// are files below Name.
	GitHubApp *GitHubApp `json:"githubApp,omitempty"`
	// OAuth is the absolute path of a file of the host with a refresh token: the access token that
	// it gives is a file below Name.
	OAuth string `json:"oauth,omitempty"`
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

// GitHubApp says which token GitHub is asked for.
type GitHubApp struct {
	App          string   `json:"app"`                    // its id or its client id
	Installation int64    `json:"installation"`           // the id of its installation
	Key          string   `json:"key"`                    // the absolute path of its private key, a file of the host
	Repositories []string `json:"repositories,omitempty"` // NAME or OWNER/NAME; none for all of the installation's
	URL          string   `json:"url,omitempty"`          // where people see GitHub; "" for https://github.com
}
