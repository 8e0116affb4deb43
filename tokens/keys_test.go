package tokens

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestKeysAreMadeOnceAndPrivate(t *testing.T) {
	// The umask belongs to the process, so no test here runs in parallel.
	for _, umask := range []int{0, 0o022, 0o077, 0o277} {
		old := syscall.Umask(umask)
		dir := filepath.Join(t.TempDir(), "keys")
		first, err := OpenKeys(dir)
		syscall.Umask(old)
		if err != nil {
			if umask == 0o277 && os.Geteuid() != 0 {
				continue // a directory that its owner cannot write is refused
			}
			t.Fatalf("umask %#o: %v", umask, err)
		}
		again, err := OpenKeys(dir)
		if err != nil {
			t.Fatal(err)
		}
		if first.SigningKeyID() != again.SigningKeyID() || len(first.SigningKeyID()) != 32 {
			t.Errorf("opened twice: %q and %q", first.SigningKeyID(), again.SigningKeyID())
		}
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			info, err := f.Info()
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != 0o600 {
				t.Errorf("umask %#o: %s has mode %v", umask, f.Name(), info.Mode())
			}
		}
	}
}

func TestOpenKeysRefuses(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	if _, err := OpenKeys(other); err != nil {
		t.Fatal(err)
	}
	// Each case gets a good directory and spoils it.
	for _, c := range []struct {
		name  string
		spoil func(dir, key string) error
		want  error    // nil: any
		says  []string // in the error, %dir and %key replaced
		hint  string
	}{
		{"directory open to the group", func(dir, _ string) error { return os.Chmod(dir, 0o750) },
			ErrPermissions, []string{"%dir", "0750"}, "chmod 700"},
		{"key open to all", func(_, key string) error { return os.Chmod(key, 0o644) },
			ErrPermissions, []string{"%key", "0644", "0600"}, "chmod 600"},
		{"list writable by the group", func(dir, _ string) error { return os.Chmod(dir+"/keys.json", 0o620) },
			ErrPermissions, []string{"keys.json", "0620"}, "chmod 600"},
		{"key a symlink", func(dir, key string) error {
			return errors.Join(os.Rename(key, dir+"/moved"), os.Symlink("moved", key))
		}, ErrPermissions, []string{"%key", "symbolic link"}, "put the"},
		{"directory a symlink", func(dir, _ string) error {
			return errors.Join(os.Rename(dir, dir+"-moved"), os.Symlink(dir+"-moved", dir))
		}, ErrPermissions, []string{"%dir", "symbolic link"}, "put the"},
		{"directory a file", func(dir, _ string) error {
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
		}, ErrPermissions, []string{"%dir"}, "move it away"},
		{"key a fifo", func(_, key string) error {
			return errors.Join(os.Remove(key), syscall.Mkfifo(key, 0o600))
		}, ErrPermissions, []string{"%key"}, "move it away"},
		{"key of another owner", func(_, key string) error { return os.Chown(key, 4711, -1) },
			ErrPermissions, []string{"%key", "user 4711"}, "chown"},
		{"directory of another owner", func(dir, _ string) error { return os.Chown(dir, 4711, -1) },
			ErrPermissions, []string{"%dir", "user 4711"}, "chown"},
		{"key missing", func(_, key string) error { return os.Remove(key) },
			nil, []string{"%key", "missing"}, "backup"},
		{"key empty", func(_, key string) error { return os.Truncate(key, 0) },
			nil, []string{"%key", "PEM"}, "backup"},
		{"key of another name", func(_, key string) error {
			return copyFile(filepath.Join(other, onlyKey(t, other)), key)
		}, nil, []string{"%key", "name"}, "backup"},
		{"list cut off", func(dir, _ string) error { return os.Truncate(dir+"/keys.json", 10) },
			nil, []string{"keys.json"}, "backup"},
		{"list of a later format", func(dir, _ string) error {
			return os.WriteFile(dir+"/keys.json", []byte(`{"format":3}`), 0o600)
		}, nil, []string{"format 3"}, "backup"},
		{"signing key not listed", func(dir, _ string) error {
			return os.WriteFile(dir+"/keys.json", []byte(`{"format":1,"signing":"x"}`), 0o600)
		}, nil, []string{"signing key"}, "backup"},
		{"kid a path", func(dir, _ string) error {
			return os.WriteFile(dir+"/keys.json", []byte(`{"format":1,"signing":"../x","keys":[{"kid":"../x"}]}`), 0o600)
		}, nil, []string{"malformed key id"}, "backup"},
		{"list missing beside two keys", func(dir, _ string) error {
			return errors.Join(os.Remove(dir+"/keys.json"),
				copyFile(filepath.Join(other, onlyKey(t, other)), filepath.Join(dir, onlyKey(t, other))))
		}, nil, []string{"keys.json", "2 keys"}, "backup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.name, "owner") && os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			dir := filepath.Join(t.TempDir(), "keys")
			k, err := OpenKeys(dir)
			if err != nil {
				t.Fatal(err)
			}
			key := filepath.Join(dir, k.SigningKeyID()+".pem")
			secret, err := os.ReadFile(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(dir, key); err != nil {
				t.Fatal(err)
			}
			_, err = OpenKeys(dir)
			var e *Error
			if !errors.As(err, &e) || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("%v, want an *Error with %v", err, c.want)
			}
			for _, s := range c.says {
				s = strings.NewReplacer("%dir", dir, "%key", key).Replace(s)
				if !strings.Contains(e.Error(), s) {
					t.Errorf("the error does not say %q: %v", s, e)
				}
			}
			if !strings.Contains(e.Hint, c.hint) {
				t.Errorf("hint %q, want %q in it", e.Hint, c.hint)
			}
			noLeak(t, err, strings.ReplaceAll(string(secret), "\n", "."))
		})
	}
}

