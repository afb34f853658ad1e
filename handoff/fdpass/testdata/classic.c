/*
 * write_fd and read_fd as in W. Richard Stevens, "UNIX Network Programming", volume 1, 15.7: what any C program does that
 * passes descriptors. Used by classic_linux_test.go, with a Unix socket as descriptor 3:
 *
 *   classic send file|pipe|listener BYTES  makes one, sends it with that many bytes, and does what the test expects
 *   classic recv file|pipe|listener BYTES  receives one, and uses it
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static ssize_t write_fd(int fd, void *ptr, size_t nbytes, int sendfd)
{
	struct msghdr msg;
	struct iovec iov[1];
	union {
		struct cmsghdr cm;
		char control[CMSG_SPACE(sizeof(int))];
	} control_un;
	struct cmsghdr *cmptr;

	memset(&msg, 0, sizeof(msg));
	memset(&control_un, 0, sizeof(control_un));
	msg.msg_control = control_un.control;
	msg.msg_controllen = sizeof(control_un.control);
	cmptr = CMSG_FIRSTHDR(&msg);
	cmptr->cmsg_len = CMSG_LEN(sizeof(int));
	cmptr->cmsg_level = SOL_SOCKET;
	cmptr->cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(cmptr), &sendfd, sizeof(int));
	iov[0].iov_base = ptr;
	iov[0].iov_len = nbytes;
	msg.msg_iov = iov;
	msg.msg_iovlen = 1;
	return sendmsg(fd, &msg, 0);
}

static ssize_t read_fd(int fd, void *ptr, size_t nbytes, int *recvfd)
{
	struct msghdr msg;
	struct iovec iov[1];
	ssize_t n;
	union {
		struct cmsghdr cm;
		char control[CMSG_SPACE(sizeof(int))];
	} control_un;
	struct cmsghdr *cmptr;

	memset(&msg, 0, sizeof(msg));
	msg.msg_control = control_un.control;
	msg.msg_controllen = sizeof(control_un.control);
	iov[0].iov_base = ptr;
	iov[0].iov_len = nbytes;
	msg.msg_iov = iov;
	msg.msg_iovlen = 1;
	if ((n = recvmsg(fd, &msg, 0)) <= 0)
		return n;
	*recvfd = -1;
	if ((cmptr = CMSG_FIRSTHDR(&msg)) != NULL && cmptr->cmsg_len == CMSG_LEN(sizeof(int)) &&
	    cmptr->cmsg_level == SOL_SOCKET && cmptr->cmsg_type == SCM_RIGHTS)
		memcpy(recvfd, CMSG_DATA(cmptr), sizeof(int));
	return n;
}

static void put(int fd, const char *s)
{
	if (write(fd, s, strlen(s)) != (ssize_t)strlen(s))
		die("write");
}

static void expect(int fd, const char *s)
{
	char buf[100];
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	if (n < 0)
		die("read");
	buf[n] = 0;
	if (strcmp(buf, s) != 0) {
		fprintf(stderr, "read \"%s\", want \"%s\"\n", buf, s);
		exit(1);
	}
}

static int send_one(const char *kind, size_t bytes)
{
	char data[100] = "classic";
	int fd = -1, ends[2];
	FILE *file;

	if (strcmp(kind, "file") == 0) {
		if ((file = tmpfile()) == NULL)
			die("tmpfile");
		fd = fileno(file);
		put(fd, "from C");
		if (lseek(fd, 0, SEEK_SET) < 0)
			die("lseek");
	} else if (strcmp(kind, "pipe") == 0) {
		if (pipe(ends) < 0)
			die("pipe");
		fd = ends[0];
		put(ends[1], "from C");
	} else {
		struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

		if ((fd = socket(AF_INET, SOCK_STREAM, 0)) < 0 || bind(fd, (void *)&addr, sizeof(addr)) < 0 || listen(fd, 5) < 0)
			die("listen");
	}
	if (write_fd(3, data, bytes, fd) != (ssize_t)bytes)
		die("write_fd");
	/* The other side has used it by then. */
	if (read(3, data, 1) != 1)
		die("read of the answer");
	return 0;
}

static int recv_one(const char *kind, size_t bytes)
{
	char data[100];
	int fd = -1, c;

	if (read_fd(3, data, sizeof(data), &fd) != (ssize_t)bytes || fd < 0)
		die("read_fd");
	if (strcmp(kind, "listener") == 0) {
		if ((c = accept(fd, NULL, NULL)) < 0)
			die("accept");
		put(c, "from C");
		close(c);
	} else {
		expect(fd, "from Go");
	}
	if (write(3, "k", 1) != 1)
		die("write of the answer");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "send") == 0)
		return send_one(argv[2], atoi(argv[3]));
	if (argc == 4 && strcmp(argv[1], "recv") == 0)
		return recv_one(argv[2], atoi(argv[3]));
	fprintf(stderr, "usage: classic send|recv file|pipe|listener BYTES\n");
	return 2;
}
