// Package api is the contract between openshell-vm and openshell-gateway: HTTP/JSON on a unix
// socket, these types, and a client for them.
//
// Every request has the header Openshell-Api: 1 (Version). The gateway accepts its own version
// and the one before. It accepts requests only from its own user and from root, by peer
// credentials. Only VerifyRequest can hold a token, and it only goes to the gateway. No type
// here can hold a key.
//
//	GET    /v1/status                      Status
//	POST   /v1/stop                        the gateway ends; sandboxes go on
//	GET    /v1/doctor                      Doctor
//	POST   /v1/sandboxes                   CreateRequest → Sandbox (not started)
//	GET    /v1/sandboxes                   []Sandbox
//	GET    /v1/sandboxes/{ref}             Sandbox
//	POST   /v1/sandboxes/{ref}/start       → Sandbox
//	POST   /v1/sandboxes/{ref}/stop        StopRequest → Sandbox
//	POST   /v1/sandboxes/{ref}/signal      SignalRequest
//	GET    /v1/sandboxes/{ref}/wait        → WaitResult, once it has ended
//	DELETE /v1/sandboxes/{ref}[?force=1]
//	GET    /v1/sandboxes/{ref}/logs[?follow=1]      frames (package stream), ended by Exit 0 or Error
//	POST   /v1/sandboxes/{ref}/attach[?replay=1]    upgrade to frames
//	POST   /v1/sandboxes/{ref}/exec                 ExecRequest, upgrade to frames
//	POST   /v1/sandboxes/{ref}/launch               ExecRequest → LaunchResult
//	GET    /v1/sandboxes/{ref}/archive/stat?path=   FoundPath
//	GET    /v1/sandboxes/{ref}/archive?path=        frames: a tar archive (Stdout), ended by Exit 0 or Error
//	POST   /v1/sandboxes/{ref}/archive?path=        upgrade to frames: a tar archive (Stdin)
//	GET    /v1/sandboxes/{ref}/usage       Usage
//	GET    /v1/sandboxes/{ref}/token       Token
//	POST   /v1/sandboxes/{ref}/token/rotate → Token
//	POST   /v1/token/verify                VerifyRequest → VerifyResult
//	POST   /v1/shares                      ShareRequest → Share, for a container of the user's own
//	GET    /v1/shares                      []Share, those of the user's own
//	GET    /v1/shares/{ref}                Share, a sandbox's too
//	POST   /v1/shares/{ref}/files          FilesRequest → Share
//	POST   /v1/shares/{ref}/wait           SeenRequest → SeenResult, a sandbox's too, once it is seen
//	POST   /v1/shares/{ref}/tokens         TokensRequest → Share, a sandbox's too
//	POST   /v1/shares/{ref}/sources        SourcesRequest → Share, a sandbox's too
//	DELETE /v1/shares/{ref}[?force=1]
//	POST   /v1/volumes                     VolumeRequest → Volume
//	GET    /v1/volumes                     []Volume
//	GET    /v1/volumes/{name}              Volume
//	DELETE /v1/volumes/{name}
//	POST   /v1/images/pull[?pull=POLICY]   CreateRequest, frames: PullProgress (Control), ended by Exit 0 or Error
//	GET    /v1/images[?ref=REF]            []Image, those for VMs; with a ref only that one
//	DELETE /v1/images?ref=REF              → Freed
//	POST   /v1/images/prune[?all=1]        → Freed
//	GET    /v1/keys                        []Key
//	POST   /v1/keys/rotate                 → RotateResult
//	DELETE /v1/keys/{kid}[?force=1]        → RotateResult
//	GET    /v1/config                      Config
//	POST   /v1/config/reload               → Reloaded
//	GET    /v1/issuer                      Issuer
//	GET    /.well-known/jwks.json          JSON Web Key Set; no version header needed
//	GET    /.well-known/openid-configuration  the discovery document, likewise; errors of both are plain text
//	GET    /metrics                        Prometheus' text format
//	GET    /healthz                        200 while the gateway serves
//
// An upgrade to frames is session 0 of package stream. It has credit if both sides send the
// header Openshell-Stream: credit. An older side does not send it, and gets no credit.
//
// An Error frame's payload is an Error as JSON.
//
// A ref is a sandbox's name, its id, or a prefix that is unique among the ids.
package api

import (
	"time"

	"openshell-vm/internal/vocab"
)

// Version is the API's version, sent with each request.
const Version = 1

// Header names the API version of a request.
const Header = "Openshell-Api"

// UpgradeProtocol is the Upgrade header's value on attach and exec.
const UpgradeProtocol = "openshell-stream"

