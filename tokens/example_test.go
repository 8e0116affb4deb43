package tokens_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"openshell-vm/tokens"
)

// A gateway mints a token for a sandbox and later verifies it with the same keys.
func Example() {
	dir, err := os.MkdirTemp("", "tokens")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	keys, err := tokens.OpenKeys(filepath.Join(dir, "keys")) // makes the first key
	if err != nil {
		log.Fatal(err)
	}

	now := time.Now()
	issuer := tokens.Issuer{Keys: keys, GatewayID: "g1"}
	raw, _, err := issuer.Mint(tokens.Request{SandboxID: "box", Generation: 1, TTL: time.Hour, Now: now})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("never in a log:", raw)

	verifier := tokens.Verifier{Keys: keys, GatewayID: "g1", Leeway: tokens.DefaultLeeway,
		Exists: func(sandboxID string) bool { return sandboxID == "box" }}
	claims, err := verifier.Verify(string(raw), now)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sandbox", claims.SandboxID, "with generation", claims.Generation)

	_, err = verifier.Verify(string(raw), now.Add(2*time.Hour))
	fmt.Println("expired:", errors.Is(err, tokens.ErrExpired))
	// Output:
	// never in a log: [token]
	// sandbox box with generation 1
	// expired: true
}

// A token is renewed at half of its life. Each sandbox has its own deviation from that,
// at most 5 % of the life.
func ExampleRenewAt() {
	issued := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	at := tokens.RenewAt(issued, time.Hour, "box")
	fmt.Println(at.After(issued.Add(27*time.Minute-time.Second)), at.Before(issued.Add(33*time.Minute+time.Second)))
	fmt.Println("the least for a bound of 1 s:", tokens.MinTTL(time.Second))
	// Output:
	// true true
	// the least for a bound of 1 s: 16s
}
