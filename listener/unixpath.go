package listener

// UnixPath remembers which file a bind made, so that only that file is ever unlinked: the path alone may by now be
// another's, who removed ours and bound anew.
//
// Changing the mode or the owner of the file changes its ctime, so do that before [StatUnixPath], or better by fchmod
// before bind. The zero value is no file; unlinking it does nothing.
type UnixPath struct {
	Path  string `json:"path"` // absolute
	Dev   uint64 `json:"dev"`
	Ino   uint64 `json:"ino"`
	Ctime int64  `json:"ctime"` // in nanoseconds since 1970
}
