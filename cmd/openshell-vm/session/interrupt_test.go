package session

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers/driverstest/capture"
)

// TestInterruptedTwiceAtOnce: the second signal ends the program, although the first one's
// work never ends.
func TestInterruptedTwiceAtOnce(t *testing.T) {
	if os.Getenv("OPENSHELL_TEST_STUCK") == "1" {
		s, err := New(false, false)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("stuck")
		_ = s.Interruptible(context.Background(), func(context.Context) error { select {} })
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestInterruptedTwiceAtOnce$")
	cmd.Env = append(os.Environ(), "OPENSHELL_TEST_STUCK=1")
	var out capture.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "stuck"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not begin")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 && code != 143 {
		t.Errorf("exit code %d", code)
	}
}
