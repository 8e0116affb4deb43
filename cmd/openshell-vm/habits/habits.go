// Package habits answers what people who know docker or podman type out of habit:
// why it is not here, and what to do instead. What is here under docker's name is a
// command or a flag as any other, and not in these tables.
//
// testdata/habits.list has all commands and flags of both. A test of the program sees
// that each is taken or answered, and that no answer is false.
package habits

import "strings"

// Habit answers some words, separated by blanks. In Hint, openshell-vm is always the
// program's whole name, so that it can be copied.
type Habit struct{ Words, Why, Hint string }

// Commands are by the words that stand before them: "" for the program's own.
var Commands = map[string][]Habit{
	"": {
		{"shell ssh login-shell", "a sandbox is entered by exec", "openshell-vm exec -it SANDBOX sh"},
		{"top",
			"what runs inside is the sandbox's own",
			"openshell-vm exec SANDBOX top -b -n 1, or ps, shows what runs inside; openshell-vm stats what it uses"},
		{"pause unpause checkpoint",
			"a sandbox is not frozen: it would wake up with an expired token",
			"openshell-vm stop SANDBOX ends it and keeps its files; start brings it back with a fresh token"},
		{"network",
			"networks are not managed here: a VM has one of its own, a container has its engine's default",
			"for another one, start the container yourself: openshell-vm share create --help"},
		{"volumes", "volume is its name", "openshell-vm volume ls"},
		{"images pull rmi",
			"the commands for images have a group",
			"openshell-vm image ls, pull, rm, prune, inspect, for the images of VMs; docker and podman have their own"},
		{"push build builder buildx bake tag untag history import load save search manifest login logout trust mount unmount unshare",
			"images are not made here",
			"use docker or podman for that; openshell-vm run --image docker-daemon:REF or containers-storage:REF takes " +
				"what they have, and what docker login keeps is used here, too"},
		{"system",
			"what docker shows under system is spread here",
			"openshell-vm doctor shows the host, openshell-vm gateway status the daemon, openshell-vm ps -a what " +
				"there is"},
		{"info",
			"what docker shows under info is spread here",
			"openshell-vm doctor shows the host and its drivers, openshell-vm gateway status the daemon"},
		{"event", "events is its name", "openshell-vm events -f follows what happens"},
		{"diff commit export snapshot clone",
			"a sandbox's changes can't be taken out as an image or a layer",
			"openshell-vm exec SANDBOX tar -cf - /DIR > FILES.tar takes files out of a running one"},
		{"container containers sandbox",
			"the commands stand for themselves here, without a group",
			"openshell-vm ps, run, start, stop, rm, inspect, logs, exec"},
		{"healthcheck", "health is the workload's own", "openshell-vm exec SANDBOX COMMAND runs a check"},
		{"init cleanup", "the gateway keeps the sandboxes' state by itself", "openshell-vm gateway status shows how it is"},
		{"compose pod",
			"groups of sandboxes are not managed here",
			"openshell-vm up runs the one of an openshell.toml; Compose and pods of your own use shares: openshell-vm share create --help"},
		{"secrets", "secret is its name", "openshell-vm secret ls lists them"},
		{"context machine node swarm service stack config plugin kube generate play farm app scout",
			"that is not what openshell-vm is for",
			"openshell-vm --help lists what it is for: sandboxes on this host, and tokens that are always fresh"},
	},
	"secret": {
		{"show get print cat read", "no secret is ever shown",
			"openshell-vm secret inspect SECRET shows what is known of it; a sandbox that has it finds it in /etc/openshell/auth"},
		{"add new", "create is its name", "openshell-vm secret create NAME FILE"},
		{"update edit", "set is its name", "openshell-vm secret set SECRET FILE"},
	},
	"gateway": {
		{"logs log", "its log is a file", "gateway.log in the state directory that openshell-vm gateway status shows"},
	},
	"token": {
		{"show get print cat create",
			"no token is ever shown",
			"openshell-vm token inspect SANDBOX shows what is known of it; inside it is in " +
				"$OPENSHELL_SANDBOX_TOKEN_FILE"},
		{"rm", "tokens are revoked together", "openshell-vm token revoke SANDBOX"},
	},
	"share": {
		{"show get", "inspect is its name", "openshell-vm share inspect SHARE"},
		{"start stop", "a share's container is started and stopped by you", "openshell-vm share create --help"},
		{"add cp", "put is its name", "openshell-vm share put SHARE FILE"},
	},
	"volume": {
		{"export import reload mount unmount exists update",
			"a volume is a directory of this host",
			"openshell-vm volume inspect VOLUME shows which; tar -C DIRECTORY -cf FILES.tar . takes all out of it"},
		{"show get", "inspect is its name", "openshell-vm volume inspect VOLUME"},
	},
	"keys": {
		{"create add generate", "a new key is made by rotate", "openshell-vm keys rotate"},
		{"rm remove delete revoke", "retire is its name", "openshell-vm keys retire KEY"},
		{"export show inspect",
			"verifiers get the public keys from the gateway's socket",
			"curl --unix-socket RUNTIME/gateway.sock http://gateway/.well-known/jwks.json, RUNTIME as " +
				"openshell-vm gateway status shows it"},
	},
}

