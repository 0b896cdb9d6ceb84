/* One write or read by one way, in raw system calls; prints the errno, 0 for success.
 *
 * client WAY FILE: write, read, fsync, direct, mmap, msync, uring-write, uring-read,
 * uring-fsync.  A short transfer prints "short N"; SIGBUS prints "SIGBUS".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static char buffer[4096] __attribute__((aligned(4096)));

static void finish(long result)
{
	if (result < 0)
		printf("%d\n", errno);
	else if (result != 0 && result != sizeof buffer)
		printf("short %ld\n", result);
	else
		printf("0\n");
	exit(0);
}

static void bus(int signal)
{
	(void)signal;
	static const char text[] = "SIGBUS\n";
	if (write(1, text, sizeof text - 1)) {}
	_exit(0);
}

/* One request on a ring of one entry: io_uring(7), without liburing. */
static long uring(int opcode, int fd)
{
	struct io_uring_params p;
	memset(&p, 0, sizeof p);
	int ring = syscall(SYS_io_uring_setup, 1, &p);
	if (ring < 0) {
		printf("no io_uring\n");
		exit(0);
	}
	size_t size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
	size_t more = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	char *rings = mmap(0, size > more ? size : more, PROT_READ | PROT_WRITE,
			   MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqe =
		mmap(0, p.sq_entries * sizeof *sqe, PROT_READ | PROT_WRITE,
		     MAP_SHARED, ring, IORING_OFF_SQES);
	if (!(p.features & IORING_FEAT_SINGLE_MMAP) || rings == MAP_FAILED) {
		printf("no io_uring\n");
		exit(0);
	}
	memset(sqe, 0, sizeof *sqe);
	sqe->opcode = opcode;
	sqe->fd = fd;
	if (opcode != IORING_OP_FSYNC) {
		sqe->addr = (unsigned long)buffer;
		sqe->len = sizeof buffer;
	}
	*(unsigned *)(rings + p.sq_off.array) = 0;
	__atomic_store_n((unsigned *)(rings + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	long done;
	do
		done = syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS,
			       0, 0);
	while (done < 0 && errno == EINTR);
	struct io_uring_cqe *cqe = (void *)(rings + p.cq_off.cqes);
	if (cqe->res < 0) {
		errno = -cqe->res;
		return -1;
	}
	return cqe->res;
}

int main(int argc, char **argv)
{
	const char *way = argv[1];
	int flags = O_RDWR | (strcmp(way, "direct") ? 0 : O_DIRECT);
	int fd = argc == 3 ? open(argv[2], flags) : -1;
	if (fd < 0)
		finish(-1);
	memset(buffer, 'x', sizeof buffer);
	if (!strcmp(way, "write") || !strcmp(way, "direct"))
		finish(write(fd, buffer, sizeof buffer));
	if (!strcmp(way, "read"))
		finish(read(fd, buffer, sizeof buffer));
	if (!strcmp(way, "fsync"))
		finish(fsync(fd));
	if (!strcmp(way, "uring-write"))
		finish(uring(IORING_OP_WRITE, fd));
	if (!strcmp(way, "uring-read"))
		finish(uring(IORING_OP_READ, fd));
	if (!strcmp(way, "uring-fsync"))
		finish(uring(IORING_OP_FSYNC, fd));
	signal(SIGBUS, bus);
	char *map = mmap(0, sizeof buffer, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		finish(-1);
	if (!strcmp(way, "mmap"))
		finish(map[0] ? 0 : 1);
	map[0] = 'x';
	finish(msync(map, sizeof buffer, MS_SYNC));
}
