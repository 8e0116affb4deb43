package logs

import (
	"bytes"
	"fmt"
	"time"

	"openshell-vm/drivers/vm/monitor/api"
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

// Late returns the note for output that did not come in time.
func Late() []byte { return note(missingLate) }

// note returns a line of ours as records of the stdio log.
func note(text string) []byte {
	return Append(nil, time.Now(), stream.Stderr, []byte(api.Note(text)))
}

// headerFormat is the first line of each file of the stdio log. It numbers the files
// since the start, so a later reader knows whether files are missing before it. It is
// not a record.
const headerFormat = "# file %d of this start\n"

func fileHeader(seq int) []byte { return fmt.Appendf(nil, headerFormat, seq) }

// fileNumber reads the number in a file's first line. ok is false if the line is no
// header: older versions wrote none.
func fileNumber(line []byte) (seq int, ok bool) {
	n, err := fmt.Sscanf(string(bytes.TrimSpace(line)), headerFormat, &seq)
	return seq, n == 1 && err == nil
}
