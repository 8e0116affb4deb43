package share

import "errors"

// Sentinels for [errors.Is]. The file system's own errors (ENOSPC, EROFS,
// fs.ErrNotExist, …) are in the chain, too.
var (
	ErrName        = errors.New("not a name that a share can publish")
	ErrOwner       = errors.New("belongs to another user")
	ErrMode        = errors.New("is open to other users")
	ErrUnpublished = errors.New("nothing has been published yet")
	ErrExhausted   = errors.New("generation numbers are used up")
)

// Error is the error of a failed operation on a share; errors.As finds it. It holds
// paths and names, never a file's content. A [Reserve] may also fail with an error of
// package os.
type Error struct {
	Op   string // "publish", "mkdir", …
	Path string // of the file or directory that Op failed on
	Err  error
}

func (e *Error) Error() string { return e.Op + " " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause: a sentinel, a context's error, build's error or a
// syscall.Errno.
func (e *Error) Unwrap() error { return e.Err }
