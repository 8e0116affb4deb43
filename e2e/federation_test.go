//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/e2e/federation/provider"
)

// issuerURL is what the gateways of these tests say they are. Who fetches from there gets to the
// gateway's listener.
const issuerURL = "https://tokens.example.org"

// federation is a world whose gateway is an issuer, and a stand-in for all providers, in an
// engine's network.
type federation struct {
	*world
	*provider.Provider
	sdks      string // a directory for the sandbox: programs, and the authority's certificate
	listener  string // the gateway's, by which verifiers fetch keys
	address   string // the provider's, as the sandbox reaches it; "" for the host's as a VM has it
	client    *http.Client
	authority *provider.Authority

	// life is how long the tokens for providers live. They are renewed with sandbox.jwt, each 8
	// seconds: a call may be slow, but who keeps a token is refused before the end.
	life time.Duration
}

// TestFederation has the providers' own libraries go by what presets set, and by nothing else, in
// real sandboxes of each driver, in two processes at once. Over three renewals and a rotation of
// the keys no call may be refused, by who verifies by discovery and keeps keys as long as he may.
//
// `make e2e-federation` has more libraries take part: see scripts/federation.
func TestFederation(t *testing.T) {
	programs := federationPrograms(t)
	eachEngineAlone(t, func(t *testing.T, w *world, e engine) {
		f := newFederation(t, w, e.driver, programs)
		f.sandbox(e)
		calls := f.runTwice(programs)
		before, began := f.tokens(programs), time.Now()
		f.await("a renewal", before, 1, 1, programs)
		w.run("keys", "rotate")
		f.await("three renewals and a rotation", before, 4, 2, programs)
		w.eventually("the life of a first token is over", 2*f.life, func() bool { return time.Since(began) > f.life })
		w.run("exec", "agent", "touch", "/tmp/stop")
		t.Log(calls())
		for _, name := range slices.Concat(programs.providers, []string{"nobody"}) {
			s := f.Seen(name)
			t.Logf("%s: %d exchanges of %d tokens by %d keys, %d calls", name, s.Exchanges, s.Tokens, s.Keys, s.Calls)
			if len(s.Refused) > 0 || s.Late > 0 {
				t.Errorf("%s refused %q, and took %d tokens late", name, s.Refused, s.Late)
			}
		}
	})
}

// runTwice starts each program twice in the sandbox, and waits until all have called all providers.
// The returned function waits for their end, and returns how often they did.
func (f *federation) runTwice(programs federationSet) (calls func() []string) {
	f.Helper()
	var all sync.WaitGroup
	told := make(chan string, 2*len(programs.run))
	for _, command := range slices.Concat(programs.run, programs.run) {
		all.Go(func() {
			r := f.try(append([]string{"exec", "agent"}, command...)...)
			if r.code != 0 {
				f.Errorf("%v: exit code %d: %s", command, r.code, r.stderr)
			}
			told <- r.stdout
		})
	}
	f.Cleanup(func() { // they end with the sandbox
		f.run("rm", "-f", "agent")
		all.Wait()
	})
	f.eventually("each program has called all", 2*patience, func() bool {
		time.Sleep(time.Second) // asking costs an emulated guest much
		up := f.run("exec", "agent", "sh", "-c", "ls /tmp | grep -c '^up[.]' || :")
		return up == fmt.Sprintln(cap(told)) || f.Failed()
	})
	return func() (calls []string) {
		for range cap(told) {
			calls = append(calls, strings.Fields(<-told)...)
		}
		return calls
	}
}

// federationSet is what runs in the sandboxes.
type federationSet struct {
	dir       string     // to be mounted
	run       [][]string // commands, each to be run twice at once
	providers []string   // whom they call
}

// federationPrograms takes what OPENSHELL_FEDERATION names, which scripts/federation has made, or
// builds the libraries of the clouds for Go: those of the models take minutes.
func federationPrograms(t *testing.T) federationSet {
	set := federationSet{dir: os.Getenv("OPENSHELL_FEDERATION"), providers: []string{"aws", "gcp", "azure"}}
	if set.dir != "" {
		set.providers = append(set.providers, "anthropic", "openai")
	} else {
		set.dir = t.TempDir() // copied to where engines see it
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(set.dir, "sdks"), ".")
		build.Dir, build.Env = "federation/sdks", append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := build.CombinedOutput(); err != nil {
			testhost.Missing(t, "the providers' libraries for Go can't be built: %v\n%s", err, out)
		}
	}
	set.run = append(set.run, append([]string{"/sdks/sdks"}, set.providers...))
	if _, err := os.Stat(filepath.Join(set.dir, "node")); err == nil {
		set.run = append(set.run, append([]string{"/sdks/node", "/sdks/client.mjs"}, set.providers...))
	}
	return set
}

