// Package e2e holds the end-to-end tests: the built programs, real guests and
// engines, real expiry. They are behind the build tag e2e; `make e2e` builds
// what they need and runs them.
//
// Each test makes a world of its own (home, state directory, gateway) and
// leaves nothing behind: no process, no mount, no file. Run as root, each VM
// test runs twice: as root and as an ordinary user with a fresh uid.
//
// The judge is the host: a witness inside (e2e/reader) reports the hash and
// the key id of every reading, never the token, and the host compares with
// what was published and verifies with no leeway.
package e2e
