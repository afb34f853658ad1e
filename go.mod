module github.com/segue-go/segue

go 1.26.0

require (
	github.com/cloudflare/tableflip v1.2.3 // linked by tests of handoff/tableflip only
	github.com/coreos/go-systemd/v22 v22.7.0
	golang.org/x/sys v0.49.0
)
