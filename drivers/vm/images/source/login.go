package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"openshell-vm/internal/fault"
)

// Login is what a registry is told of who asks. The zero value is nobody.
type Login authn.AuthConfig // without its form in JSON, which loses some of it

func (l Login) authenticator() authn.Authenticator {
	if l == (Login{}) {
		return authn.Anonymous // the library compares with it
	}
	return authn.FromConfig(authn.AuthConfig(l))
}

// findLogin finds the login for an image in a registry.
func findLogin(ctx context.Context, r Reference, getenv func(string) string) (Login, error) {
	ref, err := name.ParseReference(r.Image)
	if err != nil {
		return Login{}, err
	}
	auth, err := authn.Resolve(ctx, keychain(getenv), ref.Context())
	var kept *authn.AuthConfig
	if err == nil {
		kept, err = authn.Authorization(ctx, auth)
	}
	if err != nil {
		return Login{}, &fault.Error{Op: "find the login for " + ref.Context().RegistryStr(), Err: err,
			Hint: "docker login or podman login makes a new one"}
	}
	return Login(*kept), nil
}

// keychain finds what docker login and podman login have kept. The first file that knows
// the registry counts: Docker's, then Podman's.
func keychain(getenv func(string) string) authn.Keychain {
	home := getenv("HOME")
	in := func(dir, file string) string {
		if dir == "" {
			return ""
		}
		return filepath.Join(dir, file)
	}
	docker := in(getenv("DOCKER_CONFIG"), "config.json")
	if docker == "" {
		docker = in(home, ".docker/config.json")
	}
	podman := []string{
		getenv("REGISTRY_AUTH_FILE"), in(getenv("XDG_RUNTIME_DIR"), "containers/auth.json"),
		in(getenv("XDG_CONFIG_HOME"), "containers/auth.json"), in(home, ".config/containers/auth.json"),
	}
	var chain []authn.Keychain
	for _, file := range append([]string{docker}, podman...) {
		if file != "" {
			chain = append(chain, loginFile(file))
		}
	}
	return authn.NewMultiKeychain(chain...)
}

// loginFile is one of these files. A missing one knows no login.
type loginFile string

func (l loginFile) Resolve(target authn.Resource) (authn.Authenticator, error) {
	f, err := os.Open(string(l))
	if errors.Is(err, fs.ErrNotExist) {
		return authn.Anonymous, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	kept, err := config.LoadFromReader(f)
	if err != nil {
		return nil, err
	}
	return resolve(kept, target)
}

func resolve(kept *configfile.ConfigFile, target authn.Resource) (authn.Authenticator, error) {
	keys := []string{target.RegistryStr()}
	if keys[0] == name.DefaultRegistry {
		keys = []string{authn.DefaultAuthKey, "docker.io"}
	}
	// Podman also keeps logins for a part of a registry. Helpers know none of these.
	for part := target.String(); part != target.RegistryStr() && part != "."; part = path.Dir(part) {
		if _, ok := kept.AuthConfigs[part]; ok {
			keys = append([]string{part}, keys...)
			break
		}
	}
	for _, key := range keys {
		found, err := kept.GetAuthConfig(key)
		if err != nil {
			return nil, err
		}
		found.ServerAddress = ""
		if found != (types.AuthConfig{}) {
			return authn.FromConfig(authn.AuthConfig{
				Username: found.Username, Password: found.Password, Auth: found.Auth,
				IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
			}), nil
		}
	}
	return authn.Anonymous, nil
}
