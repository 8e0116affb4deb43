package drivers_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"openshell-vm/drivers"
)

// A driver gets the share and the user's mounts as Mounts. A Mount is never writable, and
// never covers what the sandbox needs for itself.
func ExampleNewMount() {
	m, err := drivers.NewMount("/srv/data", "/data")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Source(), "is seen at", m.Target())

	_, err = drivers.NewMount("/srv/data", "/proc")
	fmt.Println("refused:", err != nil)
	// Output:
	// /srv/data is seen at /data
	// refused: true
}

// Before a driver shows a directory to a sandbox, it asks what must stay hidden in it. It
// mounts an empty read-only directory over each such path.
func ExampleExposure() {
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)
	state := filepath.Join(home, "state")
	if err := os.MkdirAll(filepath.Join(state, "keys"), 0o700); err != nil {
		log.Fatal(err)
	}

	masks, err := drivers.Exposure(home, []string{state})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("masked:", masks)

	_, err = drivers.Exposure(filepath.Join(state, "keys"), []string{state})
	fmt.Println("refused:", err != nil)
	// Output:
	// masked: [state]
	// refused: true
}

// Programs in a sandbox find the token with the help of two variables. A variable that the
// user has set stays.
func ExampleSpec_WithContract() {
	for _, variable := range (drivers.Spec{}).WithContract([]string{"LANG=C", "OPENSHELL_SANDBOX_AUTH_MODE=static-token"}) {
		fmt.Println(variable)
	}
	// Output:
	// LANG=C
	// OPENSHELL_SANDBOX_AUTH_MODE=static-token
	// OPENSHELL_SANDBOX_TOKEN_FILE=/etc/openshell/auth/sandbox.jwt
}
