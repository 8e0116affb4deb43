package share

import "errors"

// Sentinels for [errors.Is]; what the file system says (ENOSPC, EROFS,
// fs.ErrNotExist, …) is found in the chain too.
var (
	ErrName        = errors.New("not a name that a share can publish")
	ErrOwner       = errors.New("belongs to another user")
	ErrMode        = errors.New("is open to other users")
	ErrEmpty       = errors.New("no file to publish")
	ErrUnpublished = errors.New("nothing has been published yet")
	ErrExhausted   = errors.New("generation numbers are used up")
)

// Error is what every function here returns when it fails. It holds paths and
// names, never a file's content.
type Error struct {
	Op   string // "publish", "mkdir", …
	Path string // of the file or directory it happened to
	Err  error
}

func (e *Error) Error() string { return e.Op + " " + e.Path + ": " + e.Err.Error() }

// Unwrap gives the cause, a sentinel or a syscall.Errno.
func (e *Error) Unwrap() error { return e.Err }
