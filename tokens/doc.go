// Package tokens makes and checks the short-lived tokens by which a sandbox proves its
// identity to its gateway, and keeps the keys that sign them.
//
// A token is a JWT signed with Ed25519. Its header is exactly alg, kid and typ. Its claims
// are exactly
//
//	iss, aud     openshell-gateway:<gateway id>
//	sub          spiffe://openshell/sandbox/<sandbox id>
//	sandbox_id   the same id, alone
//	iat          1 s before it was made, in whole seconds: a sandbox's clock may
//	             be behind its host's, and a strict verifier checks iat
//	nbf          iat
//	exp          iat + lifetime, at most a day; no token lacks it
//	jti          128 random bits, hex
//	gen          the generation of the share that carries it
//
// A kid is the hex form of the first 16 bytes of SHA-256 over the public key's
// SubjectPublicKeyInfo in DER.
//
// When to renew is only arithmetic: RenewAt, MinTTL and CheckTTL are pure functions.
//
// What is not promised: a token is not bound to a process, so whoever can read it can use
// it until it expires. No single token can be revoked: Verifier.Exists refuses all tokens
// of a sandbox that is gone, and Keys.Retire all tokens of a key. Two processes must not
// change one key directory at once; the gateway's state lock prevents that.
//
// No error of this package contains a token, a part of one, or key material.
package tokens
