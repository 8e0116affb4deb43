package vocab

// ShownShare is a share of the user's own that a sandbox sees, read-only.
type ShownShare struct {
	Name   string `json:"name"`
	Target string `json:"target"` // where the sandbox sees it
}
