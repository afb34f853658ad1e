package handoff

import "context"

// Wait returns nil when this generation's work is done: a successor has taken over and confirmed, drain has returned,
// and the guard is over. Accept then gives net.ErrClosed. A nil drain has nothing to wait for.
//
// drain is called when the generation is superseded. It waits until what this generation has accepted is served; its
// context ends after DrainTimeout. If the successor dies while this generation guards it, drain's context ends, Accept
// goes on as if nothing had happened, and Wait waits for the next successor: what drain does must be reversible until
// [Generation.Released].
//
// If the state that went to a successor must not be behind (see [RevivalForbid]), and that successor dies, the generation
// is over: drain's context ends, and Wait returns an error that is [ErrStale].
//
// If the successor dies after the guard, while this generation still drains, nobody serves. The drain goes on, and then
// Wait returns an error that is [ErrSuccessorDied]. An end that somebody wished is none: exit status 0, SIGTERM, SIGINT, or
// Close; nor is that of a successor that has handed over to one of its own. Where the kernel does not tell how a process
// ended that is no child (before Linux 6.15), or the parent does not reap it within StepTimeout, only Close is a wish.
//
// If ctx ends first, Wait returns its cause and leaves the generation as it is. If the generation is closed, it returns
// an error that is net.ErrClosed. If it handed the sockets back, Wait calls drain, waits until the connections have returned
// to the predecessor or are drained, and returns an error that is ErrHandedBack and wraps that of Check (see
// [Generation.Fail]). An error of drain, other than that of its context, is returned.
func (g *Generation) Wait(ctx context.Context, drain func(context.Context) error) error {
	return g.errorf("wait", g.driver.Wait(ctx, drain))
}
