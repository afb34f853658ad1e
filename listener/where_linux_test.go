package listener

import (
	"path/filepath"
	"testing"
)

func moreWhere(t *testing.T) map[string][2]string {
	return map[string][2]string{
		"unixpacket": {"unixpacket", filepath.Join(socketDir(t), "s")},
		"abstract":   {"unix", "@" + filepath.Join(socketDir(t), "s")},
	}
}
