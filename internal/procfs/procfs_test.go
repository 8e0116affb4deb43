package procfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 41 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21"
	want := Stat{State: "S", Parent: 41, Started: 4242, Ticks: 23}
	for _, name := range []string{"sh", "", "a b", ") Z 7", "(((", "x\n) R"} {
		if got, err := parseStat("12 (" + name + ")" + rest + "\n"); err != nil || got != want {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
	for _, line := range []string{"", ")", "12 (sh) S 41", "12 (sh" + rest, "12 (sh)" + strings.Replace(rest, "41", "x", 1),
		"12 (sh)" + strings.Replace(rest, "4242", "-1", 1), rest} {
		if got, err := parseStat(line); err == nil {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func TestProcesses(t *testing.T) {
	self, err := ReadStat(0)
	if err != nil || self.State == "" || self.Parent != os.Getppid() || self.Started == 0 {
		t.Errorf("this process: %+v, %v", self, err)
	}
	if named, err := ReadStat(os.Getpid()); err != nil || named.Started != self.Started {
		t.Errorf("by number: %+v, %v", named, err)
	}
	if !slices.Contains(PIDs(), os.Getpid()) {
		t.Error("this process is not listed")
	}
	if args, err := Args(0); err != nil || !slices.Equal(args, os.Args) {
		t.Errorf("arguments %q, %v", args, err)
	}
	comm := filepath.Base(os.Args[0])
	if got := Word(0, "comm"); got != comm[:min(len(comm), 15)] {
		t.Errorf("name %q", got)
	}
}

// TestEnded checks that a process counts as ended both before and after it is reaped.
func TestEnded(t *testing.T) {
	cmd := exec.Command("cat")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if !Runs(pid) {
		t.Error("it does not run")
	}
	input.Close()
	for Runs(pid) { // until the test's deadline
		time.Sleep(time.Millisecond)
	}
	if s, err := ReadStat(pid); err != nil || !s.Ended() || s.Parent != os.Getpid() {
		t.Errorf("ended: %+v, %v", s, err)
	}
	if args, err := Args(pid); err != nil || args != nil {
		t.Errorf("ended: arguments %q, %v", args, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStat(pid); !errors.Is(err, fs.ErrNotExist) || Runs(pid) || Word(pid, "comm") != "" {
		t.Errorf("reaped: %v", err)
	}
}

func TestField(t *testing.T) {
	if got, err := Field(Path(0, "status"), "Pid"); err != nil || got != strconv.Itoa(os.Getpid()) {
		t.Errorf("Pid %q, %v", got, err)
	}
	if got, err := Field("/proc/meminfo", "MemTotal"); err != nil || !strings.HasSuffix(got, " kB") {
		t.Errorf("MemTotal %q, %v", got, err)
	}
	if got, err := Field(Path(0, "status"), "Pi"); err == nil || !strings.Contains(err.Error(), "no line Pi") {
		t.Errorf("part of a name: %q, %v", got, err)
	}
	if _, err := Field(Path(0, "nothing"), "Pid"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestCgroups(t *testing.T) {
	got := ParseCgroups("12:cpu,cpuacct:/a b\n1:name=systemd:/system.slice/x.service\n0::/c:d\nspoilt\n3::/e\n")
	want := []Cgroup{
		{Controllers: []string{"cpu", "cpuacct"}, Path: "/a b"},
		{Controllers: []string{"name=systemd"}, Path: "/system.slice/x.service"},
		{V2: true, Path: "/c:d"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	own, err := Cgroups(Path(0, "cgroup"))
	if err != nil || len(own) == 0 || !filepath.IsAbs(own[0].Path) {
		t.Errorf("own: %+v, %v", own, err)
	}
}

func TestBootID(t *testing.T) {
	id, err := BootID()
	if again, _ := BootID(); err != nil || len(id) != 36 || again != id {
		t.Errorf("%q, %v", id, err)
	}
}