// rotate makes new keys that sign at once, and returns that for EdDSA.
func rotate(t testing.TB, k *Keys, now time.Time, longest time.Duration) string {
	t.Helper()
	made, err := k.Rotate(now, longest, 0)
	if err != nil {
		t.Fatal(err)
	}
	return made[0].ID
}

func onlyKey(t *testing.T, dir string) string {
	t.Helper()
	list, err := filepath.Glob(dir + "/*.pem")
	if err != nil || len(list) != 1 {
		t.Fatalf("keys in %s: %v %v", dir, list, err)
	}
	return filepath.Base(list[0])
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

func TestRotate(t *testing.T) {
	k := openKeys(t)
	old := mint(t, k, noon, time.Minute)
	oldID := k.SigningKeyID()
	newID := rotate(t, k, noon.Add(time.Second), time.Minute)
	fresh := mint(t, k, noon.Add(time.Second), time.Hour)

	// The next process has to see the same.
	reopened, err := OpenKeys(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*Keys{"same process": k, "next process": reopened} {
		if k.SigningKeyID() != newID || newID == oldID {
			t.Fatalf("%s: signing with %s, rotated from %s to %s", name, k.SigningKeyID(), oldID, newID)
		}
		list := k.List(noon)
		if len(list) != 2 || list[0].ID != newID || list[1].ID != oldID ||
			!list[0].RetireAt.IsZero() || !list[1].RetireAt.Equal(noon.Add(61*time.Second)) {
			t.Errorf("%s: keys %+v", name, list)
		}
		v := verifier(k)
		for _, c := range []struct {
			raw  string
			at   time.Duration
			want error
		}{
			{old, 58 * time.Second, nil},
			{old, 60 * time.Second, ErrExpired},
			{old, 61 * time.Second, ErrUnknownKey},
			{fresh, 61 * time.Second, nil},
		} {
			if _, err := v.Verify(c.raw, noon.Add(c.at)); !errors.Is(err, c.want) {
				t.Errorf("%s at %v: %v, want %v", name, c.at, err, c.want)
			}
		}
	}
}

func TestPruneAndRetire(t *testing.T) {
	k := openKeys(t)
	first := k.SigningKeyID()
	second := rotate(t, k, noon, time.Minute)
	if err := k.Prune(noon.Add(59 * time.Second)); err != nil || len(k.List(noon)) != 2 {
		t.Fatalf("pruned too early: %v, %v", k.List(noon), err)
	}
	if err := k.Prune(noon.Add(60 * time.Second)); err != nil || len(k.List(noon)) != 1 {
		t.Fatalf("not pruned: %v, %v", k.List(noon), err)
	}
	if _, err := os.Stat(filepath.Join(k.dir, first+".pem")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pruned key is still on disk: %v", err)
	}
	if _, err := k.Rotate(noon, time.Hour, 0); err != nil {
		t.Fatal(err)
	}
	if err := k.Retire(second, noon); err != nil || len(k.List(noon)) != 1 {
		t.Errorf("not retired: %v, %v", k.List(noon), err)
	}
	if err := k.Retire(second, noon); !errors.Is(err, ErrNoSuchKey) {
		t.Errorf("retired twice: %v", err)
	}
	if err := k.Retire(k.SigningKeyID(), noon); !errors.Is(err, ErrSigningKey) {
		t.Errorf("retired the signing key: %v", err)
	}
}

// TestKilledSave has the files that a kill after each step of save leaves. The next
// process has to open the directory, and tokens minted before have to verify.
func TestKilledSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	k, err := OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	raw := mint(t, k, noon, time.Minute)
	stray := filepath.Join(dir, strings.Repeat("0", 32)+".pem")
	for name, leave := range map[string]func() error{
		"before the rename of a new key":     func() error { return os.WriteFile(dir+"/.new-x.pem", []byte("half"), 0o600) },
		"after it, before that of the list":  func() error { return copyFile(filepath.Join(dir, k.SigningKeyID()+".pem"), stray) },
		"during the first save, list absent": func() error { return os.Remove(filepath.Join(dir, "keys.json")) },
	} {
		if err := leave(); err != nil {
			t.Fatal(err)
		}
		again, err := OpenKeys(dir)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := verifier(again).Verify(raw, noon); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := again.Rotate(noon, time.Minute, 0); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if list, err := filepath.Glob(dir + "/.new-*"); err != nil || len(list) > 0 {
			t.Errorf("%s: left over: %v %v", name, list, err)
		}
		if _, err := os.Stat(stray); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a key that nothing names is kept", name)
		}
		// For the next case there is only the first key again.
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := k.recreate(); err != nil {
			t.Fatal(err)
		}
	}
}

