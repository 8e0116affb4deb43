//go:build faults

package gateway

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/killpoint"
)

// TestFaultPoints kills the gateway at each named point of a start. The next gateway must
// resume the sandbox with a fresh token.
func TestFaultPoints(t *testing.T) {
	for _, point := range []string{"record-start", "mint-write", "mint-commit", "commit-announce", "announce-prune", "publish-start"} {
		t.Run(point, func(t *testing.T) {
			w := newWorld(t)
			file := filepath.Join(w.dir, "fault")
			c := &child{w: w, env: []string{killpoint.EnvFile + "=" + file}}
			c.run()
			s := w.create(api.CreateRequest{Name: "one"})
			w.must(os.WriteFile(file, []byte(point+"\n"), 0o600))
			asked := time.Now()
			if _, err := w.client.Start(t.Context(), "one"); err == nil {
				t.Error("the start went through")
			}
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("the point was not passed: %v", err)
			}
			c.kill()
			c.run()
			w.eventually("it is resumed", func() bool { return w.get("one").State == "running" })
			checkAll(w, map[string]uint64{s.ID: s.Token.Generation + 1})
			// A token is dated back, by a second and to a whole one.
			if issued := w.get("one").Token.IssuedAt; issued.Before(asked.Add(-2 * time.Second)) {
				t.Errorf("its token was issued at %v, before the start at %v", issued, asked)
			}
			c.kill()
		})
	}
}
