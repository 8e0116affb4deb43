package testhost

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Witness puts the static program that runs inside into dir, and gives its path. It is
// compiled, unless OPENSHELL_WITNESS names one that is ready.
func Witness(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "witness")
	if built := os.Getenv(envWitness); built != "" {
		copyProgram(t, built, path)
		return path
	}
	if ready := os.Getenv("OPENSHELL_WITNESS"); ready != "" { // where a compiler would be too slow
		copyProgram(t, ready, path)
		return path
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "openshell-vm/drivers/driverstest/witness")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the witness: %v\n%s", err, out)
	}
	return path
}

func copyProgram(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}
