package logs

import (
	"bytes"
	"time"

	"openshell-vm/internal/stream"
)

// The stdio log has the format of Kubernetes' container runtimes:
//
//	2026-11-23T19:03:04.000000005Z stdout F a whole line
//	2026-11-23T19:03:04.000000006Z stderr P a part of a line; the next record continues it
//
// It keeps stdout and stderr apart, byte for byte, and people can read it.

// recordTime is RFC 3339 with all nine digits.
const recordTime = "2006-01-02T15:04:05.000000000Z07:00"

var streamNames = map[stream.Kind]string{stream.Stdout: "stdout", stream.Stderr: "stderr"}

// Append appends data to dst as records: one for each line, and one for what
// follows the last newline.
func Append(dst []byte, now time.Time, kind stream.Kind, data []byte) []byte {
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte{'\n'})
		dst = now.UTC().AppendFormat(dst, recordTime)
		dst = append(dst, ' ')
		dst = append(dst, streamNames[kind]...)
		if whole {
			dst = append(dst, " F "...)
		} else {
			dst = append(dst, " P "...)
		}
		dst = append(dst, line...)
		dst = append(dst, '\n')
		data = rest
	}
	return dst
}

// decodeRecord splits one line of the log, given without its newline, into the
// stream and the bytes that were written to it. ok is false for a line that is not a
// record; a power cut may leave one. data may share line's memory.
func decodeRecord(line []byte) (kind stream.Kind, data []byte, ok bool) {
	parts := bytes.SplitN(line, []byte{' '}, 4)
	if len(parts) != 4 || len(parts[2]) != 1 {
		return 0, nil, false
	}
	for k, name := range streamNames {
		if string(parts[1]) == name {
			kind = k
		}
	}
	data = parts[3]
	if parts[2][0] == 'F' {
		data = append(bytes.Clone(data), '\n')
	}
	return kind, data, kind != 0
}

// Decode passes the output that is in whole lines of the log to write, in order.
// Neighbouring records of one stream go into one call.
func Decode(lines []byte, write func(stream.Kind, []byte) error) error {
	var last stream.Kind
	var pending []byte
	flush := func() error {
		if len(pending) == 0 {
			return nil
		}
		err := write(last, pending)
		pending = pending[:0]
		return err
	}
	for line := range bytes.Lines(lines) {
		kind, data, ok := decodeRecord(bytes.TrimSuffix(line, []byte{'\n'}))
		if !ok {
			continue
		}
		if kind != last {
			if err := flush(); err != nil {
				return err
			}
			last = kind
		}
		pending = append(pending, data...)
	}
	return flush()
}
