// Package tokens makes and checks the short-lived tokens by which a sandbox
// proves to its gateway which one it is, and owns the keys that sign them.
//
// A token is a JWT signed with Ed25519. Its header is exactly alg, kid and
// typ; its claims are exactly
//
//	iss, aud     openshell-gateway:<gateway id>
//	sub          spiffe://openshell/sandbox/<sandbox id>
//	sandbox_id   the same id, alone
//	iat          when it was made less 1 s, whole seconds: a sandbox's clock may
//	             be behind its host's, and a strict verifier looks at it
//	nbf          iat
//	exp          iat + lifetime, at most a day; there is no token without
//	jti          128 random bits, hex
//	gen          the generation of the share that carries it
//
// A kid is the hex form of the first 16 bytes of SHA-256 over the public key's
// SubjectPublicKeyInfo in DER.
//
// When to renew is arithmetic and nothing else: RenewAt, MinTTL and CheckTTL
// are pure functions.
//
// What is not promised: a token is not bound to a process, so who can read it
// can use it until it expires; nothing is revoked singly (a sandbox that no
// longer exists is refused by Verifier.Exists, a key by Keys.Retire); and two
// processes must not change one key directory at once: the gateway's state
// lock sees to that.
//
// No error of this package contains a token, a part of one, or key material.
package tokens
