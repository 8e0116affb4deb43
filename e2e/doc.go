// Package e2e has the end-to-end tests: with the built programs, real guests and engines,
// and real expiry. They are behind the build tag e2e. `make e2e` builds what they need and
// runs them.
//
// Each test has a home, a state directory and a gateway of its own, and leaves nothing
// behind: no process, no mount, no file. If root runs the tests, each VM test runs twice: as
// root, and as an ordinary user with a fresh uid.
//
// The host decides whether a token was right. A witness inside (e2e/reader) reports the hash
// and the key id of every reading, never the token. The host compares that with what was
// published, and verifies the token without leeway.
package e2e
