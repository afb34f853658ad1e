/*
 * The floor: descriptors moved in each way by as little C as does it. Run by integration/fdbench.
 *
 *   floor scm|polled|pidfd|procfs N REPS
 *
 * For each line on standard input it moves N descriptors REPS times, and prints how many nanoseconds that took, without
 * closing what came. Up to 253 go to itself over a socket pair, more to another process; pidfd and procfs always take
 * from another process. polled is scm with the sockets in an epoll instance on which a thread waits, as those of every
 * program with an event loop are: each message then wakes that thread, twice.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX = 20000, LOT = 253, FIRST = 300 };
static int has[MAX], got[MAX];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void send_fds(int sock, const int *fds, int n)
{
	char byte = 'x', control[CMSG_SPACE(LOT * sizeof(int))];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	if (sendmsg(sock, &msg, MSG_NOSIGNAL) != 1)
		die("sendmsg");
}

static int recv_fds(int sock, int *fds)
{
	char byte, control[CMSG_SPACE(LOT * sizeof(int))];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	int n;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1 || msg.msg_flags & MSG_CTRUNC || !(c = CMSG_FIRSTHDR(&msg)))
		die("recvmsg");
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return n;
}

/* hold is the other process: it has the descriptors, and sends them for each byte. */
static void hold(int sock, int n)
{
	char byte;

	while (read(sock, &byte, 1) == 1)
		for (int i = 0; i < n; i += LOT)
			send_fds(sock, has + i, n - i < LOT ? n - i : LOT);
	exit(0);
}

static void *wait_for_events(void *epfd)
{
	struct epoll_event events[128];

	for (;;)
		epoll_wait(*(int *)epfd, events, 128, -1);
}

/* poll_too registers sockets as Go's runtime does (netpoll_epoll.go). */
static void poll_too(const int *socks, int n)
{
	static int epfd;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
	pthread_t thread;

	if ((epfd = epoll_create1(EPOLL_CLOEXEC)) < 0)
		die("epoll_create1");
	for (int i = 0; i < n; i++)
		if (epoll_ctl(epfd, EPOLL_CTL_ADD, socks[i], &ev) < 0)
			die("epoll_ctl");
	if (pthread_create(&thread, NULL, wait_for_events, &epfd) != 0)
		die("pthread_create");
}

int main(int argc, char **argv)
{
	int n, reps, pair[2], self, pidfd = -1;
	pid_t pid = getpid();
	struct rlimit lim;
	char line[10], path[64];
	const char *way;

	if (argc != 4 || (n = atoi(argv[2])) < 1 || n > MAX) {
		fprintf(stderr, "usage: floor scm|polled|pidfd|procfs N REPS\n");
		return 2;
	}
	way = argv[1];
	reps = atoi(argv[3]);
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	self = (strcmp(way, "scm") == 0 || strcmp(way, "polled") == 0) && n <= LOT;
	if (!self && (pid = fork()) < 0)
		die("fork");
	if (self || pid == 0) {
		if (!self)
			prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < n; i++) {
			int fd = strcmp(way, "procfs") == 0 ? memfd_create("x", MFD_CLOEXEC)
							    : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

			/* numbers in a row, above what may be inherited */
			if (fd < 0 || (has[i] = fcntl(fd, F_DUPFD_CLOEXEC, FIRST + i)) != FIRST + i)
				die("socket");
			close(fd);
		}
		if (!self) {
			if (write(pair[1], "k", 1) != 1)
				die("write");
			hold(pair[1], n);
		}
	} else {
		if (read(pair[0], line, 1) != 1)
			die("read");
		for (int i = 0; i < n; i++)
			has[i] = FIRST + i;
	}
	if (strcmp(way, "polled") == 0)
		poll_too(pair, 2);
	if (strcmp(way, "pidfd") == 0 && (pidfd = syscall(SYS_pidfd_open, pid, 0)) < 0)
		die("pidfd_open");
	while (fgets(line, sizeof(line), stdin)) {
		long long total = 0;

		for (int r = 0; r < reps; r++) {
			long long start = now();

			if (self) {
				send_fds(pair[1], has, n);
				recv_fds(pair[0], got);
			} else if (pidfd >= 0) {
				for (int i = 0; i < n; i++)
					if ((got[i] = syscall(SYS_pidfd_getfd, pidfd, has[i], 0)) < 0)
						die("pidfd_getfd");
			} else if (strcmp(way, "procfs") == 0) {
				for (int i = 0; i < n; i++) {
					snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, has[i]);
					if ((got[i] = open(path, O_RDONLY | O_CLOEXEC)) < 0)
						die("open");
				}
			} else {
				if (write(pair[0], "g", 1) != 1)
					die("write");
				for (int i = 0; i < n;)
					i += recv_fds(pair[0], got + i);
			}
			total += now() - start;
			for (int i = 0; i < n; i++)
				close(got[i]);
		}
		printf("%lld\n", total);
		fflush(stdout);
	}
	return 0;
}