func (k *Keys) recreate() error {
	if err := os.Mkdir(k.dir, 0o700); err != nil {
		return err
	}
	return save(k.dir, k.ring)
}

// TestRotateWithoutRoom checks that a rotation which can't be written changes nothing.
func TestRotateWithoutRoom(t *testing.T) {
	k := openKeys(t)
	kid := k.SigningKeyID()
	if err := os.RemoveAll(k.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(noon, time.Minute, 0); err == nil {
		t.Fatal("rotated without a directory")
	}
	if k.SigningKeyID() != kid || len(k.List(noon)) != 1 {
		t.Errorf("a failed rotation changed the keys: %+v", k.List(noon))
	}
}

func TestJWKS(t *testing.T) {
	k := openKeys(t)
	raw := mint(t, k, noon, time.Minute)
	old := k.SigningKeyID()
	if _, err := k.Rotate(noon, time.Minute, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   time.Time
		kids []string
	}{
		{noon, []string{k.SigningKeyID(), old}},
		{noon.Add(time.Minute), []string{k.SigningKeyID()}},
	} {
		text, err := k.JWKS(c.at)
		if err != nil {
			t.Fatal(err)
		}
		var set struct{ Keys []map[string]string }
		if err := json.Unmarshal(text, &set); err != nil {
			t.Fatal(err)
		}
		var kids []string
		for _, key := range set.Keys {
			kids = append(kids, key["kid"])
			if len(key) != 6 || key["kty"] != "OKP" || key["crv"] != "Ed25519" || key["use"] != "sig" || key["alg"] != "EdDSA" {
				t.Errorf("key %v", key)
			}
		}
		if strings.Join(kids, " ") != strings.Join(c.kids, " ") {
			t.Errorf("at %v: kids %v, want %v", c.at, kids, c.kids)
		}
		if len(set.Keys) == 2 {
			verifyWith(t, set.Keys[1]["x"], raw)
		}
	}
}

// verifyWith verifies raw with nothing but the JWKS.
func verifyWith(t *testing.T, x, raw string) {
	t.Helper()
	public, err := base64.RawURLEncoding.DecodeString(x)
	if err != nil {
		t.Fatal(err)
	}
	_, err = jwt.Parse(raw, func(*jwt.Token) (any, error) { return ed25519.PublicKey(public), nil },
		jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithTimeFunc(func() time.Time { return noon }),
		jwt.WithAudience("openshell-gateway:"+gatewayID))
	if err != nil {
		t.Errorf("the key set does not verify the token: %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	k := openKeys(t)
	v := verifier(k)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				raw, _, err := Issuer{Keys: k, GatewayID: gatewayID}.Mint(request(1, time.Minute, noon))
				if err != nil {
					t.Error(err)
				}
				if _, err := v.Verify(string(raw), noon); err != nil {
					t.Error(err)
				}
				if _, err := k.JWKS(noon); err != nil {
					t.Error(err)
				}
				raw, _, err = Issuer{Keys: k, GatewayID: gatewayID}.Mint(forAudience(ES256)) // the first one makes the key
				if err != nil {
					t.Error(err)
				}
				if _, err := audience(v).Verify(string(raw), noon); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		if _, err := k.Rotate(noon, time.Minute, 0); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if n := k.now().count(EdDSA); n != 11 {
		t.Errorf("%d keys after ten rotations", n)
	}
	signing := 0
	for _, info := range k.List(noon) {
		if info.State == Signing {
			signing++
		}
	}
	if signing != 2 {
		t.Errorf("%d keys sign two kinds of tokens", signing)
	}
}

// TestKnow checks that Know only looks at the key, because it is asked about old tokens.
func TestKnow(t *testing.T) {
	k := openKeys(t)
	old := mint(t, k, noon, time.Minute)
	kid := k.SigningKeyID()
	if _, err := k.Rotate(noon, time.Minute, 0); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		raw  string
		now  time.Time
		want bool
	}{
		"the signing key's": {mint(t, k, noon, time.Minute), noon, true},
		"an expired one":    {mint(t, k, noon, time.Minute), noon.Add(time.Hour), true},
		"the old key's":     {old, noon, true},
		"an over key's":     {old, noon.Add(time.Hour), false},
		"another gateway's": {mint(t, openKeys(t), noon, time.Minute), noon, false},
		"no token":          {"void", noon, false},
		"too large":         {strings.Repeat("x", MaxSize+1), noon, false},
	} {
		if got := k.Know(c.raw, c.now); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
	if err := k.Retire(kid, noon); err != nil {
		t.Fatal(err)
	}
	if k.Know(old, noon) {
		t.Error("a retired key's token is known")
	}
}

// TestForeignInKeyDirectory checks that foreign files in the key directory stay and are
// reported. Own files that can't be deleted are reported too. Everything else works.
func TestForeignInKeyDirectory(t *testing.T) {
	k := openKeys(t)
	if err := k.Untidy(); err != nil {
		t.Errorf("nothing is wrong, but: %v", err)
	}
	dir, first := k.dir, k.SigningKeyID()
	foreign := []string{"my-backup.pem", "README", strings.Repeat("0", 31) + ".pem", strings.Repeat("Z", 32) + ".pem"}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Not even root can delete a directory with something in it like a file.
	for _, stuck := range []string{strings.Repeat("0", 32) + ".pem", ".new-" + stateName + "x"} {
		if err := os.MkdirAll(filepath.Join(dir, stuck, "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	again, err := OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	told := again.Untidy()
	if told == nil || strings.Count(told.Error(), "not empty") != 2 {
		t.Fatalf("told: %v", told)
	}
	second := rotate(t, again, noon, time.Minute)
	if err := again.Retire(first, noon); err != nil || again.SigningKeyID() != second || len(again.List(noon)) != 1 {
		t.Errorf("retired: %v, %v", again.List(noon), err)
	}
	for _, name := range foreign {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(data) != "mine" {
			t.Errorf("%s reads %q, %v", name, data, err)
		}
		if !strings.Contains(told.Error(), name) {
			t.Errorf("%s is not told: %v", name, told)
		}
	}
}

// TestAdoptBesideForeign has a foreign key beside the key that a killed first save left.
// Only the second is adopted.
func TestAdoptBesideForeign(t *testing.T) {
	k := openKeys(t)
	if err := errors.Join(os.Remove(filepath.Join(k.dir, stateName)), os.WriteFile(filepath.Join(k.dir, "my-backup.pem"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	again, err := OpenKeys(k.dir)
	if err != nil || again.SigningKeyID() != k.SigningKeyID() {
		t.Errorf("opened: %v", err)
	}
}

// TestKeyDirectoryIsSynced checks that the parent directory is synced: the key directory's
// own name must survive a power failure too.
func TestKeyDirectoryIsSynced(t *testing.T) {
	var synced []string
	old := syncDir
	t.Cleanup(func() { syncDir = old })
	syncDir = func(dir string) error {
		synced = append(synced, dir)
		return old(dir)
	}
	parent := t.TempDir()
	if _, err := OpenKeys(filepath.Join(parent, "keys")); err != nil {
		t.Fatal(err)
	}
	if len(synced) == 0 || synced[0] != parent {
		t.Errorf("synced: %q", synced)
	}
}
