package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// importRule lists, for each part of this module, the other parts that it may import:
// cmd → gateway → drivers, share, tokens. For a package the longest prefix in the table
// counts. A package may always import packages below itself, unless they have their own
// entry in the table. A name in a list includes all packages below it; with = before it,
// it is only that package.
var importRule = map[string][]string{
	"share":         {"share/blanks", "share/layout", "share/watch"},
	"share/blanks":  {},
	"share/layout":  {},
	"share/watch":   {"share/layout"},
	"tokens":        {"internal/atomicfile", "internal/fault", "internal/plainfile"}, // leaves that users of the library don't see
	"tokens/source": {},                                                              // for programs in sandboxes
	"krun":          {},

	"internal/atomicfile": {},
	"internal/hostclock":  {},
	"internal/contract":   {"internal/vocab"},
	"internal/discovery":  {"internal/atomicfile", "internal/text"},
	"internal/fault":      {},
	"internal/follow":     {"internal/plainfile"},
	"internal/inode":      {},
	"internal/inroot":     {"internal/inode", "internal/procfs", "share/layout"},
	"internal/killpoint":  {},
	"internal/logind":     {},
	"internal/mounts":     {"internal/procfs"},
	"internal/netlink":    {},
	"internal/notice":     {},
	"internal/paced":      {},
	"internal/peer":       {},
	"internal/procfs":     {},
	"internal/plainfile":  {},
	"internal/rotlog":     {"internal/plainfile"},
	"internal/text":       {},
	"internal/tree":       {},
	"internal/stream":     {"internal/vocab"},
	"internal/vocab":      {},

	"internal/whichdir":        {"internal/follow", "internal/inode", "internal/mounts"},
	"internal/whichdir/deadfs": {}, // used by the tests of several parts

	"drivers":                      {"drivers", "internal", "share/layout"},
	"drivers/container/place":      {"=drivers", "drivers/container/said"},
	"drivers/container/pump":       {"=drivers"},
	"drivers/container/said":       {"=drivers"},
	"drivers/driverstest":          {"drivers", "share", "internal"}, // publishes in shares
	"drivers/driverstest/capture":  {},
	"drivers/driverstest/content":  {},
	"drivers/driverstest/sharing":  {"=drivers", "drivers/driverstest/fixture", "drivers/driverstest/trees"},
	"drivers/driverstest/search":   {"drivers/driverstest/content"},
	"drivers/driverstest/testhost": {},
	"drivers/driverstest/trees":    {"drivers/driverstest/content"},

	// The driver and the monitor know the interface of a hypervisor, but no hypervisor.
	"drivers/vm": {"=drivers", "drivers/vm/guest", "drivers/vm/host", "drivers/vm/images", "=drivers/vm/hypervisor", "drivers/vm/hypervisor/all",
		"drivers/vm/cgroup", "drivers/vm/monitor", "=drivers/vm/network", "drivers/vm/network/resolver", "internal"},
	"drivers/vm/monitor/api":      {"=drivers", "internal"},
	"drivers/vm/monitor/logs":     {"drivers/vm/monitor/api", "internal"},
	"drivers/vm/monitor/programs": {"=drivers", "drivers/vm/cgroup", "=drivers/vm/hypervisor", "drivers/vm/jail", "drivers/vm/monitor/logs"},
	"drivers/vm/monitor": {"=drivers", "drivers/vm/guest", "=drivers/vm/hypervisor", "drivers/vm/monitor",
		"drivers/vm/cgroup", "drivers/vm/jail", "=drivers/vm/network", "drivers/vm/network/keeper", "drivers/vm/rootlist", "internal", "share/layout"},
	// The network process, and apart from it what others have to know of it.
	"drivers/vm/network":                {"internal"},
	"drivers/vm/network/keeper":         {"=drivers", "=drivers/vm/hypervisor", "drivers/vm/jail", "=drivers/vm/network", "internal/text"},
	"drivers/vm/network/link":           {},
	"drivers/vm/network/policy":         {"=drivers/vm/network", "internal/netlink"},
	"drivers/vm/network/resolver":       {"=drivers/vm/network"},
	"drivers/vm/network/nat":            {"drivers/vm/network", "internal/text"},
	"drivers/vm/hypervisor/all":         {"drivers/vm/hypervisor"},
	"drivers/vm/hypervisor/krun":        {"=drivers", "drivers/vm/guest", "drivers/vm/host", "=drivers/vm/hypervisor", "drivers/vm/hypervisor/krun/krunvm", "drivers/vm/jail"},
	"drivers/vm/hypervisor/krun/krunvm": {},
	"drivers/vm/hypervisor/qemu":        {"=drivers", "drivers/vm/guest", "drivers/vm/host", "=drivers/vm/hypervisor", "drivers/vm/initramfs", "drivers/vm/jail", "internal"},
	"drivers/vm/hypervisor":             {"=drivers", "drivers/vm/guest", "drivers/vm/host", "drivers/vm/jail", "drivers/vm/kvm"},
	"drivers/vm/host":                   {"=drivers", "drivers/vm/jail", "drivers/vm/kvm", "internal"},
	"drivers/vm/initramfs":              {"drivers/vm/guest", "internal"},
	"drivers/vm/jail":                   {"drivers/vm/cgroup", "internal/fault", "internal/inode"},
	"drivers/vm/jail/jailtest":          {"=drivers", "drivers/vm", "drivers/driverstest/testhost"}, // used by the tests of several parts
	"drivers/vm/cgroup":                 {"internal"},
	"drivers/vm/guest":                  {"internal/vocab"},
	"drivers/vm/kvm":                    {"internal"},
	"drivers/vm/rootlist":               {},
	// Images for VMs: only openshell-image reads what is hostile.
	"drivers/vm/images":           {"drivers/vm/images", "internal"},
	"drivers/vm/images/store":     {"drivers/vm/images/block", "drivers/vm/images/room", "internal"},
	"drivers/vm/images/source":    {"drivers/vm/images/room", "drivers/vm/images/unpack", "internal"},
	"drivers/vm/images/block":     {"drivers/vm/images/erofs", "drivers/vm/images/room"},
	"drivers/vm/images/erofs":     {},
	"drivers/vm/images/room":      {},
	"drivers/vm/images/unpack":    {},
	"drivers/vm/images/config":    {"=drivers", "internal"},
	"drivers/vm/images/library":   {"=drivers", "drivers/vm/guest", "=drivers/vm/images", "drivers/vm/images/config", "drivers/vm/images/source", "drivers/vm/images/store", "internal"},
	"drivers/vm/images/imagetest": {}, // used by the tests of several parts

	"gateway/api": {"internal/peer", "internal/plainfile", "internal/procfs", "internal/stream", "internal/vocab"},
	"gateway":     {"gateway", "drivers", "share", "tokens", "internal"},

	// The files on disk. It knows no driver; of the API it uses paths and errors.
	"gateway/state": {"gateway/api", "share", "tokens", "internal"},

	// The leases: the contents of shares and their renewal. It knows no driver, no record
	// and no API.
	"gateway/lease": {"gateway/lease/schedule", "share", "tokens", "internal"},
	// Runs keys at their times.
	"gateway/lease/schedule": {},

	// What was done with tokens and keys.
	"gateway/audit": {"internal/rotlog", "internal/text"},
	// What sandboxes ask of the gateway, and the sockets by which they do.
	"gateway/oauth": {"gateway/audit", "tokens"},
	"gateway/door":  {"gateway/oauth", "internal"},
	// What happened, and who follows it.
	"gateway/events": {"gateway/api"},
	// Exchanges tokens of Kubernetes' ServiceAccounts.
	"gateway/kubernetes/clustertest": {}, // used by the tests of several parts
	"gateway/kubernetes":             {"gateway/audit", "gateway/config", "gateway/oauth", "tokens", "internal"},
	// The settings. The CLI reads a file by it, too, before any gateway does.
	"gateway/config": {"internal"},
	// The issuer as others see it: its names, its documents, the hook.
	"gateway/issuer": {"tokens", "internal"},
	// Serves the issuer's documents to verifiers, over TCP.
	"gateway/listener": {"internal"},
	// Turns errors into a line and a hint.
	"gateway/explain": {"=drivers", "gateway/api", "tokens", "internal/text"},
	// Which tokens for other audiences there are to be, and what providers' SDKs read.
	"gateway/audience": {"gateway/api", "gateway/explain", "gateway/presets", "=share", "tokens", "internal"},
	"gateway/presets":  {"gateway/api", "internal/contract", "internal/vocab"},
	// The items, one for each record, and disk space for renewals. Neither imports sandbox.
	"gateway/roster": {"gateway/api", "gateway/audit", "gateway/events", "gateway/explain", "gateway/lease", "gateway/secrets/vault",
		"gateway/sources", "gateway/state", "share", "tokens", "internal"},
	// Files in shares that are kept fresh from files and commands of the host.
	"gateway/sources":         {"gateway/api", "gateway/lease/schedule", "gateway/secrets/vault", "gateway/sources/command", "gateway/state", "share", "tokens", "internal"},
	"gateway/sources/command": {"internal"},
	"gateway/reserve":         {"=drivers", "gateway/api", "gateway/lease", "gateway/state", "share"},
	// Sandboxes and named shares both have leases. Neither package knows the other.
	"gateway/sandbox": {"=drivers", "gateway/api", "gateway/audience", "gateway/audit", "gateway/door", "gateway/explain", "gateway/lease", "gateway/roster", "gateway/sandbox/decide", "gateway/sandbox/engines",
		"gateway/presets", "gateway/sandbox/ports", "gateway/sandbox/request", "gateway/shares", "gateway/state", "gateway/volumes", "share", "tokens", "internal"},
	"gateway/shares": {"=drivers", "gateway/api", "gateway/audience", "gateway/audit", "gateway/explain", "gateway/lease", "gateway/presets", "gateway/roster",
		"gateway/sources", "gateway/state", "share", "tokens", "internal"},
	// Parts of sandbox that know no fleet. Only inside knows a Sandbox.
	"gateway/sandbox/decide":  {"=drivers", "gateway/api", "gateway/state"},
	"gateway/sandbox/engines": {"=drivers", "gateway/api", "gateway/sandbox/request"},
	"gateway/sandbox/inside":  {"=drivers", "gateway/api", "gateway/explain", "=gateway/sandbox", "gateway/sandbox/request"},
	"gateway/sandbox/ports":   {"gateway/api"},
	"gateway/sandbox/request": {"=drivers", "gateway/api", "gateway/audience", "gateway/sources", "gateway/state", "tokens", "internal"},
	// The volumes of the user's, which sandboxes use.
	"gateway/volumes": {"gateway/api", "gateway/roster", "gateway/state"},
	// What sandboxes see of their shares.
	"gateway/seen": {"=drivers", "gateway/api", "gateway/explain", "gateway/lease/schedule", "gateway/roster", "gateway/sandbox", "gateway/shares",
		"share", "internal"},
	// What is done inside when they have seen a new generation.
	"gateway/onrenew": {"=drivers", "gateway/api", "gateway/explain", "gateway/lease/schedule", "gateway/roster", "gateway/sandbox", "internal/text", "internal/vocab"},
	// Secrets: encrypted on disk, and in the shares that show them.
	"gateway/secrets/vault": {"gateway/api", "gateway/state", "internal"},
	"gateway/secrets":       {"gateway/api", "gateway/audit", "gateway/explain", "gateway/roster", "gateway/state", "internal"},
	// The metrics, and the server of the API.
	"gateway/metrics":       {"=drivers", "gateway/lease", "gateway/roster", "gateway/sandbox", "gateway/shares"},
	"gateway/server":        {"=drivers", "gateway", "tokens", "internal"},
	"gateway/server/answer": {"gateway/api", "gateway/explain"},

	// Starts and supervises the gateway's process.
	"gateway/daemon": {"gateway/api", "gateway/state", "internal"},

	// The CLI knows only the gateway's API. Each package below it has one task.
	"cmd/openshell-vm":          {"cmd/openshell-vm", "gateway/api", "internal/text"},
	"cmd/openshell-vm/copying":  {"cmd/openshell-vm/say", "gateway/api", "internal/tree"},
	"cmd/openshell-vm/cmdline":  {"cmd/openshell-vm/habits", "cmd/openshell-vm/say", "cmd/openshell-vm/show", "gateway/api"},
	"cmd/openshell-vm/daemon":   {"cmd/openshell-vm/cmdline", "cmd/openshell-vm/frame", "cmd/openshell-vm/say", "cmd/openshell-vm/show", "gateway/api", "=gateway/config"}, // checks a file that no gateway reads yet
	"cmd/openshell-vm/frame":    {"cmd/openshell-vm/cmdline", "cmd/openshell-vm/gateways", "cmd/openshell-vm/say", "cmd/openshell-vm/show", "gateway/api"},
	"cmd/openshell-vm/gateways": {"gateway/api"},
	"cmd/openshell-vm/habits":   {},
	"cmd/openshell-vm/identity": {"cmd/openshell-vm/cmdline", "cmd/openshell-vm/frame", "cmd/openshell-vm/request", "cmd/openshell-vm/say", "cmd/openshell-vm/show", "gateway/api", "internal/discovery"},
	"cmd/openshell-vm/images":   {"cmd/openshell-vm/cmdline", "cmd/openshell-vm/frame", "cmd/openshell-vm/say", "cmd/openshell-vm/show", "gateway/api"},
	"cmd/openshell-vm/logs":     {"cmd/openshell-vm/gateways", "gateway/api"},
	"cmd/openshell-vm/project":  {"cmd/openshell-vm/cmdline", "cmd/openshell-vm/frame", "cmd/openshell-vm/images", "cmd/openshell-vm/request", "cmd/openshell-vm/say", "gateway/api", "internal/atomicfile", "internal/plainfile", "internal/text"},
	"cmd/openshell-vm/request":  {"cmd/openshell-vm/cmdline", "cmd/openshell-vm/frame", "cmd/openshell-vm/images", "cmd/openshell-vm/say", "gateway/api"},
	"cmd/openshell-vm/say":      {"cmd/openshell-vm/gateways", "gateway/api", "internal/text"},
	"cmd/openshell-vm/secrets":  {"cmd/openshell-vm/cmdline", "cmd/openshell-vm/frame", "cmd/openshell-vm/say", "cmd/openshell-vm/show", "gateway/api"},
	"cmd/openshell-vm/session":  {"cmd/openshell-vm/gateways", "cmd/openshell-vm/say", "gateway/api"},
	"cmd/openshell-vm/shares":   {"cmd/openshell-vm/cmdline", "cmd/openshell-vm/frame", "cmd/openshell-vm/request", "cmd/openshell-vm/say", "cmd/openshell-vm/show", "gateway/api"},
	"cmd/openshell-vm/usage":    {"cmd/openshell-vm/show", "gateway/api"},
	"cmd/openshell-vm/show":     {"cmd/openshell-vm/say", "gateway/api", "internal/discovery", "internal/text"},
	"cmd/openshell-vm/watching": {"cmd/openshell-vm/say", "share/watch"},
	"cmd/openshell-vm/volumes":  {"cmd/openshell-vm/cmdline", "cmd/openshell-vm/frame", "cmd/openshell-vm/say", "cmd/openshell-vm/show", "gateway/api"},

	"cmd/openshell-gateway": {"gateway", "drivers"},
	"cmd/openshell-vmm":     {"drivers/vm/hypervisor/all", "drivers/vm/jail", "drivers/vm/kvm", "drivers/vm/monitor"},
	"cmd/openshell-init":    {"cmd/openshell-init", "drivers/vm/guest", "internal"},
	"cmd/openshell-image":   {"drivers/vm/images", "drivers/vm/jail", "internal"},
	"cmd/openshell-token":   {},
	"cmd/openshell-net":     {"drivers/vm/network/nat"},
	"cmd/openshell-krun":    {"drivers/vm/guest", "drivers/vm/hypervisor/krun/krunvm", "krun"},

	// The guest imports leaves only. Each package below the init has one task.
	"cmd/openshell-init/card":     {"drivers/vm/guest", "internal/netlink"},
	"cmd/openshell-init/copying":  {"internal/tree", "internal/vocab"},
	"cmd/openshell-init/forget":   {},
	"cmd/openshell-init/mirror":   {"share/layout"},
	"cmd/openshell-init/names":    {"drivers/vm/guest"},
	"cmd/openshell-init/skeleton": {"cmd/openshell-init/forget", "drivers/vm/guest", "drivers/vm/rootlist"},
	"cmd/openshell-init/watching": {"cmd/openshell-init/forget", "share/layout"},

	"e2e": {"drivers", "gateway", "share", "tokens", "krun", "internal"},
}

