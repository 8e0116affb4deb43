package kvm

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCache(t *testing.T) {
	now := time.Now()
	id := identity{boot: "b1", key: "qemu uid=1"}
	yes := Result{Usable: true}
	no := Result{Reason: "it fails", Hint: "do this"}
	slow := Result{Reason: "it hangs", passing: true}
	tests := []struct {
		name string
		keep Result
		ask  identity
		at   time.Time
		want *Result
	}{
		{"kept", yes, id, now.Add(1000 * time.Hour), &yes},
		{"a failure is kept too", no, id, now.Add(1000 * time.Hour), &no},
		{"another user", yes, identity{"b1", "qemu uid=2"}, now, nil},
		{"another boot", yes, identity{"b2", id.key}, now, nil},
		{"a passing failure", slow, id, now.Add(passingFor / 2), &Result{Reason: "it hangs"}},
		{"a passed failure", slow, id, now.Add(2 * passingFor), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "kvm.json")
			remember(file, id, tt.keep, now)
			got, ok := recall(file, tt.ask, tt.at)
			if ok != (tt.want != nil) || ok && got != *tt.want {
				t.Errorf("got %v %+v", ok, got)
			}
		})
	}
}

func TestCacheHoldsSeveral(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kvm.json")
	now := time.Now()
	a, b := identity{"b1", "qemu"}, identity{"b1", "krun"}
	remember(file, a, Result{Usable: true}, now)
	remember(file, b, Result{Reason: "no"}, now)
	if r, ok := recall(file, a, now); !ok || !r.Usable {
		t.Errorf("first: %v %+v", ok, r)
	}
	if r, ok := recall(file, b, now); !ok || r.Usable {
		t.Errorf("second: %v %+v", ok, r)
	}
	next := identity{"b2", "qemu"}
	remember(file, next, Result{Usable: true}, now)
	if got := len(read(file, "b2").Results); got != 1 {
		t.Errorf("%d results after a new boot, not 1", got)
	}
}

func TestSpoiltCache(t *testing.T) {
	id, now := identity{"b1", "qemu"}, time.Now()
	for _, content := range []string{"", "{", "null", `{"boot":"b1"}`, `{"boot":"b1","results":7}`} {
		file := filepath.Join(t.TempDir(), "kvm.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := recall(file, id, now); ok {
			t.Errorf("%q gave a result", content)
		}
		remember(file, id, Result{Usable: true}, now)
		if _, ok := recall(file, id, now); !ok {
			t.Errorf("%q was not replaced", content)
		}
	}
	remember(filepath.Join(t.TempDir(), "none", "kvm.json"), id, Result{}, now) // costs only time
}

// TestOddCache puts a FIFO in the cache's place. It has to count as an empty cache, and to delay nobody.
func TestOddCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kvm.json")
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	id, now := identity{"b1", "qemu"}, time.Now()
	done := make(chan bool, 1)
	go func() {
		remember(file, id, Result{Usable: true}, now)
		_, ok := recall(file, id, now)
		done <- ok
	}()
	select {
	case ok := <-done:
		if !ok {
			t.Error("it was not replaced")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it hangs")
	}
}

func TestIdentity(t *testing.T) {
	a, err := identify(os.DevNull, "qemu")
	if err != nil {
		t.Fatal(err)
	}
	b, err := identify(os.DevNull, "krun")
	if err != nil {
		t.Fatal(err)
	}
	if a.boot == "" || a.boot != b.boot || a.key == b.key {
		t.Errorf("%+v %+v", a, b)
	}
}
