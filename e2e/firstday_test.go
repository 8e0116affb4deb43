//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"

	"openshell-vm/drivers/driverstest/capture"
)

// deed is a command of a newcomer's first day, as docker has it.
type deed struct {
	args  string // split at spaces outside single quotes; IMAGE stands for what names it, DIR for a shared directory
	stdin string
	keys  []key // typed into a terminal; nil for pipes

	// mask leaves standard output out: it is an id, or tells a port.
	mask bool
	// ours says why docker itself does it otherwise, and its answer is not compared.
	ours string
	// fetch fetches the page from the address that the command prints, and tells that instead.
	fetch bool
	// until repeats the command until its output has this text.
	until string
}

// key is typed once the screen has shown a text. The screen is compared from the first "/dev/".
type key struct{ after, typed string }

// facts tells of all that a process finds around it, but for what no two sandboxes share.
const facts = `env | grep -v -e ^HOSTNAME= -e ^OPENSHELL_ | sort; id; pwd; umask; tty; hostname | wc -l; head -n 2 /etc/hosts; ls /dev;
	cat; cat /work/in; cp /work/in /work/out; stat -c %u:%a /work/out; echo err >&2; exit 7`

// server serves a page, and ends with its own code when it is asked to.
const server = `mkdir -p /www; echo hello >/www/index.html; httpd -p 80 -h /www; trap "echo bye; exit 5" TERM; echo started; echo oops >&2;
	while :; do sleep 0.1; done`

// shell waits for the window's size, which docker sets after the start.
const shell = `until [ "$(stty size 2>&1)" = "33 99" ]; do sleep 0.1; done; tty; stty size; echo $TERM; trap "echo INT; exit 9" INT
	read line; echo got $line; while :; do sleep 0.1; done`

// firstDay are sequences that can be done beside each other.
var firstDay = map[string][]deed{
	"facts": {
		{args: `run --rm -i -e K=V -e EMPTY= -w /tmp -u user -v DIR:/work:rw IMAGE sh -c '` + facts + `'`, stdin: "hi\nthere\n"},
		{args: "run --rm --entrypoint '' IMAGE sh -c 'exit 3'"},
		{args: "run --rm IMAGE /etc/passwd", ours: "its errors have other words"},
	},
	"service": {
		{args: "run -d --name box -p 127.0.0.1::80 IMAGE sh -c '" + server + "'", mask: true},
		{args: "logs box", until: "oops"},
		{args: "ps --format '{{.Names}}' --filter name=box"},
		{args: "port box 80", fetch: true},
		{args: "inspect -f '{{.Name}}' box", ours: "it puts a slash before names"},
		{args: "exec box sh -c 'echo in; echo err >&2; exit 3'"},
		{args: "exec -e A=B -w /tmp -u user box sh -c 'echo $A $HOME; pwd; id'"},
		{args: "exec -i box cat", stdin: "piped\n"},
		{args: "exec box sh -c 'kill -KILL $$'"},
		{args: "exec -it box sh -c '" + shell + "'", keys: []key{{"xterm", "hello\r"}, {"got hello", "\x03"}}},
		{args: "exec -d box touch /tmp/touched"},
		{args: "exec box no-such-program", mask: true, ours: "an older one gives 126"},
		{args: "exec box /etc/passwd", mask: true, ours: "it tells of it in the output"},
		{args: "cp box:/www/index.html DIR/page"},
		{args: "cp DIR/page box:/tmp/"},
		{args: "exec box cat /tmp/page"},
		{args: "cp box:/no/such DIR/page", ours: "it gives 1 for all errors"},
		{args: "rm box", ours: "it gives 1 for all errors"},
		{args: "stop box"},
		{args: "wait box"},
		{args: "logs box"},
		{args: "exec box true", ours: "it gives 1 for all errors"},
		{args: "start box"},
		{args: "logs box", ours: "it shows earlier starts, too", until: "oops"},
		{args: "kill box"},
		{args: "wait box"},
		{args: "rm -f box"},
		{args: "logs box", ours: "it gives 1 for all errors"},
	},
	"terminal": {
		{args: "run --rm -it IMAGE sh -c '" + shell + "'", keys: []key{{"xterm", "hello\r"}, {"got hello", "\x03"}}},
		{args: "run --rm IMAGE no-such-program", ours: "its errors have other words"},
		{args: "run -d --name none IMAGE /no/such/program", ours: "its errors have other words, and it leaves the container"},
		{args: "run --rm IMAGE sh -c 'sh -c \"kill -TERM \\$\\$\"; exit $?'"}, // docker's first process gets no SIGTERM
	},
}

