package share

import (
	"io"

	"golang.org/x/sys/unix"
)

// owner is the owner and mode that a file or directory gets. For a uid or gid of keep
// the file system decides.
type owner struct {
	uid, gid int
	mode     uint32
}

// apply sets owner and mode by descriptor, so neither the umask nor a changed name
// matters. It sets the mode last: chown may clear bits of it.
func (o owner) apply(fd int) error {
	if o.uid != keep || o.gid != keep {
		if err := unix.Fchown(fd, o.uid, o.gid); err != nil {
			return err
		}
	}
	return unix.Fchmod(fd, o.mode)
}

func (o owner) matches(st unix.Stat_t) bool {
	return st.Mode&0o7777 == o.mode &&
		(o.uid == keep || st.Uid == uint32(o.uid)) &&
		(o.gid == keep || st.Gid == uint32(o.gid))
}

// write makes a new file. After an error the caller has to remove what is there.
func (d dir) write(name string, data []byte, o owner, durable bool) error {
	fd, err := d.open(name, makeFileFlags, privateFile)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := d.do("write", name, func() error { return writeAll(fd, data) }); err != nil {
		return err
	}
	if err := d.do("set owner and mode of", name, func() error { return o.apply(fd) }); err != nil {
		return err
	}
	if !durable {
		return nil
	}
	return d.do("sync", name, func() error { return fsync(fd) })
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// read returns a regular file's content and status. Anything else that may be planted
// under the name (a link, a FIFO, a directory) is an error.
func (d dir) read(name string) (data []byte, st unix.Stat_t, err error) {
	fd, err := d.open(name, openFileFlags, 0)
	if err != nil {
		return nil, st, err
	}
	defer unix.Close(fd)
	err = d.do("read", name, func() error {
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return unix.EINVAL
		}
		data = make([]byte, st.Size)
		return readFull(fd, data)
	})
	return data, st, err
}

// readFull fills data. The files of a generation never change their size.
func readFull(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Read(fd, data)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		data = data[n:]
	}
	return nil
}
