package driverstest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/content"
	"openshell-vm/drivers/driverstest/fixture"
)

// Freshness wants every publish to be seen inside, and the driver's bound to be kept,
// with the guest's watch and without it. After 2,000 publishes the VM's processes must
// hold no more descriptors than after 20. With the watch 200 publishes are measured,
// without it as many as unwatched says. The figures contain the time in which the
// workload's report comes back to the host.
func Freshness(t *testing.T, h fixture.Harness, unwatched int) {
	s := fixture.NewSuite(t, h)
	b := s.Box(t, func(b *fixture.Box) { b.Runs("watch", drivers.AuthDir) })
	client := b.Run(false)
	client.Expect("1 ok")

	made := 0
	publish := func() uint64 {
		n, _ := b.Publish()
		made++
		return n
	}
	var after20 map[string]int
	measure(b, client, "with the watch", 200, func() uint64 {
		if made == 20 {
			after20 = descriptors(b)
		}
		return publish()
	})
	t.Logf("with the watch, %v is kept", promised(b, 10, publish))

	last := uint64(0)
	for made < 2000 {
		last = publish()
	}
	sees(client, last)
	after2000 := descriptors(b)
	t.Logf("descriptors after 20 publishes %v, after 2,000 %v", after20, after2000)
	for name, n := range after2000 {
		// Whoever keeps them has two for each generation: thousands, not a few.
		if n > after20[name]+50 {
			t.Errorf("%s holds %d descriptors after 2,000 publishes, %d after 20", name, n, after20[name])
		}
	}

	silent := func() uint64 {
		last++
		unannounced(b, last)
		return last
	}
	measure(b, client, "without the watch", unwatched, silent)
	t.Logf("without the watch, %v is kept", promised(b, max(1, unwatched/2), silent))
}

// measure publishes again and again and logs what it took until the workload
// saw it.
func measure(b *fixture.Box, client *fixture.Session, what string, publishes int, publish func() uint64) {
	b.T.Helper()
	took := make([]time.Duration, publishes)
	for i := range took {
		n := publish()
		begin := time.Now()
		sees(client, n)
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	at := func(p int) time.Duration { return took[(len(took)-1)*p/100].Round(100 * time.Microsecond) }
	b.T.Logf("publish to visible %s, %d times: p50 %v, p99 %v, max %v", what, len(took), at(50), at(99), at(100))
}

// sees reads up to the generation that is wanted. Everything on the way must be
// whole and none a later one.
func sees(s *fixture.Session, generation uint64) {
	s.T.Helper()
	for {
		line := s.Line()
		digits, whole := strings.CutSuffix(line, " ok")
		n, err := strconv.ParseUint(digits, 10, 64)
		if !whole || err != nil || n > generation {
			s.T.Fatalf("waiting for generation %d, the workload saw %q", generation, line)
		}
		if n == generation {
			return
		}
	}
}

// unannounced makes generation n current as package share does, but without the
// announcement. A guest's watch knows of a publish by that alone.
func unannounced(b *fixture.Box, n uint64) {
	b.T.Helper()
	auth := b.Share.AuthDir()
	gen := fmt.Sprintf("..gen-%08d", n)
	next := filepath.Join(auth, "..next")
	for _, err := range []error{
		os.Mkdir(filepath.Join(auth, gen), 0o755),
		os.WriteFile(filepath.Join(auth, gen, "sandbox.jwt"), content.New(n), 0o444),
		os.Symlink(gen, next),
		os.Rename(next, filepath.Join(auth, "..data")),
	} {
		if err != nil {
			b.T.Fatal(err)
		}
	}
}

// processes are the host's processes of the sandbox, as the driver tells them.
func processes(b *fixture.Box) map[string]int {
	b.T.Helper()
	pids := map[string]int{}
	for _, f := range b.Inspect().Details {
		if name, ok := strings.CutPrefix(f.Name, "pid of "); ok {
			pid, err := strconv.Atoi(f.Value)
			if err != nil {
				b.T.Fatal(err)
			}
			pids[name] = pid
		}
	}
	if len(pids) == 0 {
		b.T.Fatal("the driver tells no process of the sandbox")
	}
	return pids
}

// descriptors counts what each process of the sandbox has open.
func descriptors(b *fixture.Box) map[string]int {
	b.T.Helper()
	counts := map[string]int{}
	for name, pid := range processes(b) {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			b.T.Fatal(err)
		}
		counts[name] = len(entries)
	}
	return counts
}
