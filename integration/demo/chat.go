package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/segue-go/segue/integration/children"
	"github.com/segue-go/segue/integration/load"
)

// chatter is what the users of the chat do: they never leave.
func (d *demo) chatter() load.ChatOptions {
	return load.ChatOptions{Address: d.chat.addr, Users: chatUsers, Pace: 200 * time.Millisecond, Seed: d.o.seed}
}

// chatUsers is how many there are. Each hears what any of them says.
const chatUsers = 30

// askChat asks who accepts connections to the chat. The greeting comes from there, or from a later process, to which the
// connection was moved with it.
func (d *demo) askChat() (pid int, err error) {
	c, err := net.DialTimeout("tcp", d.chat.addr, stepTimeout)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscanf(line, "* process %d serves you;", &pid); err != nil {
		return 0, fmt.Errorf("%w: the chat greets with %.80q", load.ErrForeign, line)
	}
	return pid, nil
}

// awaitChat waits until a process accepts connections to the chat for which ok is true. There is no moment at which asking
// may fail.
func (d *demo) awaitChat(ctx context.Context, ok func(pid int) bool) (pid int, err error) {
	late := children.Eventually(ctx, func() bool {
		pid, err = d.askChat()
		return err != nil || ok(pid)
	})
	if err == nil && late != nil {
		err = fmt.Errorf("the chat is still served by process %d: %w", pid, late)
	}
	return pid, err
}

// chatBegins waits until all users are logged in and speak.
func (d *demo) chatBegins(ctx context.Context) error {
	pid, err := d.awaitChat(ctx, func(int) bool { return true })
	if err != nil {
		return err
	}
	d.chat.chain = append(d.chat.chain, pid)
	return d.chatGoesOn(ctx)
}

// chatGoesOn waits until everybody is logged in and has heard something more.
func (d *demo) chatGoesOn(ctx context.Context) error {
	want := d.users.Counts().Received + chatUsers
	if err := children.Eventually(ctx, func() bool {
		return d.users.Present() == chatUsers && d.users.Counts().Received >= want
	}); err != nil {
		return fmt.Errorf("%d of %d users are logged in to the chat, and heard %d lines: %w", d.users.Present(), chatUsers,
			d.users.Counts().Received, err)
	}
	return nil
}

// chatUpgraded waits for the chat's upgrade: until another process accepts, if pid is not 0 that one, and all users have
// moved to it.
func (d *demo) chatUpgraded(ctx context.Context, pid int) error {
	old := d.chat.owner()
	got, err := d.awaitChat(ctx, func(p int) bool {
		_, ended := d.kids.Exited(pid)
		return ended || p == pid || pid == 0 && p != old
	})
	if e, ended := d.kids.Exited(pid); ended {
		return fmt.Errorf("process %d, which should have taken the chat over: %s", pid, e.Text)
	}
	if err != nil {
		return err
	}
	if slices.Contains(d.chat.chain, got) {
		return fmt.Errorf("process %d serves the chat again, which had been superseded", got)
	}
	d.log.note("the chat moves from process %d to %d", old, got)
	d.chat.chain = append(d.chat.chain, got)
	if err := children.Eventually(ctx, func() bool { return d.users.Counts().Moves >= d.chatMoves() }); err != nil {
		return fmt.Errorf("only %d of %d times was a user moved: %w", d.users.Counts().Moves, d.chatMoves(), err)
	}
	return d.chatGoesOn(ctx)
}

// chatMoves is how often users were to be moved until now.
func (d *demo) chatMoves() int { return chatUsers * (len(d.chat.chain) - 1) }

// chatRevived waits until the owner goes on with the chat after its successor's death.
func (d *demo) chatRevived(ctx context.Context) error {
	if _, err := d.awaitChat(ctx, func(p int) bool { return p == d.chat.owner() }); err != nil {
		return fmt.Errorf("process %d does not go on with the chat after its successor's death: %w", d.chat.owner(), err)
	}
	return d.chatGoesOn(ctx)
}

// checkTalk looks for users who did not stay, and for lines that did not arrive once. Nothing of that is excused: no user had
// moved to the successor that died.
func (d *demo) checkTalk() {
	c := d.talk.ChatCounts
	if c.Lost+c.Doubled+c.Wrong > 0 {
		d.problem("of the %d lines that users of the chat heard, %d were lost, %d came twice and %d were wrong", c.Received,
			c.Lost, c.Doubled, c.Wrong)
	}
	if c.Received == 0 {
		d.problem("nobody heard anything in the chat")
	}
	if want := d.chatMoves(); c.Moves != want && len(d.chat.chain) > 0 {
		d.problem("users of the chat were moved %d times, not %d", c.Moves, want)
	}
}

// footnotesOfChat explain what the table says of the chat.
func (d *demo) footnotesOfChat() {
	if len(d.chat.chain) == 0 {
		return
	}
	fmt.Fprintf(d.out, "Each chat user talked all the time, on one connection, which %d processes have served in turn.\n",
		len(d.chat.chain))
}
