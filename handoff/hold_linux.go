package handoff

import "context"

// holdConnections stops every connection that package serve tracks between two requests, and waits for those in flight
// until ctx ends. resumeConnections follows unless the connections go to the successor, also after an error.
func (g *Generation) holdConnections(ctx context.Context) error { return g.exchange.Hold(ctx) }

// resumeConnections undoes holdConnections: this generation serves on.
func (g *Generation) resumeConnections() { g.exchange.Resume() }
