package docker

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/registry"
)

// hub is the name under which logins to docker.io are kept.
const hub = "https://index.docker.io/v1/"

// login finds what `docker login` kept in config.json for the image's registry, as the
// engine wants it; "" if there is nothing. Credential helpers are not asked: whoever
// has one must pull the image with the docker command.
func login(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	server := reference.Domain(named)
	if server == "docker.io" {
		server = hub
	}
	var config struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			IdentityToken string `json:"identitytoken"`
		} `json:"auths"`
	}
	data, err := os.ReadFile(filepath.Join(configDir(), "config.json"))
	if err != nil || json.Unmarshal(data, &config) != nil {
		return ""
	}
	kept, ok := config.Auths[server]
	if !ok {
		return ""
	}
	pair, err := base64.StdEncoding.DecodeString(kept.Auth)
	if err != nil {
		return ""
	}
	user, password, _ := strings.Cut(string(pair), ":")
	encoded, err := registry.EncodeAuthConfig(registry.AuthConfig{
		Username: user, Password: password, IdentityToken: kept.IdentityToken, ServerAddress: server,
	})
	if err != nil {
		return ""
	}
	return encoded
}