// A side that gives and heeds credit sends StreamHeader with the value StreamCredit.
const (
	StreamHeader = "Openshell-Stream"
	StreamCredit = "credit"
)

// Error codes. The CLI decides by them; people read Message and Hint.
const (
	CodeInvalid    = "invalid"     // bad request: 400
	CodeNotFound   = "not-found"   // 404
	CodeConflict   = "conflict"    // a name taken, a wrong state: 409
	CodeDriver     = "driver"      // the engine failed: 502
	CodeVersion    = "api-version" // 426
	CodeForbidden  = "forbidden"   // peer credentials: 403
	CodeInternal   = "internal"    // 500
	CodeOverloaded = "no-room"     // disk, memory or descriptors: 507
	CodeEnding     = "ending"      // this gateway ends, perhaps for a newer one, and the sandbox goes on: 503, or in a stream

	CodeNotSeen = "not-seen" // a generation is not seen, or that is not known: 504

	CodeNotExecutable = "not-executable" // the command can't be executed: 422, the CLI exits with 126
	CodeNoCommand     = "no-command"     // there is no such command: 422, the CLI exits with 127
)

// Error is the gateway's answer with any status of 400 or more.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`        // one line: what failed and why
	Hint    string `json:"hint,omitempty"` // one line: what to do
}

// Error returns the line without the hint.
func (e *Error) Error() string { return e.Message }

// Size is a terminal window in character cells.
type Size = vocab.Size

// Process is what to run. Empty Args mean the image's command, or a shell.
type Process = vocab.Process

// Mount is a directory of the host, or a volume, that a sandbox sees: read-only, unless Writable.
type Mount = vocab.Mount

// CreateRequest asks for one sandbox.
type CreateRequest struct {
	Name        string        `json:"name,omitempty"` // "" for a generated one
	Driver      string        `json:"driver"`         // auto, vm, docker, podman
	Hypervisor  string        `json:"hypervisor"`     // auto, krun, qemu
	Rootfs      string        `json:"rootfs,omitempty"`
	Image       string        `json:"image,omitempty"`
	Process     Process       `json:"process"`
	Entrypoint  string        `json:"entrypoint,omitempty"` // with an image: replaces its own
	Stdin       bool          `json:"stdin,omitempty"`
	Ephemeral   bool          `json:"ephemeral,omitempty"`
	AutoRemove  bool          `json:"autoRemove,omitempty"`  // --rm: remove it once it has ended
	RequireJail bool          `json:"requireJail,omitempty"` // refuse, now and at each start, a host that can't confine the VM fully
	CPUs        float64       `json:"cpus,omitempty"`
	Memory      int64         `json:"memory,omitempty"` // bytes
	Disk        int64         `json:"disk,omitempty"`   // bytes of a VM's disk; 0 means the default
	Mounts      []Mount       `json:"mounts,omitempty"`
	TTL         time.Duration `json:"ttl,omitempty"` // token lifetime, ns; 0 means the default of 1 h
	TokenUser   string        `json:"tokenUser,omitempty"`
	Inotify     bool          `json:"inotify,omitempty"` // a VM keeps a mirror of the share, which tells programs of changes

	Network     string   `json:"network,omitempty"`     // user or none; "" means the driver's default
	AllowHost   []uint16 `json:"allowHost,omitempty"`   // ports of the host's loopback that a VM may reach
	AllowEgress []string `json:"allowEgress,omitempty"` // NAME[:PORT]; if there is one, a VM reaches nothing else
	Ports       []Port   `json:"ports,omitempty"`

	Labels  map[string]string `json:"labels,omitempty"`
	Restart RestartPolicy     `json:"restart,omitzero"`

	Tokens  Tokens       `json:"tokens,omitzero"`
	Sources []Source     `json:"sources,omitempty"` // of further files in the share
	At      string       `json:"at,omitempty"`      // where it sees its own share; "" for the usual place
	Shares  []ShownShare `json:"shares,omitempty"`  // shares of the user's own that it sees, too
	OnRenew OnRenew      `json:"onRenew,omitzero"`
}

// Source says where a file of a share comes from.
type Source = vocab.Source

// GitHubApp says which token GitHub is asked for.
type GitHubApp = vocab.GitHubApp

// Tokens are the tokens that a sandbox has beside the one for the gateway, and what they say.
type Tokens = vocab.Tokens

// TokenFile is a file of a share that holds a token for one audience.
type TokenFile = vocab.TokenFile

// TokenPresets are the values of TokenFile.Preset.
var TokenPresets = []string{"anthropic", "openai", "aws", "gcp", "azure"}

// Values of CreateRequest.Network.
const (
	NetworkUser = vocab.NetworkUser
	NetworkNone = vocab.NetworkNone
)

