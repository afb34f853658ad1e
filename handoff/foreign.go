package handoff

import (
	"context"
	"os/exec"

	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/handoff/internal/sockets"
)

// upgrader is how package tableflip hands over to a process that does not speak segue's protocol: see [hook.UpgradeTo].
type upgrader = hook.Upgrader

func (g *Generation) handOverTo(ctx context.Context, start hook.Start) error {
	return g.errorf("upgrade", g.driver.UpgradeTo(ctx, func(ctx context.Context, cmd *exec.Cmd, all []*sockets.Socket) error {
		var lent []hook.Lent
		for _, o := range all {
			lent = append(lent, hook.Lent{Name: o.Name(), Kind: o.Kind(), Network: o.Network(), Address: o.Asked(), Conn: o})
		}
		return start(ctx, cmd, lent)
	}))
}
