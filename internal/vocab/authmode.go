package vocab

// AuthMode says who makes the token that a sandbox reads, and who keeps it fresh. It is the
// contract with what runs inside: programs find it in OPENSHELL_SANDBOX_AUTH_MODE and in
// metadata.json. docs/auth-modes.md has a table of them.
type AuthMode string

// The auth modes. A record, a request or a Spec without one has ManagedFile.
const (
	// ManagedFile: the gateway mints the token and replaces the file before it expires.
	ManagedFile AuthMode = "gateway-managed-file"
	// StaticToken: the user gives a token of their own in a file of the host, which the gateway
	// follows. It never mints or changes it.
	StaticToken AuthMode = "static-token"
	// KubernetesExchange: Kubernetes writes a ServiceAccount's token into the pod, and the pod
	// exchanges it at the gateway. No sandbox of this gateway's has it.
	KubernetesExchange AuthMode = "kubernetes-service-account-exchange"
	// SupervisorPush is retired; ManagedFile took its place. It is refused.
	SupervisorPush AuthMode = "gateway-managed-supervisor-push"
)

// AuthModes are all of them, the refused one last.
var AuthModes = []AuthMode{ManagedFile, StaticToken, KubernetesExchange, SupervisorPush}

// Known returns the mode, or ManagedFile in place of none.
func (m AuthMode) Known() AuthMode {
	if m == "" {
		return ManagedFile
	}
	return m
}
