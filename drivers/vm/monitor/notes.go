package monitor

import (
	"bytes"
	"fmt"
	"time"

	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/internal/rotlog"
	"openshell-vm/internal/stream"
)

// Where output is missing, the reader is told: a note, which is a line on standard
// error, stands in its place.

const (
	missingEarlier = "earlier output is missing: it was rotated away"
	missingHere    = "output is missing here: it was rotated away before it was read"
	missingOnDisk  = "output is missing here: the host's disk did not take it"
	missingLate    = "output is missing here: the last of it did not come in time"
)

// missed is the note for a reader that wants the file of that number when it is gone.
func missed(wanted int) []byte {
	if wanted == 0 {
		return note(missingEarlier)
	}
	return note(missingHere)
}

// note returns a line of ours as records of the stdio log.
func note(text string) []byte {
	return appendRecords(nil, time.Now(), stream.Stderr, []byte(api.Note(text)))
}

// fileHeader is the first line of each file of the stdio log. It numbers the files
// since the start, so a later reader knows whether files are missing before it. It is
// not a record.
const fileHeader = "# file %d of this start\n"

func stdioHeader(seq int) []byte { return fmt.Appendf(nil, fileHeader, seq) }

// fileNumber reads the number in a file's first line. ok is false if the line is no
// fileHeader: older versions wrote none.
func fileNumber(line []byte) (seq int, ok bool) {
	n, err := fmt.Sscanf(string(bytes.TrimSpace(line)), fileHeader, &seq)
	return seq, n == 1 && err == nil
}

// stdioLog returns the options of the log of the workload's output.
func stdioLog(limit int64, count int) rotlog.Options {
	return rotlog.Options{Max: limit, Count: count, Header: stdioHeader, Mark: func() []byte { return note(missingOnDisk) }, Missed: missed}
}
