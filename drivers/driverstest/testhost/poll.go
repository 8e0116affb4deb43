package testhost

import "time"

// Pause is what a test waits between one look and the next, in a loop that waits for something. began is
// when the last look began. A look that starts a program takes tens of milliseconds of a processor: a
// loop without a longer pause takes most of one, from the guest that it waits for.
func Pause(began time.Time) {
	time.Sleep(min(max(20*time.Millisecond, 4*time.Since(began)), time.Second))
}

// Await looks again and again until ok, and reports whether that was so in time.
func Await(within time.Duration, ok func() bool) bool {
	end := time.Now().Add(within)
	for began := time.Now(); !ok(); began = time.Now() {
		if began.After(end) {
			return false
		}
		Pause(began)
	}
	return true
}
