// Package fdpass moves open descriptors from one process to another, in the three ways that Linux has.
//
//	              SCM_RIGHTS                  pidfd_getfd               procfs
//	here          Send, Recv, SendAll,        Process.Get, GetAll,      Process.Reopen, Reopen
//	              RecvAll                     GetInode
//	moves         whatever is open            whatever is open          files, FIFOs, memfds, devices; no sockets
//	the other     must send                   need not know             need not know
//	gives         the same open file          the same open file        a new open file of the same inode
//	shares        offset, status flags,       the same                  nothing but the file's contents
//	              locks (flock), the socket
//	privilege     to be connected             PTRACE_MODE_ATTACH        PTRACE_MODE_READ, and to open the file
//	since         Linux 2.2                   Linux 5.6                 Linux 2.2 (memfd_create: 3.17)
//	manual        unix(7), cmsg(3)            pidfd_getfd(2)            proc_pid_fd(5)
//
// SCM_RIGHTS is what two programs that know of each other use: it needs no privilege, crosses users and containers, and
// in batches it is several times faster, though not for a single descriptor. pidfd_getfd takes from a process
// that does not take part, if one could trace it with a debugger: of the same user, dumpable, not forbidden by Yama. procfs gives an offset and flags of one's own.
//
// # What is shared
//
// A descriptor is a number in one process, with one flag of its own: close-on-exec. It refers to an open file description
// (open(2), NOTES), which has the file offset, the status flags (O_NONBLOCK, O_APPEND and others, fcntl(2)), the flock(2)
// locks, and for a socket everything: its address, options, queue of connections and of data. The first two ways give a
// new number for the same description: what one process does to it, the other sees. A socket is not closed, and no FIN
// sent, until the last descriptor of it is closed. The third way opens the file again.
//
// # Who closes what
//
// Whoever sends keeps its descriptor, and closes it when it likes. Whoever receives or takes owns a [listener.FD] and must
// close it, or the [Message] that has it. What a failed call got, it has closed; a transfer is whole or it is an error. A
// descriptor that was sent and not received yet is held by the kernel, and closed with the receiving socket.
//
// # As an os.File
//
// What arrives is close-on-exec from the instant it has a number. Its status flags are as they were, and stay so. A
// [listener.FD] is registered with nobody; so is the *os.File that [listener.FD.File] makes of it, unless O_NONBLOCK is
// set: then os.NewFile enters it in the runtime's poller (epoll), where it stays until it is closed, and where its
// readiness wakes this process as well as the other. net.FileConn and net.FileListener always do, and set O_NONBLOCK, for
// all that share the description. To stay out of the poller, keep the FD, and use its Control method. Never call
// (*os.File).Fd on what net.FileConn or (*net.TCPConn).File gave: it clears O_NONBLOCK for all that share it.
//
// Sources beside the manual: net/core/scm.c, net/unix/af_unix.c, net/unix/garbage.c, kernel/pid.c, kernel/ptrace.c and
// fs/proc/fd.c of the kernel.
package fdpass
