"""A server that knows nothing of segue, but takes its socket by the convention of sd_listen_fds(3), and drains at SIGTERM."""
import os
import selectors
import signal
import socket
import threading
import time
import urllib.parse

if os.environ.get("LISTEN_PID") != str(os.getpid()) or int(os.environ.get("LISTEN_FDS", "0")) < 1:
    raise SystemExit("not activated")
if os.path.exists(os.environ.get("BROKEN", "")):
    mode = open(os.environ["BROKEN"]).read()
    if mode == "exit":
        raise SystemExit(3)
    if mode == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)

ln = socket.socket(fileno=3)
ln.setblocking(False)
draining = threading.Event()


def serve(conn):
    conn.settimeout(20)
    data = b""
    with conn:
        while True:
            while b"\r\n\r\n" not in data:
                more = conn.recv(65536)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            url = urllib.parse.urlsplit(head.split(b" ", 2)[1].decode())
            query = dict(urllib.parse.parse_qsl(url.query))
            time.sleep(int(query.get("ms", "0")) / 1000)
            body = query.get("token", "").encode()
            last = draining.is_set() or b"connection: close" in head.lower()
            conn.sendall(b"HTTP/1.1 200 OK\r\nX-Segue-Pid: %d\r\nContent-Length: %d\r\n%s\r\n%s" % (
                os.getpid(), len(body), b"Connection: close\r\n" if last else b"", body))
            if last:
                return


wake_r, wake_w = os.pipe()
os.set_blocking(wake_w, False)
signal.set_wakeup_fd(wake_w)
signal.signal(signal.SIGTERM, lambda *_: draining.set())
ready = selectors.DefaultSelector()
ready.register(ln, selectors.EVENT_READ)
ready.register(wake_r, selectors.EVENT_READ)
notify = os.environ.get("NOTIFY_SOCKET", "")
if notify and not os.environ.get("SILENT"):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1\nSTATUS=serving", notify)
threads = []
while not draining.is_set():
    ready.select()
    if draining.is_set():
        break
    try:
        conn, _ = ln.accept()
    except BlockingIOError:
        continue  # the other process was faster
    threads.append(threading.Thread(target=serve, args=(conn,)))
    threads[-1].start()
ln.close()
for t in threads:
    t.join()