// Answers that several flags share.
const (
	ownerOnly  = "start such a container yourself, with openshell-vm share create for its token"
	forGuest   = "a VM's workload has all rights in its guest: --driver vm; or " + ownerOnly
	noNetwork  = "a VM has none yet, a container has its engine's default network"
	fixedLimit = "only CPUs and memory are limited here: --cpus N, --memory SIZE"
)

// Flags are by command. "run" stands for create, too.
var Flags = map[string][]Habit{
	"": {
		{"-H --host -c --context --connection --url -r --remote --identity --tls --tlscacert --tlscert " +
			"--tlskey --tlsverify",
			"there is no remote gateway: it serves this host and user only",
			"OPENSHELL_STATE_DIR chooses another state directory, DOCKER_HOST and CONTAINER_HOST another engine " +
				"on this host"},
		{"-D --debug -l --log-level --syslog --out --trace",
			"there is no louder mode",
			"gateway.log in the state directory that openshell-vm gateway status shows has what happened"},
		{"--config --root --runroot --tmpdir --volumepath --storage-driver --storage-opt --module --namespace " +
			"--network-config-dir --hooks-dir",
			"the state has one directory",
			"set OPENSHELL_STATE_DIR to choose it"},
		{"--runtime --runtime-flag --cgroup-manager --conmon --events-backend --network-cmd-path --noout --ssh",
			"the engines have settings of their own",
			"set them in docker's or podman's configuration"},
	},
	"run": {
		{"-P --publish-all --expose", "no port is published unasked", "-p GUEST publishes one on a free port of this host"},
		{"--network-alias --net-alias --ip --ip6 --link --link-local-ip --mac-address " +
			"--add-host --dns --dns-option --dns-opt --dns-search --no-hosts --http-proxy",
			"of the network, nothing but --network user or none can be chosen",
			"for another network, " + ownerOnly},
		{"--privileged --cap-add --cap-drop --security-opt --device --device-cgroup-rule --group-entry " +
			"--seccomp-policy --userns --uidmap --gidmap --subuidname --subgidname --hostuser --volumes-from " +
			"--chrootdirs --use-api-socket",
			"a sandbox's rights and what it sees of the host are not widened",
			forGuest},
		{"--gpus --runtime --isolation", "no GPU or other device reaches a sandbox", ownerOnly},
		{"--requires --replace",
			"a sandbox stands for itself",
			"leave it out; openshell-vm rm -f SANDBOX removes one that has the name"},
		{"--annotation --pod --pod-id-file",
			"sandboxes have labels only",
			"--label NAME=VALUE; openshell-vm ps --filter label=NAME finds it"},
		{"--read-only --read-only-tmpfs",
			"no sandbox writes to its rootfs or image: what it writes is its own",
			"--ephemeral keeps what a VM writes in memory"},
		{"--tmpfs --shm-size --image-volume --volume-driver --storage-opt",
			"there are no further file systems: what a sandbox writes stays in it until rm",
			"--ephemeral keeps what a VM writes in memory"},
		{"--hostname --domainname --uts",
			"the host's name inside can't be chosen",
			"a VM has its own name, --name NAME, as far as it can be one"},
		{"--init --init-path --systemd",
			"a VM has an init already, which reaps what is left",
			"leave it out with --driver vm; in a container, begin the COMMAND with an init of the image"},
		{"--arch --os --variant", "a sandbox has this host's architecture", "leave it out"},
		{"--disable-content-trust --tls-verify --authfile --rmi",
			"an image comes from where its name says, with the login that docker or podman keeps",
			"leave it out; --pull always fetches an image anew"},
		{"--env-host --unsetenv --unsetenv-all --env-merge",
			"nothing of this environment goes inside unasked",
			"-e NAME passes one variable on"},
		{"--group-add", "a workload has one group, and those of its user", "--user USER:GROUP"},
		{"--stop-signal --stop-timeout --timeout",
			"how it is stopped is said when it is stopped",
			"openshell-vm stop -t SECONDS SANDBOX; timeout SECONDS before the COMMAND ends it by itself"},
		{"--detach-keys", "the detach keys are ctrl-p ctrl-q", "leave it out"},
		{"--sig-proxy", "signals always go to the workload", "leave it out; -d leaves it in the background"},
		{"-a --attach", "output is always connected", "-i connects standard input, -d leaves it in the background"},
		{"--cidfile --pidfile --conmon-pidfile --preserve-fds",
			"no file is written for it",
			"openshell-vm run -d prints the id; --name chooses a name"},
		{"--log-driver --log-opt", "output is kept by the sandbox", "openshell-vm logs SANDBOX shows it"},
		{"--health-cmd --health-interval --health-retries --health-start-interval --health-start-period " +
			"--health-timeout --health-on-failure --no-healthcheck",
			"health is the workload's own",
			"openshell-vm exec SANDBOX COMMAND runs a check"},
		{"-c --cpu-shares --cpu-count --cpu-percent --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime " +
			"--cpuset-cpus --cpuset-mems",
			"CPUs are limited by their number",
			"--cpus N"},
		{"--memory-reservation --memory-swap --memory-swappiness --kernel-memory --oom-kill-disable --oom-score-adj",
			"memory is limited by its size",
			"--memory SIZE"},
		{"--blkio-weight --blkio-weight-device --device-read-bps --device-read-iops --device-write-bps " +
			"--device-write-iops --io-maxbandwidth --io-maxiops --pids-limit --ulimit --sysctl --umask --tz " +
			"--personality --cgroup-conf --cgroup-parent --cgroupns --cgroups --ipc --pid --passwd --passwd-entry " +
			"--sdnotify",
			"that can't be set here",
			fixedLimit},
	},
	"events": {
		{"--until --no-trunc --stream", "that is not known here", "openshell-vm events --since TIME shows what happened, -f goes on"},
	},
	"prune": {
		{"-a --all --volumes --build --external", "it removes sandboxes only", "leave it out"},
	},
	"update": {
		{"--cpu-shares -c --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpuset-cpus --cpuset-mems --memory-reservation " +
			"--memory-swap --memory-swappiness --kernel-memory --blkio-weight --pids-limit --env -e --unsetenv " +
			"--device-read-bps --latest -l",
			"that can't be changed here", "--cpus N and --memory SIZE are limits; --ttl DURATION is the lifetime of its tokens"},
	},
	"volume create": {
		{"-d --driver --opt --label --ignore --scope --availability --type",
			"a volume is a directory in the state directory, and nothing else",
			"leave it out; run --mount DIR:/TARGET:rw lets a sandbox write to a directory of your own"},
	},
	"exec": {
		{"--privileged", "a sandbox's rights are not widened", "--user 0 runs it as root inside"},
		{"--detach-keys --preserve-fds -l --latest --cidfile",
			"that is not known here",
			"openshell-vm exec [-it] SANDBOX COMMAND"},
	},
	"cp": {
		{"--overwrite", "a directory is never replaced by a file, nor a file by a directory", "remove what is in the way first"},
	},
	"stats": {
		{"-a --all", "a sandbox that does not run uses nothing but its disk", "openshell-vm ps -a shows all"},
		{"--interval -i -l --latest --no-reset", "it is shown each second", "--no-stream shows it once"},
	},
	"ps": {
		{"-n --last -l --latest --sort -s --size -p --pod --ns --noheading --external --sync -w --watch",
			"that is not known here",
			"openshell-vm ps -a -o json has all there is, for jq to choose from"},
	},
	"logs": {
		{"--since --until -t --timestamps --details --color --names -l --latest",
			"output is kept as it is, without times",
			"openshell-vm logs --tail N shows the end"},
	},
	"inspect": {
		{"-s --size -t --type -l --latest",
			"that is not known here",
			"openshell-vm inspect SANDBOX shows all there is, with -o json for jq"},
	},
	"stop": {
		{"-a --all", "it takes names", "openshell-vm stop $(openshell-vm ps -q) stops all that run"},
		{"-s --signal --cidfile -i --ignore -f --filter -l --latest",
			"that is not known here",
			"openshell-vm kill -s SIGNAL SANDBOX sends a signal"},
	},
	"rm": {
		{"-v --volumes", "a volume has a name, and stays", "openshell-vm volume rm VOLUME removes one that no sandbox uses"},
		{"-l --link --depend", "what a sandbox wrote goes with it", "leave it out"},
		{"-a --all --cidfile --filter -t --time -i --ignore --latest",
			"that is not known here",
			"openshell-vm rm $(openshell-vm ps -aq) removes all that do not run; -f running ones, too"},
	},
	"kill": {
		{"-a --all --cidfile -l --latest", "that is not known here", "openshell-vm kill $(openshell-vm ps -q) ends all"},
	},
	"restart": {
		{"-s --signal -a --all --running --cidfile -f --filter -l --latest",
			"that is not known here",
			"openshell-vm restart $(openshell-vm ps -q) restarts all that run"},
	},
	"start": {
		{"-a --attach -i --interactive",
			"it starts in the background",
			"openshell-vm start SANDBOX, then openshell-vm attach SANDBOX"},
		{"--all --detach-keys --sig-proxy --checkpoint --checkpoint-dir -f --filter -l --latest",
			"that is not known here",
			"openshell-vm start SANDBOX..."},
	},
}

// Command is the answer to a command after path, which is without the
// program's name; nil if there is none.
func Command(path []string, word string) *Habit {
	return find(Commands[strings.Join(path, " ")], word)
}

// Flag is the answer to a flag as typed, with its dashes.
func Flag(path []string, flag string) *Habit {
	command := strings.Join(path, " ")
	if command == "create" {
		command = "run"
	}
	return find(Flags[command], flag)
}

func find(habits []Habit, word string) *Habit {
	for i, h := range habits {
		for _, w := range strings.Fields(h.Words) {
			if w == word {
				return &habits[i]
			}
		}
	}
	return nil
}
