// Package block makes a block image (an EROFS) of a container image's layers. Nothing of a
// layer is ever extracted onto the host: paths and links only lead through a tree in
// memory, so none can lead out of it.
//
// What a path, a link, a whiteout or a file that comes twice means is what it means to
// Docker: each layer is a tree of its own, which covers those before it.
//
//   - A name is taken from the image's root on, be it absolute. One with ".." is refused.
//   - A symbolic link in the way of an entry is followed, within the tree, if the same layer
//     has it. One of an earlier layer is replaced by a directory.
//   - A hard link's target has to be in the image. The link's own owner, mode and time count
//     for both, and its attributes are added.
//   - The later of two entries of one name counts. Two directories are one, with the later
//     one's owner and mode.
//   - ".wh.NAME" removes NAME of the layers before, ".wh..wh..opq" all that a directory has
//     of them. In the image there are neither of these, and nothing lies in them.
//   - What is older than 1970 is of 1970.
//   - trusted.overlay.* attributes are instructions to an overlay, and left out. So are
//     names of attributes that no Linux file system keeps.
package block
