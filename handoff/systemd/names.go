package systemd

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// storedPrefix marks what a generation has stored. No socket unit has a name with it, unless somebody means to.
const storedPrefix = "segue/"

// maxFDName is the length that systemd allows a FDNAME (FDNAME_MAX in its src/basic/fd-util.h is 255).
const maxFDName = 255

// escape returns the FDNAME under which a socket of that name is stored. systemd takes ASCII without colons and control
// characters, 255 bytes at most, and calls anything else "stored". So "segue/" goes before the name, and what is not allowed, and
// "%", becomes "%" and two hexadecimal digits:
//
//	tcp/:8080   segue/tcp/%3A8080
//
// A name that is too long for that becomes "segue/%sha256-" and a hash: it is found again, but cannot be read.
func escape(name string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString(storedPrefix)
	for i := range len(name) {
		if c := name[i]; c < ' ' || c >= 0x7f || c == ':' || c == '%' {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	if b.Len() <= maxFDName {
		return b.String()
	}
	sum := sha256.Sum256([]byte(name))
	return storedPrefix + "%sha256-" + hex.EncodeToString(sum[:])
}

// unescape returns the name of what is stored under a FDNAME. It is false for a name that escape did not make, or has made
// a hash of.
func unescape(fdName string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(fdName, storedPrefix)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(rest); i++ {
		if rest[i] != '%' {
			b.WriteByte(rest[i])
			continue
		}
		if i+2 >= len(rest) {
			return "", false
		}
		c, err := hex.DecodeString(rest[i+1 : i+3])
		if err != nil {
			return "", false
		}
		b.WriteByte(c[0])
		i += 2
	}
	if name = b.String(); escape(name) != fdName {
		return "", false
	}
	return name, true
}
