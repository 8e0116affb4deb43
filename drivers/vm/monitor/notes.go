package monitor

import (
	"bytes"
	"fmt"
	"time"

	"openshell-vm/internal/rotlog"
	"openshell-vm/internal/stream"
)

// Output that can't be given is never missing in silence: a note stands in its
// place, a line on standard error.

const (
	missingEarlier = "earlier output is missing: it was rotated away"
	missingHere    = "output is missing here: it was rotated away before it was read"
	missingOnDisk  = "output is missing here: the host's disk did not take it"
	missingLate    = "output is missing here: the last of it did not come in time"
)

// missed is why output before the file that is there is not given, if that with
// the number wanted is not.
func missed(wanted int) []byte {
	if wanted == 0 {
		return note(missingEarlier)
	}
	return note(missingHere)
}

// note is a line of ours, as records of the stdio log.
func note(text string) []byte {
	return appendRecords(nil, time.Now(), stream.Stderr, []byte("openshell-vm: "+text+"\n"))
}

// Each file of the stdio log begins with its number since the start, so that who
// reads them later knows what is missing before it. It is no record.
const fileHeader = "# file %d of this start\n"

func stdioHeader(seq int) []byte { return fmt.Appendf(nil, fileHeader, seq) }

// fileNumber reads a file's first line; ok is false for that of an older version.
func fileNumber(line []byte) (seq int, ok bool) {
	n, err := fmt.Sscanf(string(bytes.TrimSpace(line)), fileHeader, &seq)
	return seq, n == 1 && err == nil
}

// stdioLog is how the log of the workload's output is written.
func stdioLog(max int64, count int) rotlog.Options {
	return rotlog.Options{Max: max, Count: count, Header: stdioHeader, Mark: func() []byte { return note(missingOnDisk) }, Missed: missed}
}
