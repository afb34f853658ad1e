module github.com/segue-go/segue/integration/peers

go 1.26.0

require (
	github.com/cloudflare/tableflip v1.2.3
	github.com/facebookgo/grace v0.0.0-20180706040059-75cf19382434
	github.com/fvbock/endless v0.0.0-20170109170031-447134032cb6
	github.com/jpillora/overseer v1.1.6
	github.com/segue-go/segue v0.0.0
)

require (
	github.com/StackExchange/wmi v0.0.0-20190523213315-cbe66965904d // indirect
	github.com/davecgh/go-spew v1.1.1 // indirect
	github.com/facebookgo/clock v0.0.0-20150410010913-600d898af40a // indirect
	github.com/facebookgo/ensure v0.0.0-20200202191622-63f1cf65ac4c // indirect
	github.com/facebookgo/freeport v0.0.0-20150612182905-d4adf43b75b9 // indirect
	github.com/facebookgo/httpdown v0.0.0-20180706035922-5979d39b15c2 // indirect
	github.com/facebookgo/stack v0.0.0-20160209184415-751773369052 // indirect
	github.com/facebookgo/stats v0.0.0-20151006221625-1b76add642e4 // indirect
	github.com/facebookgo/subset v0.0.0-20200203212716-c811ad88dec4 // indirect
	github.com/go-ole/go-ole v1.2.4 // indirect
	github.com/jpillora/s3 v1.1.4 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/segue-go/segue => ../..
