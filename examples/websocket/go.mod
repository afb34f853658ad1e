module github.com/segue-go/segue/examples/websocket

go 1.26.0

require (
	github.com/gobwas/ws v1.5.0
	github.com/segue-go/segue v0.0.0
)

require (
	github.com/gobwas/httphead v0.1.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/segue-go/segue => ../..
