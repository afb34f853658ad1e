package main

// peer is a way to upgrade a server.
type peer struct {
	name     string
	version  string // that go.mod names, shortly
	promises string // by its own documentation, in short

	signal string // what asks for an upgrade: HUP or USR2
	first  bool   // the signal goes to the process that was started first, which stays; else to the one that serves
	alone  bool   // the next upgrade is refused until the old process has ended
}

// peers are all, in the order of the table.
func peers() []peer {
	return []peer{
		{name: "segue", version: "", signal: "HUP",
			promises: "no connection lost"},
		{name: "tableflip", version: "v1.2.3", signal: "HUP", alone: true,
			promises: "without disrupting existing connections"},
		{name: "overseer", version: "v1.1.6", signal: "USR2", first: true,
			promises: "graceful, zero-down time restarts"},
		{name: "endless", version: "of 2017", signal: "HUP",
			promises: "zero downtime; requests are finished"},
		{name: "grace", version: "of 2018", signal: "USR2",
			promises: "without dropping any connections"},
		{name: "held socket", version: "as by systemd", signal: "HUP", first: true,
			promises: "new connections wait meanwhile"},
		{name: "plain restart", version: "", signal: "HUP", first: true,
			promises: "nothing"},
	}
}
