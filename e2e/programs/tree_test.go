//go:build e2e

package programs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers/driverstest/testhost"
)

// hostPrograms are what scripts/setup --test installs for these tests, by their packages.
var hostPrograms = map[string]string{"git": "git", "ssh": "openssh-client", "ssh-keygen": "openssh-client", "sshd": "openssh-server",
	"kubectl": "kubernetes-client", "php": "php-cli", "node": "nodejs", "busybox": "busybox-static", "curl": "curl"}

// needed finds the programs of this host's. One that is missing ends the test.
func needed(t *testing.T) map[string]string {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	found := map[string]string{}
	for name, pkg := range hostPrograms {
		path, err := exec.LookPath(name)
		if err != nil {
			testhost.Missing(t, "there is no %s: scripts/setup --test installs it, on Debian the package %s", name, pkg)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			t.Fatal(err)
		}
		found[name] = path
	}
	return found
}

// makeTree makes a root with the programs, the libraries that they load, and a shell.
func makeTree(t *testing.T, programs map[string]string, dir string, authority *authority) {
	t.Helper()
	script := `
		cd "$1"; umask 022
		mkdir -p bin usr/bin usr/lib usr/share etc/ssl/certs tmp root home var proc sys dev run
		chmod 1777 tmp; chmod 700 root
		cp "$busybox" bin/busybox
		for applet in $(bin/busybox --list); do [ "$applet" = busybox ] || ln -sf busybox bin/$applet; done
		for name in git ssh ssh-keygen kubectl php node; do eval "path=\$$(echo $name | tr - _)"; cp "$path" usr/bin/$name; done
		cp -a "$(git --exec-path)" usr/lib/git-core
		ln -sf /usr/bin/git usr/lib/git-core/git
		cp -a /usr/share/git-core usr/share/ 2>/dev/null || :
		for part in acorn acorn-walk cjs-module-lexer undici; do # Debian's node loads them from there
			[ ! -d /usr/share/nodejs/$part ] || cp -rL --parents /usr/share/nodejs/$part .
		done
		for file in usr/bin/* usr/lib/git-core/git-remote-http; do ldd "$file" 2>/dev/null || :; done |
			awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' | sort -u |
			while read -r library; do cp -L --parents "$library" .; done
		echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
		echo 'root:x:0:' >etc/group
		echo 'hosts: files dns' >etc/nsswitch.conf`
	cmd := exec.Command("sh", "-ec", script, "tree", dir)
	cmd.Env = os.Environ()
	for name, path := range programs {
		cmd.Env = append(cmd.Env, strings.ReplaceAll(name, "-", "_")+"="+path)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "usr/bin/sdks"), ".")
	build.Dir, build.Env = "../federation/sdks", append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		testhost.Missing(t, "AWS' library for Go can't be built: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt"), authority.PEM, 0o644); err != nil {
		t.Fatal(err)
	}
}

// load gives an engine the tree as its image. A VM has it as its root.
func load(t *testing.T, p place, tree string) {
	t.Helper()
	pack := `tar -C "$1" --numeric-owner --owner=0 --group=0 -c . | `
	switch p.driver {
	case "docker":
		pack += `docker import - "$2"`
	case "podman":
		pack += `podman --remote import - "$2"`
	default:
		return
	}
	if out, err := exec.Command("bash", "-ec", "set -o pipefail; "+pack, "load", tree, image).CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("%s: %w\n%s", p.driver, err, out))
	}
}
