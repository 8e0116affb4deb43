// Package schedule decides when tasks run. It has a schedule for any number of keys, the
// delay after a failure, and a way to run many tasks though some of them hang. It does not
// know what the tasks do.
//
// What it promises: due tasks run, the most urgent first, even if up to a thousand others
// hang. No key runs twice at the same time. Times are the wall clock's: call Recheck when the
// clock was set; without that it may take a minute until the schedule notices.
package schedule