// Port is a port of the host that leads to one of a sandbox.
type Port = vocab.Port

// ProtocolUDP is Port.Protocol for UDP; TCP is "".
const ProtocolUDP = vocab.ProtocolUDP

// RestartPolicy says when the gateway starts a sandbox again that ended by itself.
type RestartPolicy = vocab.RestartPolicy

// Names of restart policies.
const (
	RestartNo            = vocab.RestartNo
	RestartOnFailure     = vocab.RestartOnFailure
	RestartAlways        = vocab.RestartAlways
	RestartUnlessStopped = vocab.RestartUnlessStopped
)

// State is the state of a sandbox.
type State = vocab.State

// Values of Sandbox.State.
const (
	StateCreated    = vocab.Created // it has never run
	StateRunning    = vocab.Running
	StateExited     = vocab.Exited // with an exit code
	StateDead       = vocab.Dead   // it ended without one, or is lost
	StateStarting   = vocab.Starting
	StateStopping   = vocab.Stopping
	StateUnknown    = vocab.Unknown    // its engine has not answered yet
	StateUnreadable = vocab.Unreadable // its record can't be used
	StateRestarting = vocab.Restarting // it ended, and its restart policy starts it again soon
)

// Values of Sandbox.Desired.
const (
	WantRunning = vocab.WantRunning
	WantStopped = vocab.WantStopped
	WantGone    = vocab.WantGone // it is being removed
)

// Sandbox is one sandbox as people see it.
type Sandbox struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	Driver     string  `json:"driver"`
	Hypervisor string  `json:"hypervisor,omitempty"` // the chosen one, for vm
	State      State   `json:"state"`
	Desired    string  `json:"desired"` // WantRunning, WantStopped, WantGone
	ExitCode   *int    `json:"exitCode,omitempty"`
	Reason     string  `json:"reason,omitempty"`   // one line, if something is wrong
	Progress   string  `json:"progress,omitempty"` // one line while it starts: what takes long
	Rootfs     string  `json:"rootfs,omitempty"`
	Image      string  `json:"image,omitempty"`
	Process    Process `json:"process"`
	Mounts     []Mount `json:"mounts,omitempty"`
	Ports      []Port  `json:"ports,omitempty"` // of this host, while it runs
	CPUs       float64 `json:"cpus,omitempty"`
	Memory     int64   `json:"memory,omitempty"`
	Disk       int64   `json:"disk,omitempty"`
	AutoRemove bool    `json:"autoRemove,omitempty"`

	Labels   map[string]string `json:"labels,omitempty"`
	Restart  RestartPolicy     `json:"restart,omitzero"`
	Restarts int               `json:"restarts,omitempty"` // by that policy, since a user started it

	CreatedAt time.Time     `json:"createdAt"`
	StartedAt time.Time     `json:"startedAt,omitzero"`
	ExitedAt  time.Time     `json:"exitedAt,omitzero"`
	Share     string        `json:"share"` // the host directory that the sandbox sees
	TTL       time.Duration `json:"ttl"`
	AuthMode  AuthMode      `json:"authMode"` // never ""
	Token     Token         `json:"token"`
	Tokens    Tokens        `json:"tokens,omitzero"`
	Sources   []SourceState `json:"sources,omitempty"`  // of further files in the share
	At        string        `json:"at"`                 // where it sees its own share
	Shares    []SeenShare   `json:"shares,omitempty"`   // shares of the user's own that it sees, too
	OnRenew   *OnRenewState `json:"onRenew,omitempty"`  // nil if nothing is asked for
	Warnings  []string      `json:"warnings,omitempty"` // one line each, such as a TTL that some SDKs outlive
	Details   []Fact        `json:"details,omitempty"`  // the driver's own facts, for inspect
}

// Token is what is known of a sandbox's token, but not the token itself.
type Token struct {
	Generation     uint64    `json:"generation"`
	KeyID          string    `json:"keyId"`
	TokenID        string    `json:"tokenId"` // jti
	IssuedAt       time.Time `json:"issuedAt"`
	ExpiresAt      time.Time `json:"expiresAt"`
	Revoked        bool      `json:"revoked,omitempty"`        // verifiers refuse it: the key that signed it is retired
	RenewAt        time.Time `json:"renewAt"`                  // when the gateway will renew it
	SeenGeneration uint64    `json:"seenGeneration,omitempty"` // the newest generation that the sandbox is known to have seen
	Renewals       uint64    `json:"renewals"`                 // successful renewals since the gateway started
	Failures       int       `json:"failures"`                 // failed tries since the last success
	LastError      string    `json:"lastError,omitempty"`
	LastErrorAt    time.Time `json:"lastErrorAt,omitzero"`
	// Problem is one line about a user's own token: why the content of its file is not published,
	// or that it expires.
	Problem string `json:"problem,omitempty"`

	Seen

	// Files are the tokens for other audiences in the same generation.
	Files []IssuedToken `json:"files,omitempty"`
}

