package listener

// UnixPath remembers which file a bind made, so that only that file is ever unlinked: the path alone may by now be
// another's, who removed ours and bound anew.
//
// While the socket exists, device and inode tell its file from all others, and the listeners of this package compare no
// more than these. Only [UnixPath.Unlink], which has no socket, compares ctime too: chmod and chown change it, so do that
// before [StatUnixPath] there. The zero value is no file; unlinking it does nothing.
type UnixPath struct {
	Path  string `json:"path"` // absolute
	Dev   uint64 `json:"dev"`
	Ino   uint64 `json:"ino"`
	Ctime int64  `json:"ctime"` // in nanoseconds since 1970
}
