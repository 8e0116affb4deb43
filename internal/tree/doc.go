// Package tree packs files into a tar archive and unpacks one. It is what cp uses on both
// sides: on the host, and in a guest.
//
// What Unpack promises, whatever the archive holds: nothing is made or changed outside the
// directory. Names with .. or a NUL are refused, and a leading / means the directory itself.
// No symbolic link is followed, neither one of the archive's nor one that was there, unless
// Options.Follow says so. It makes no device and sets no setuid bit, unless the options say
// so. Its memory does not grow with the archive, and it writes no more bytes than it reads:
// sparse files are refused. An archive without its end is an error.
//
// What is not promised: that an Unpack that failed leaves nothing behind. It returns how
// much it has done, and leaves no half of a file.
//
// Every system call that makes or changes something gets a single name and the descriptor of
// the directory that it is in.
package tree

import "errors"

// Summary is what was packed or unpacked.
type Summary struct {
	Entries int   // files, directories and all else
	Bytes   int64 // of files' content

	// LeftOut counts what could not be packed or unpacked while all else could. FirstLeftOut
	// says in one line why the first was left out.
	LeftOut      int
	FirstLeftOut string
}

func (s *Summary) leaveOut(why string) {
	if s.LeftOut == 0 {
		s.FirstLeftOut = why
	}
	s.LeftOut++
}

// ErrCut means that an archive ended before its end mark.
var ErrCut = errors.New("the archive ends early")

// capability is the key of a file's capabilities, as other tools write it.
const (
	capability    = "security.capability"
	capabilityKey = "SCHILY.xattr." + capability
)
