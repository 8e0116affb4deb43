package podman

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/creack/pty"
)

// player is a parent by the name of its first argument that leaves a zombie, tells
// its number in the file of the second, and then sleeps: in a write to a
// terminal that nobody reads, or else for time to pass.
const player = `open N, ">", "/proc/self/comm"; print N $ARGV[0]; close N;
my $child = fork; exit 0 unless $child; open F, ">", "$ARGV[1].new"; print F $child; close F; rename "$ARGV[1].new", $ARGV[1];
if ($ARGV[2] eq "write") { syswrite STDOUT, "unread\n" x 1000 while 1 }
select undef, undef, undef, 1 while 1`

// TestStuck: only a conmon of an exec that waits for a terminal over a zombie is
// ended.
func TestStuck(t *testing.T) {
	perl, err := exec.LookPath("perl")
	if err != nil {
		t.Skip(err)
	}
	for what, test := range map[string]struct {
		args []string // name, how it sleeps, further
		want bool
	}{
		"stuck":               {[]string{"conmon", "write", "--exec"}, true},
		"awake":               {[]string{"conmon", "time", "--exec"}, false},
		"a container's own":   {[]string{"conmon", "write"}, false},
		"who is not a conmon": {[]string{"shell", "write", "--exec"}, false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			said := filepath.Join(t.TempDir(), "said")
			cmd := exec.Command(perl, append([]string{"-e", player, test.args[0], said}, test.args[1:]...)...)
			terminal, err := pty.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			ended := make(chan struct{})
			go func() { defer close(ended); _ = cmd.Wait() }()
			defer func() { _ = cmd.Process.Kill(); <-ended }()
			child := 0
			for end := time.Now().Add(30 * time.Second); parentOfZombie(child) != cmd.Process.Pid; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("no zombie")
				}
				data, _ := os.ReadFile(said)
				child, _ = strconv.Atoi(string(data))
			}
			var s stuck
			for range 300 {
				s.look(child)
				s.look(cmd.Process.Pid) // which runs
				select {
				case <-ended:
					if !test.want {
						t.Error("it was ended")
					}
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
			if test.want {
				t.Error("it is asleep still")
			}
		})
	}
}
