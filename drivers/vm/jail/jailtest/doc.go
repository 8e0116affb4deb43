// Package jailtest is what tests of jails share: a host to get at, a hostile
// program's attempts to get there, what each of them is to come to, and checks
// of a running process from outside.
//
// It does not know package jail, whose own tests use it.
package jailtest