// newFederation starts the provider and configures the gateway.
func newFederation(t *testing.T, w *world, driver string, programs federationSet) *federation {
	t.Helper()
	network := map[string]string{"podman": "podman"}[driver]
	if network == "" {
		network = "docker" // a VM's gateway lives there, too
	}
	netns := testhost.FindEngine(t, network).Netns()
	if netns == nil {
		testhost.Missing(t, "only root enters the network of an engine")
	}
	authority, err := provider.NewAuthority()
	w.must(err)
	w.netns = netns()
	f := &federation{world: w, sdks: filepath.Join(w.home, "sdks"), authority: authority, life: 40 * time.Second}
	if driver == "vm" && len(programs.run) > 1 {
		f.life = 4 * time.Minute // node's first call took 50 s in an emulated guest
	}
	w.must(os.CopyFS(f.sdks, os.DirFS(programs.dir)))
	w.must(os.WriteFile(filepath.Join(f.sdks, "ca.pem"), authority.PEM, 0o644))
	f.configure()
	f.client = &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: f.dial, TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}}}
	f.Provider = provider.New(provider.Options{Issuer: issuerURL, Subject: "spiffe://openshell/identity/agent", Client: f.client, Access: 3 * time.Second})
	listen := "127.0.0.1:443"
	if driver != "vm" {
		f.address, listen = testhost.Address, testhost.Address+":443"
	}
	f.serve(listen)
	return f
}

// configure makes the gateway an issuer that serves its own documents. A new key signs after 6
// seconds, so keys may be kept for 4.
func (f *federation) configure() {
	f.Helper()
	f.listener = f.free()
	cert, key, err := f.authority.Pair(strings.TrimPrefix(issuerURL, "https://"))
	f.must(err)
	file := func(name string, data []byte) string {
		path := filepath.Join(f.home, name)
		f.must(os.WriteFile(path, data, 0o600))
		return path
	}
	config := fmt.Sprintf("issuer = %q\npublish-for = \"6s\"\nlisten = %q\ntls-cert = %q\ntls-key = %q\n", issuerURL, f.listener,
		file("cert.pem", cert), file("key.pem", key))
	f.setenv("OPENSHELL_CONFIG", file("gateway.toml", []byte(config)))
}

// free returns an address of the network's loopback that nobody listens at.
func (f *federation) free() (address string) {
	f.Helper()
	f.must(testhost.InNetns(f.netns, func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			address = l.Addr().String()
			err = l.Close()
		}
		return err
	}))
	return address
}

// dial connects to the gateway's listener, whatever was asked for.
func (f *federation) dial(ctx context.Context, _, _ string) (conn net.Conn, err error) {
	err = testhost.InNetns(f.netns, func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", f.listener)
		return err
	})
	return conn, err
}

// serve starts the provider in the engine's network.
func (f *federation) serve(address string) {
	f.Helper()
	config, err := f.authority.TLS(provider.Names()...)
	f.must(err)
	var l net.Listener
	f.must(testhost.InNetns(f.netns, func() error { l, err = net.Listen("tcp", address); return err }))
	server := &http.Server{Handler: f.Provider, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(l, "", "") }()
	f.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			f.Error(err)
		}
	})
}

// sandbox starts the sandbox with the presets. Beside what they set it has the names of the
// stand-in, and what makes it trusted.
func (f *federation) sandbox(e engine) {
	f.Helper()
	args := []string{"run", "-d", "--name", "agent", "--identity", "agent", "--ttl", "16s", "--mount", f.sdks + ":/sdks",
		"-e", "AWS_REGION=" + provider.Region, "-e", "SSL_CERT_FILE=/sdks/ca.pem", "-e", "NODE_EXTRA_CA_CERTS=/sdks/ca.pem", "-e", "PROVIDER=" + f.address}
	for _, preset := range []string{"aws:" + provider.Role, "gcp:" + provider.Pool + ":" + provider.Account, "openai:idpm_test",
		"anthropic:" + strings.Join([]string{provider.Rule, provider.Organization, provider.ServiceAccount}, "/")} {
		args = append(args, "--token", preset+",ttl="+f.life.String())
	}
	args = append(args, "--token", "azure:"+provider.Tenant+"/"+provider.Client) // its libraries keep a token
	if f.address == "" {
		args = append(args, "--allow-host", "443")
	}
	script := fmt.Sprintf(`: ${PROVIDER:=$(awk '/host.openshell.internal/ && $1 !~ /:/ { print $1; exit }' /etc/hosts)}
		echo "$PROVIDER %s" >>/etc/hosts && exec sleep 1000000`, strings.Join(provider.Names(), " "))
	f.run(append(append(args, e.flags...), "--", "sh", "-c", script)...)
}

// tokens returns how many different tokens each provider took so far.
func (f *federation) tokens(programs federationSet) map[string]int {
	seen := map[string]int{}
	for _, name := range programs.providers {
		seen[name] = f.Seen(name).Tokens
	}
	return seen
}

// await waits until each provider took so many different tokens more than before, and so many
// keys. Azure's libraries keep a token for minutes: only callers that are made anew bring others.
func (f *federation) await(what string, before map[string]int, more, keys int, programs federationSet) {
	f.Helper()
	f.eventually(what, 2*patience, func() bool {
		for _, name := range programs.providers {
			s := f.Seen(name)
			if len(s.Refused) > 0 {
				f.Fatalf("%s refused %q", name, s.Refused)
			}
			if f.Failed() {
				f.FailNow() // a program has ended, and said why
			}
			if name != "azure" && s.Tokens < before[name]+more || s.Keys < keys {
				return false
			}
		}
		return true
	})
}