// IssuedToken is what is known of a token for another audience, but not the token itself.
type IssuedToken struct {
	File      string    `json:"file"`
	Audience  string    `json:"audience"`
	Algorithm string    `json:"alg"`
	Subject   string    `json:"subject"`
	KeyID     string    `json:"keyId"`
	TokenID   string    `json:"tokenId,omitempty"` // jti; "" if it has none
	IssuedAt  time.Time `json:"issuedAt"`
	ExpiresAt time.Time `json:"expiresAt"`
	RenewAt   time.Time `json:"renewAt"`
	Revoked   bool      `json:"revoked,omitempty"` // verifiers refuse it: the key that signed it is retired
}

// StopRequest bounds how long the workload may take to end.
type StopRequest struct {
	Grace time.Duration `json:"grace"` // ns
}

// SignalRequest sends a signal to the workload's main process.
type SignalRequest struct {
	Signal int `json:"signal"`
}

// ExecRequest runs a command in a running sandbox.
type ExecRequest struct {
	Process Process `json:"process"`
	Stdin   bool    `json:"stdin,omitempty"`
}

// WaitResult says how a sandbox ended.
type WaitResult struct {
	ExitCode int    `json:"exitCode"`
	Reason   string `json:"reason,omitempty"`
}

// VerifyRequest asks to check a token. It is never logged.
type VerifyRequest struct {
	Token    string        `json:"token"`
	Leeway   time.Duration `json:"leeway"`             // ns; 0 means none
	Audience string        `json:"audience,omitempty"` // whom it has to be for; "" for the gateway
}

// VerifyResult says whether a token is good now, and what it claims.
type VerifyResult struct {
	Valid      bool      `json:"valid"`
	Problem    string    `json:"problem,omitempty"`   // one line, if it is not valid
	SandboxID  string    `json:"sandboxId,omitempty"` // "" if it is that of a pod
	Subject    string    `json:"subject,omitempty"`
	KeyID      string    `json:"keyId,omitempty"`
	Generation uint64    `json:"generation,omitempty"`
	IssuedAt   time.Time `json:"issuedAt,omitzero"`
	ExpiresAt  time.Time `json:"expiresAt,omitzero"`
}

// Status is the gateway's own state.
type Status struct {
	ID         string    `json:"id"`
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	StartedAt  time.Time `json:"startedAt"`
	StateDir   string    `json:"stateDir"`
	RuntimeDir string    `json:"runtimeDir"`
	Socket     string    `json:"socket,omitempty"` // where this API and the JWKS are served
	Supervisor string    `json:"supervisor"`       // systemd, parent or none
	Unit       string    `json:"unit,omitempty"`   // the user's own unit that runs it
	Sandboxes  int       `json:"sandboxes"`
	Running    int       `json:"running"`
	Shares     int       `json:"shares"`  // for containers of the user's own
	Failing    int       `json:"failing"` // sandboxes and shares whose last renewal failed

	Unreadable  []Unreadable `json:"unreadable,omitempty"`
	Advice      []string     `json:"advice,omitempty"`      // one line each: what will end or hide sandboxes here, and what to do
	Short       []string     `json:"short,omitempty"`       // one line for each disk with tokens that has little room
	Environment *Environment `json:"environment,omitempty"` // nil from an older gateway
	Further     []Fact       `json:"further,omitempty"`     // one line each, about what is configured
}

// Values of Unreadable.Kind.
const (
	KindSandbox = "sandbox"
	KindShare   = "share"
)

// Unreadable is a record that can't be used. It is left as it is, and its token is not
// renewed.
type Unreadable struct {
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"` // "" if not known
	Kind    string `json:"kind,omitempty"` // KindSandbox or KindShare; "" if not known
	Problem string `json:"problem"`        // one line
}

// Fact is one named line of doctor or inspect.
type Fact = vocab.Fact

// DriverReport is doctor's finding about one driver.
type DriverReport struct {
	Name    string `json:"name"`
	Usable  bool   `json:"usable"`
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Version string `json:"version,omitempty"`
	Details []Fact `json:"details,omitempty"`
}

// Doctor says what auto would choose, and why.
type Doctor struct {
	Chosen  string         `json:"chosen"` // the driver that auto takes; "" if none works
	Why     string         `json:"why"`    // one line
	Drivers []DriverReport `json:"drivers"`
	Host    []Fact         `json:"host"` // state and runtime directories, file system types, time sync, …
}
