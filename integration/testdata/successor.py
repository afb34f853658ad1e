"""A successor, written from section 11 of docs/protocol.md alone: python3 successor.py PATH NETWORK ADDRESS

It takes the sockets over from an incumbent, greets each client with its process id in a line, and echoes what comes. It
never hands the sockets on.
"""

import array
import fcntl
import json
import os
import select
import signal
import socket
import sys
import threading

MOST = 253  # descriptors in one message
SO_COOKIE, SO_PEERCRED = 57, 17


class GivesUp(Exception):
    pass


def connect(path):
    """The connection that the incumbent left, or a new one to the rendezvous."""
    left = os.environ.pop("SEGUE_HANDOFF", "")
    number, _, rest = left.partition(":")
    inode, _, for_path = rest.partition(":")
    if left and for_path == path and str(os.fstat(int(number)).st_ino) == inode:
        os.set_inheritable(int(number), False)
        link = socket.socket(fileno=int(number))
    else:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        link.connect(path)
    link.setblocking(True)
    uid = array.array("i", link.getsockopt(socket.SOL_SOCKET, SO_PEERCRED, 12))[1]
    if uid not in (0, os.geteuid()):
        raise GivesUp("the incumbent is of user %d" % uid)
    return link


def send(link, **frame):
    link.send(json.dumps(frame, ensure_ascii=False).encode())


def receive(link):
    """The next frame, and the descriptors beside it."""
    data, control, flags, _ = link.recvmsg(65536, socket.CMSG_SPACE(4 * MOST), socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, body in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(body[: len(body) - len(body) % fds.itemsize])
    if not data or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise GivesUp("the connection has ended, or descriptors were lost")
    return json.loads(data), fds


def take(link):
    """WELCOME and all OFFERs: the token, the items and their descriptors."""
    send(link, type="hello", versions=[1], name="successor.py", pid=os.getpid())
    token, items, held = None, [], []
    while True:
        frame, fds = receive(link)
        if frame["type"] == "wait":
            continue
        if frame["type"] == "welcome" and token is None and len(fds) == 1:
            token = fds[0]
            os.set_blocking(token, False)
        elif frame["type"] == "offer" and token is not None and len(fds) == len(frame["items"]):
            items += frame["items"]
            held += fds
            send(link, type="taken", batch=frame["batch"])
            if frame.get("last"):
                return token, items, held
        else:
            raise GivesUp(frame)


def receipt(place, claimed, fd):
    st = os.fstat(fd)
    cookie = 0
    if (st.st_mode & 0o170000) == 0o140000:  # a socket
        borrowed = socket.socket(fileno=fd)
        cookie = int.from_bytes(borrowed.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)
        borrowed.detach()
    return {
        "item": place, "claimed": claimed, "cookie": str(cookie), "dev": str(st.st_dev), "ino": str(st.st_ino),
        "flags": fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE,
    }


def prepare(link, claimed, held):
    receipts = [receipt(i, claimed[i], fd) for i, fd in enumerate(held)]
    batches = [receipts[i : i + MOST] for i in range(0, len(receipts), MOST)] or [[]]
    for n, batch in enumerate(batches):
        send(link, type="prepared", batch=n, last=n == len(batches) - 1, receipts=batch)


def serve(client):
    with client, client.makefile("rwb", buffering=0) as lines:
        lines.write(b"%d\n" % os.getpid())
        for line in lines:
            lines.write(line)


def main(path, network, address):
    link = connect(path)
    token, items, held = take(link)

    def mine(item):
        return item["kind"] == "listener" and item["network"] == network and item["address"] == address

    always = ("rendezvous", "stdout", "stderr")
    claimed = [mine(item) or item["kind"] in always for item in items]
    by_kind = {item["kind"]: fd for item, fd in zip(items, held)}
    listeners = [socket.socket(fileno=fd) for item, fd in zip(items, held) if mine(item)]
    if not listeners:
        raise GivesUp("the incumbent has no such listener")
    prepare(link, claimed, held)
    if receive(link)[0]["type"] != "commit":
        raise GivesUp("no COMMIT")
    os.read(token, 8)  # BlockingIOError: the incumbent has taken the sockets back
    rendezvous = socket.socket(fileno=by_kind["rendezvous"]) if "rendezvous" in by_kind else None
    if rendezvous:
        rendezvous.listen(64)
    for number, kind in ((1, "stdout"), (2, "stderr")):
        if kind in by_kind:
            os.dup2(by_kind[kind], number)
    send(link, type="owned")
    for fd, keep in zip(held, claimed):
        if not keep:
            os.close(fd)
    send(link, type="confirm")

    poll = select.poll()
    sources = {s.fileno(): s for s in [link, *listeners, *filter(None, [rendezvous])]}
    for fd in sources:
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if sources[fd] is link:
                try:
                    if receive(link)[0]["type"] == "ping":
                        send(link, type="pong")
                except (GivesUp, OSError):  # the predecessor has ended
                    poll.unregister(link)
                    link.close()
                continue
            try:
                client, _ = sources[fd].accept()
            except OSError:
                continue
            if sources[fd] is rendezvous:
                reason = "process %d hands over to nobody; stop it, then start the next" % os.getpid()
                send(client, type="refuse", code="unsupported", reason=reason)
                client.close()
            else:
                threading.Thread(target=serve, args=(client,), daemon=True).start()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # at somebody's wish
    try:
        main(*sys.argv[1:])
    except (GivesUp, OSError) as why:
        sys.exit("gives up: %s" % why)
