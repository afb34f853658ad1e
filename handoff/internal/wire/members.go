package wire

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// memberNames are all members of version 1, also in the objects within; a test compares them with the types.
var memberNames = [...]string{
	"address", "ahead", "batch", "body", "bound", "claimed", "code", "confirmWithin", "cookie", "count", "ctime", "descriptor",
	"dev", "dryRun", "enable", "features", "flags", "gap", "generation", "handoff", "heir", "idle", "ino", "interval", "item",
	"items", "keepAlive", "keepAliveConfig", "kind", "last", "name", "network", "owner", "path", "phase", "pid",
	"protocol", "reason", "receipts", "records", "refused", "returned", "room", "sections", "size",
	"stateWithin", "takes", "type", "unlink", "unlinkOnClose", "version", "versions",
}

// names are the members of version 1.
type names struct {
	spelled map[string]string // from folded name to spelling
	folded  map[string]string // and back
}

var members = sync.OnceValue(func() names {
	n := names{spelled: make(map[string]string, len(memberNames)), folded: make(map[string]string, len(memberNames))}
	for _, name := range memberNames {
		f := fold(name)
		n.spelled[f], n.folded[name] = name, f
	}
	return n
})

// fold returns the same string for all that strings.EqualFold takes for equal.
func fold(s string) string {
	if isASCII(s) {
		return strings.ToUpper(s) // of those that are equal, the capital letter is the least
	}
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
