package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/client"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/place"
)

// systemSocket is where root's Docker engine listens. Tests set another place.
var systemSocket = "/var/run/docker.sock"

// endpoint is where an engine listens, and how to talk to it.
type endpoint struct {
	place.Place
	opts []client.Opt
}

// at is the engine at host. from says what named it.
func at(host, from string, opts ...client.Opt) endpoint {
	return endpoint{place.Place{Engine: "Docker", Host: host, From: from, Hints: hints}, opts}
}

// find finds the engine that the docker command would take. If nothing names one, the
// one to stay with comes first, then the system's, then the user's rootless one.
func find(host, stay string) (endpoint, error) {
	var e endpoint
	var err error
	switch name := contextName(); {
	case host != "":
		e = at(host, "from the configuration")
	case os.Getenv(client.EnvOverrideHost) != "":
		e = at(os.Getenv(client.EnvOverrideHost), place.FromVariable(client.EnvOverrideHost), client.WithTLSClientConfigFromEnv())
	case name != "":
		e, err = fromContext(name)
	default:
		e = at("", "")
		e.Place = e.Default(stay, systemSocket, place.UserSocket("docker.sock"))
	}
	if err != nil {
		return e, err
	}
	if strings.HasPrefix(e.Host, "ssh://") {
		return e, e.Refuse(errors.New("it is another machine, which does not see this one's directories"),
			"take an engine of this machine: docker context use default")
	}
	return e, nil
}

// configDir is the docker command's.
func configDir() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".docker")
}

// contextName is the context in use; "" for the default one. A config file that can't
// be read counts as none, as it does for the docker command.
func contextName() string {
	name := os.Getenv("DOCKER_CONTEXT")
	if name == "" {
		var config struct {
			CurrentContext string `json:"currentContext"`
		}
		if data, err := os.ReadFile(filepath.Join(configDir(), "config.json")); err == nil && json.Unmarshal(data, &config) == nil {
			name = config.CurrentContext
		}
	}
	if name == "default" {
		return ""
	}
	return name
}

// fromContext reads a context as the docker command stores it. The directory's name is
// the hash of the context's. One tree has the description, another the TLS files.
func fromContext(name string) (endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	fail := func(err error) (endpoint, error) {
		return endpoint{}, &drivers.Error{Op: fmt.Sprintf("read docker context %q", name), Err: err,
			Hint: "docker context ls shows what there is; docker context use default goes back"}
	}
	data, err := os.ReadFile(filepath.Join(configDir(), "contexts", "meta", id, "meta.json"))
	if errors.Is(err, os.ErrNotExist) {
		return fail(errors.New("there is no such context"))
	} else if err != nil {
		return fail(err)
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return fail(err)
	}
	docker := meta.Endpoints["docker"]
	if docker.Host == "" {
		return fail(errors.New("it has no endpoint for docker"))
	}
	if docker.SkipTLSVerify {
		return fail(errors.New("it leaves the engine's certificate unchecked"))
	}
	e := at(docker.Host, fmt.Sprintf("from docker context %q", name))
	tls := filepath.Join(configDir(), "contexts", "tls", id, "docker")
	if _, err := os.Stat(tls); err == nil {
		e.opts = append(e.opts, client.WithTLSClientConfig(
			filepath.Join(tls, "ca.pem"), filepath.Join(tls, "cert.pem"), filepath.Join(tls, "key.pem")))
	}
	return e, nil
}
