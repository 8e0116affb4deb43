package tokens

import (
	"errors"

	"openshell-vm/internal/fault"
)

// Reasons to refuse a token. Each error of Verify wraps exactly one of them.
var (
	ErrTooLarge     = errors.New("the token is too large")
	ErrMalformed    = errors.New("this is not a token of an openshell gateway")
	ErrAlgorithm    = errors.New("the token's algorithm is not that of its key")
	ErrUnknownKey   = errors.New("no valid key has the token's key id")
	ErrSignature    = errors.New("the token's signature is wrong")
	ErrExpired      = errors.New("the token has expired")
	ErrNotYetValid  = errors.New("the token is from the future")
	ErrIssuer       = errors.New("the token's issuer is not this gateway")
	ErrAudience     = errors.New("the token is for another audience")
	ErrSubject      = errors.New("the token's subject is not its sandbox or pod")
	ErrMissingClaim = errors.New("the token lacks a claim")
	ErrLifetime     = errors.New("the token lives longer than any that is minted")
	ErrNoSandbox    = errors.New("the token's sandbox no longer exists")
	ErrRevoked      = errors.New("the token was revoked")
)

// Sentinels of Keys and CheckTTL.
var (
	ErrPermissions = errors.New("others could read or change the signing keys")
	ErrNoSuchKey   = errors.New("no key has this id")
	ErrSigningKey  = errors.New("this is the signing key: rotate first")
	ErrManyKeys    = errors.New("too many keys still verify")
	ErrTTL         = errors.New("too short")
	ErrLongTTL     = errors.New("too long")
)

// Error is a failure that a user can do something about: what was tried, why it
// failed, and what to do.
type Error = fault.Error
