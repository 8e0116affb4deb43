package driverstest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/internal/peer"
)

// gatewayURL is the contract with programs in sandboxes, as contractEnv is.
const gatewayURL = "unix:///run/openshell/gateway.sock"

// withDoor gives the box a door: a directory in which a gateway listens.
func withDoor(t *testing.T, b *fixture.Box) {
	dir := filepath.Join(b.Suite.State, "doors", b.ID)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b.Spec.Door = fixture.Mount(t, dir, drivers.DoorDir)
}

// openDoor listens in the box's door, in place of the gateway. Its answer is the hash of what it
// is sent, and then all of it.
func openDoor(t *testing.T, b *fixture.Box) (closeDoor func()) {
	t.Helper()
	dir := b.Spec.Door.Source()
	listener, err := peer.ListenIn(dir, "gateway.sock")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "gateway.sock"), 0o666); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body) // the hash tells of an error
		fmt.Fprintf(w, "%x\n", sha256.Sum256(sent))
		_, _ = w.Write(sent)
	})}
	go server.Serve(listener) //nolint:errcheck // it ends with the close
	return func() { server.Close() }
}

// asksTheGateway: a program of any user asks the gateway by the sandbox's socket, many at once and
// with more than any buffer holds. The directory stays while gateways come and go: who asks
// meanwhile is answered by the next one.
func asksTheGateway(t *testing.T, b *fixture.Box) {
	ask := func(user string, times, bytes int) *fixture.Session {
		return b.Exec(drivers.Process{Args: []string{b.Tool, "ask", fmt.Sprint(times), fmt.Sprint(bytes)}, User: user}, false)
	}
	answered := func(s *fixture.Session, what string) {
		t.Helper()
		if out, code := s.Rest(); code != 0 || !slices.Equal(out, []string{gatewayURL, "answered"}) {
			t.Errorf("%s: code %d, %q", what, code, out)
		}
	}
	closeDoor := openDoor(t, b)
	answered(ask("", 1, 10), "the first")
	answered(ask("65534", 20, 300<<10), "20 at once, of 300 KiB, by a user without rights")
	closeDoor()
	waiting := ask("", 1, 10)
	if got := waiting.Line(); got != gatewayURL {
		t.Errorf("the gateway's address inside is %q", got)
	}
	time.Sleep(300 * time.Millisecond) // it has tried by then; nothing depends on that
	defer openDoor(t, b)()
	if out, code := waiting.Rest(); code != 0 || !slices.Equal(out, []string{"answered"}) {
		t.Errorf("asked while no gateway was there: code %d, %q", code, out)
	}
}