// heavy are client libraries of engines and clusters: the CLI must start in milliseconds.
var heavy = []string{"github.com/docker/docker", "github.com/containers", "github.com/prometheus", "k8s.io"}

// testOnly are libraries that only tests use: other people's verifiers. No program links them
// but those below e2e.
var testOnly = []string{"github.com/coreos/go-oidc", "github.com/spiffe/go-spiffe"}

// jose reads the keys and tokens of others. In tests it judges ours, so nothing makes or checks those by it.
const jose, joseUser = "github.com/go-jose", "gateway/kubernetes"

// TestImportRule checks every package against importRule, without test files.
func TestImportRule(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-e", "-json=ImportPath,Imports,Deps", "../...")
	out, err := list.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Start(); err != nil {
		t.Skipf("no go command: %v", err)
	}
	checked := 0
	for decoder := json.NewDecoder(out); ; {
		var p struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from, ours := strings.CutPrefix(p.ImportPath, "openshell-vm/")
		if !ours {
			continue
		}
		checked++
		part, allowed := ruleFor(from)
		if part == "" {
			t.Errorf("%s lies in no part of the import rule", from)
		}
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, "openshell-vm/")
			own, _ := ruleFor(to)
			if ours && own != part && !slices.ContainsFunc(allowed, func(a string) bool { return fits(to, a) }) {
				t.Errorf("%s imports %s; %s may import %v", from, to, part, allowed)
			}
			if strings.HasPrefix(imported, jose) && !fits(from, joseUser) {
				t.Errorf("%s imports %s, which is for tests and %s only", from, imported, joseUser)
			}
		}
		for _, dep := range p.Deps {
			if slices.ContainsFunc(testOnly, func(only string) bool { return strings.HasPrefix(dep, only) }) && !below(from, "e2e") {
				t.Errorf("%s links %s, which is for tests only", from, dep)
			}
		}
		if from == "cmd/openshell-vm" {
			for _, dep := range p.Deps {
				if slices.ContainsFunc(heavy, func(h string) bool { return strings.HasPrefix(dep, h) }) {
					t.Errorf("the CLI links %s", dep)
				}
			}
		}
	}
	if err := list.Wait(); err != nil || checked < 10 {
		t.Errorf("go list: %v, %d packages of ours", err, checked)
	}
}

// ruleFor returns the longest entry of importRule that includes the package.
func ruleFor(pkg string) (part string, allowed []string) {
	for candidate, a := range importRule {
		if below(pkg, candidate) && len(candidate) > len(part) {
			part, allowed = candidate, a
		}
	}
	return part, allowed
}

// fits reports whether an entry of a list allows the package.
func fits(pkg, entry string) bool {
	if only, ok := strings.CutPrefix(entry, "="); ok {
		return pkg == only
	}
	return below(pkg, entry)
}

func below(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }
