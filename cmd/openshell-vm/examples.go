package main

// commandHelp is a command's help text. The library's own shows a description
// before the flags; ours is examples, and stands behind them.
const commandHelp = `NAME:
   {{template "helpNameTemplate" .}}

USAGE:
   {{template "usageTemplate" .}}{{if .Category}}

CATEGORY:
   {{.Category}}{{end}}{{if .VisibleFlags}}

OPTIONS:{{template "visibleFlagTemplate" .}}{{end}}{{if .Description}}

EXAMPLES:
   {{template "descriptionTemplate" .}}{{end}}
`

// examples are by command. Each is a line of a shell's, below a comment that says
// what it is for.
var examples = map[string]string{
	"run": `# A shell in a minimal VM, which is removed at its end
openshell-vm run -it --rm

# A program of a root of your own, with a token that lives 15 minutes
openshell-vm run --rootfs ./debian --ttl 15m -- agent --serve

# A container in the background
openshell-vm run -d --name box --driver podman --image alpine -- sleep inf

# A directory of this host, read-only, more memory, a variable of this shell
openshell-vm run --mount ./src:/src -w /src -m 2g -e API_URL -- ./test.sh`,

	"create": `# Made now, started later
openshell-vm create --name box --driver docker --image alpine -- sleep inf
openshell-vm start box`,

	"exec": `# A shell in a running sandbox
openshell-vm exec -it box sh

# Files in and out
tar -c . | openshell-vm exec -i -w /tmp box tar -x
openshell-vm exec box tar -c /root > root.tar

# As another user, with a variable
openshell-vm exec -u 1000 -e LEVEL=debug box id`,

	"ps": `# All, those that do not run, too
openshell-vm ps -a

# Of one driver, as ids; of one state, as JSON
openshell-vm ps -q --filter driver=podman
openshell-vm ps --filter status=exited -o json

# Remove what has ended
openshell-vm rm $(openshell-vm ps -q --filter status=exited)`,

	"logs": `# The last lines, and what comes
openshell-vm logs -f --tail 20 box`,

	"share create": `# A container with its token, and none without
args=$(openshell-vm share create agent) && docker run $args alpine cat /etc/openshell/auth/metadata.json

# Only the directory, for a unit or a Compose file
openshell-vm share create -q agent --ttl 30m`,

	"share ls": `# Names only
openshell-vm share ls -q`,

	"share put": `# A file beside the token, one under another name, one that is piped
openshell-vm share put agent agent.yaml
openshell-vm share put agent config=./agent.prod.yaml
date | openshell-vm share put agent date=-`,

	"token verify": `# Of a file, and of a pipe, with a clock that may be 5 s off
openshell-vm token verify ./sandbox.jwt
openshell-vm exec box cat /etc/openshell/auth/sandbox.jwt | openshell-vm token verify --leeway 5s -`,
}
