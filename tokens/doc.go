// Package tokens makes and checks the short-lived tokens by which a sandbox proves its
// identity, and keeps the keys that sign them. One token is for the gateway itself; others
// are for whoever takes tokens of an issuer that it can look up, such as a cloud.
//
// A token is a JWT. Its header is exactly alg, kid and typ. Its claims are exactly
//
//	iss          openshell-gateway:<gateway id>, or the issuer's URL
//	aud          one audience; for the gateway itself openshell-gateway:<gateway id>
//	sub          spiffe://<trust domain>/sandbox/<sandbox id>, or …/identity/<name>; the
//	             trust domain is openshell by default
//	sandbox_id   the sandbox's id, alone; not in a token of a pod, see Pod
//	iat          1 s before it was made, in whole seconds: a sandbox's clock may
//	             be behind its host's, and a strict verifier checks iat
//	nbf          iat
//	exp          iat + lifetime, at most a day; no token lacks it
//	jti          128 random bits, hex; left out on demand, not for the gateway
//	gen          the generation of the share that carries it; absent if none does
//	openshell    an object: id, name, driver, image or rootfs, or kubernetes; not for the gateway
//
// and the user's own, which are strings; a token for the gateway has none.
//
// A token for the gateway is signed with EdDSA. Others are signed with ES256 by default:
// that is what most verifiers take and a JWT-SVID allows. RS256 is for those that take
// nothing else. A key is for one algorithm, and the key that a token names decides which one
// that is: the token's header only has to agree. Of an ECDSA signature anybody can make a
// second one that fits the same text; Verify refuses that form, and Mint never writes it.
//
// A kid is the hex form of the first 16 bytes of SHA-256 over the public key's
// SubjectPublicKeyInfo in DER.
//
// A new key may be published before it signs, so that those who keep the key set know it
// by then: see Keys.Rotate. Each kind of key is made when it is first wanted.
//
// When to renew is only arithmetic: RenewAt, MinTTL and CheckTTL are pure functions.
//
// What is not promised: a token is not bound to a process, so whoever can read it can use
// it until it expires. Verifier.Exists refuses all tokens of a sandbox that is gone,
// Verifier.Revoked single ones, and Keys.Retire all tokens of a key. Who verifies with only
// the key set learns of the last at its next look, and of the others never. Two processes
// must not change one key directory at once; the gateway's state lock prevents that.
//
// No error of this package contains a token, a part of one, or key material.
package tokens
