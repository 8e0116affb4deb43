// Package jailtest has what tests of jails share: a host to attack, a hostile program's
// attempts, how each attempt has to fail, and checks of a running process from outside.
//
// It does not import package jail, since that package's own tests use it.
package jailtest