// TestFirstDay does the same under docker and in a VM, through the CLI, and by docker itself.
// Exit codes and output have to be the same, line by line.
func TestFirstDay(t *testing.T) {
	if os.Getenv("DOCKER_HOST") == "" {
		if os.Getenv("E2E_REQUIRE") == "1" {
			t.Fatal("DOCKER_HOST is not set: scripts/e2e starts the engines when run as root")
		}
		t.Skip("DOCKER_HOST is not set")
	}
	t.Parallel()
	docker := newWorld(t, os.Getuid())
	docker.setenv("DOCKER_HOST", os.Getenv("DOCKER_HOST"))
	vm := newWorld(t, os.Getuid())
	vm.setenv("DOCKER_HOST", os.Getenv("DOCKER_HOST"))
	vm.run("image", "pull", "docker-daemon:"+engineImage) // so that it is not told of in the middle
	for name, deeds := range firstDay {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hands := []hand{
				{docker.as(t), "docker", []string{"--driver", "docker", "--image", engineImage, "--"}, openDir(t)},
				{vm.as(t), "vm", []string{"--driver", "vm", "--image", "docker-daemon:" + engineImage, "--"}, openDir(t)},
				{docker.as(t), "", []string{engineImage}, openDir(t)},
			}
			for _, d := range deeds {
				answers := make([]string, len(hands))
				var all sync.WaitGroup
				for i, h := range hands {
					if h.driver != "" || d.ours == "" || d.changes() {
						all.Go(func() { answers[i] = h.does(d) })
					}
				}
				all.Wait()
				if answers[1] != answers[0] {
					t.Errorf("%s\nunder docker: %s\nin a VM:      %s", d.args, answers[0], answers[1])
				}
				if d.ours == "" && answers[2] != answers[0] {
					t.Errorf("%s\nunder docker: %s\ndocker:       %s", d.args, answers[0], answers[2])
				}
			}
		})
	}
}

// changes says whether docker itself has to do it for what comes after it.
func (d deed) changes() bool { return strings.HasPrefix(d.args, "start ") }

// openDir is a directory that a sandbox's user may write to, with a file in it.
func openDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/var/tmp", "oe-day")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte("of the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hand is one who does them: the CLI with a driver, or docker itself if driver is "".
type hand struct {
	*world
	driver string
	image  []string
	dir    string
}

// does does it and tells the exit code and the output.
func (h hand) does(d deed) (answer string) {
	var args []string
	for _, word := range words(d.args) {
		if word == "IMAGE" {
			args = append(args, h.image...)
			continue
		}
		args = append(args, strings.ReplaceAll(word, "DIR", h.dir))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h.eventually(d.args+" says "+d.until, patience, func() bool {
		cmd := h.command(ctx, "openshell-vm", args...)
		if h.driver == "" {
			cmd = exec.CommandContext(ctx, "docker", args...)
			cmd.Env, cmd.Dir = h.env, h.dir
		}
		if d.keys != nil {
			answer = h.typed(cmd, d.keys)
		} else {
			answer = h.piped(cmd, d)
		}
		return strings.Contains(answer, d.until)
	})
	return strings.ReplaceAll(answer, h.dir, "DIR")
}

func (h hand) piped(cmd *exec.Cmd, d deed) string {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(d.stdin), &stdout, &stderr
	_ = cmd.Run() // the exit code tells
	if d.fetch {
		page := h.fetched(strings.TrimSpace(stdout.String()))
		stdout.Reset()
		stdout.WriteString(page)
	}
	if d.mask {
		stdout.Reset()
		if d.ours != "" {
			stderr.Reset()
		}
	}
	return code(cmd) + "\n" + stdout.String() + "stderr:\n" + notices(stderr.String())
}

// fetched fetches a page as from the host. The tests' Docker has a network of its own.
func (h hand) fetched(address string) string {
	fetch := []string{"curl", "-sS", "--max-time", "60", "http://" + address + "/"}
	if h.driver != "vm" {
		pid, err := os.ReadFile(filepath.Join(os.Getenv("OPENSHELL_ENGINES"), "docker.pid"))
		h.must(err)
		fetch = append([]string{"nsenter", "--net", "--target", strings.TrimSpace(string(pid))}, fetch...)
	}
	out, err := exec.Command(fetch[0], fetch[1:]...).CombinedOutput()
	if err != nil {
		h.Errorf("%v: %v", fetch, err)
	}
	return string(out)
}

func code(cmd *exec.Cmd) string { return cmd.ProcessState.String() }

// notices leaves out what the CLI says beside an answer.
func notices(stderr string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(stderr, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "openshell-vm: warning: ")
	}), "\n")
}

// progress is a line that is taken away again.
var progress = regexp.MustCompile(`(?s)^.*?(/dev/)`)

// typed types into a terminal and tells what its screen showed.
func (h hand) typed(cmd *exec.Cmd, keys []key) string {
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 99})
	h.must(err)
	defer terminal.Close()
	screen, read := &capture.Buffer{}, make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(screen, terminal)
	}()
	for _, k := range keys {
		if !screen.Await(k.after, patience) {
			h.Errorf("the screen does not show %q, but %q", k.after, screen)
		}
		_, err := io.WriteString(terminal, k.typed)
		h.must(err)
	}
	_ = cmd.Wait()
	<-read
	return code(cmd) + "\n" + progress.ReplaceAllString(screen.String(), "$1")
}
