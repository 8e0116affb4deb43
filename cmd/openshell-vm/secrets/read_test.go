package secrets

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

const asksFor = "OPENSHELL_TEST_ASKS"

// TestMain is also a program that asks for a secret, and tells its length.
func TestMain(m *testing.M) {
	if os.Getenv(asksFor) == "" {
		os.Exit(m.Run())
	}
	line, err := ask(context.Background(), os.Stdin)
	fmt.Fprintln(os.Stderr, len(line), err)
}

// TestAsk: nothing shows what is typed, and whatever ends the question, the terminal shows again
// what is typed.
func TestAsk(t *testing.T) {
	for typed, want := range map[string]string{"hunter2\n": "exit status 0", "\n": "exit status 0", "\x03": "signal: interrupt"} {
		master, tty, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		defer tty.Close()
		shows := func() bool {
			term, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
			return err == nil && term.Lflag&unix.ECHO != 0
		}
		go func() { _, _ = io.Copy(io.Discard, master) }() // else what is written there could block
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asksFor+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); shows(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it shows what is typed")
			}
		}
		_, _ = master.WriteString(typed)
		_ = cmd.Wait()
		if got := cmd.ProcessState.String(); got != want || !shows() {
			t.Errorf("%q: %s, shows what is typed: %v", typed, got, shows())
		}
	}
}
