// Package schedule says when: one heap of times for any number of keys, the pause after
// a failure, and a way to do many things of which some hang. It knows nothing of what is
// done.
//
// What it promises: what is due runs, the most urgent first, however many others hang
// (up to a thousand); no key runs twice at once. Times are the wall clock's: who learns
// that it was set calls Recheck, else a minute may pass until it is seen.
package schedule
