/* The filesystem in memory, in C on a blocking /dev/fuse: nothing can be faster
 * that serves one request at a time.  One flat directory; needs root.
 *
 *   floor MOUNTPOINT --io=direct|cached|writeback --files=N --size=BYTES
 *         --valid=SECONDS --plus=0|1 --pause= --source=
 *
 * The last two are there because every server takes the same command line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_WRITE (1 << 20)
#define BUCKETS (1 << 20)
#define NAME_SIZE 64

struct node {
	uint64_t ino, lookups;
	struct node *same_bucket;
	char *data;
	size_t size, room;
	uint32_t mode;
	uint32_t namelen;
	char name[NAME_SIZE];
	int linked;
};

static struct { int direct, writeback, valid, plus; size_t files, size; } shape = {
	.files = 1, .size = 64 << 20,
};

static struct node **nodes;	/* by number; a number is never used twice */
static size_t count, room;
static struct node *buckets[BUCKETS];

static uint64_t hash(const char *name)
{
	uint64_t value = 14695981039346656037u;

	while (*name)
		value = (value ^ (unsigned char)*name++) * 1099511628211u;
	return value % BUCKETS;
}

static struct node **find(const char *name)
{
	struct node **place = &buckets[hash(name)];

	while (*place && strcmp((*place)->name, name))
		place = &(*place)->same_bucket;
	return place;
}

static struct node *make(const char *name, uint32_t mode)
{
	struct node *node = calloc(1, sizeof *node), **place = find(name);

	if (count + 2 > room) {
		room = room ? 2 * room : 1024;
		nodes = realloc(nodes, room * sizeof *nodes);
	}
	node->ino = ++count;
	nodes[node->ino] = node;
	node->mode = mode;
	node->namelen = strlen(strncpy(node->name, name, NAME_SIZE - 1));
	node->linked = 1;
	node->same_bucket = *place;
	*place = node;
	return node;
}

static void drop(struct node *node)
{
	if (node->linked || node->lookups)
		return;
	nodes[node->ino] = NULL;
	free(node->data);
	free(node);
}

static void forget(uint64_t ino, uint64_t nlookup)
{
	nodes[ino]->lookups -= nlookup;
	if (ino != FUSE_ROOT_ID)
		drop(nodes[ino]);
}

static void resize(struct node *node, size_t size)
{
	if (size > node->room) {
		node->room = size > 2 * node->room ? size : 2 * node->room;
		node->data = realloc(node->data, node->room);
	}
	if (size > node->size)
		memset(node->data + node->size, 0, size - node->size);
	node->size = size;
}

static void fill(void)
{
	struct node *data;
	char name[NAME_SIZE];

	make("", S_IFDIR | 0755);
	data = make("data", S_IFREG | 0644);
	/* Page-aligned, or writev() of a megabyte takes half as long again. */
	data->size = data->room = shape.size;
	data->data = aligned_alloc(4096, (shape.size + 4095) & ~(size_t)4095);
	for (size_t offset = 0; offset < shape.size; offset++)
		data->data[offset] = "triofuse"[offset % 8];
	for (size_t number = 0; number < shape.files; number++) {
		struct node *node;

		snprintf(name, sizeof name, "f%07zu", number);
		node = make(name, S_IFREG | 0644);
		resize(node, strlen(name));
		memcpy(node->data, name, node->size);
	}
}

static void put_attr(struct fuse_attr *attr, const struct node *node)
{
	*attr = (struct fuse_attr){
		.ino = node->ino, .mode = node->mode, .nlink = node->linked,
		.size = node->size, .blksize = 4096,
	};
}

static void put_entry(struct fuse_entry_out *out, struct node *node)
{
	out->nodeid = node->ino;
	out->entry_valid = out->attr_valid = shape.valid;
	put_attr(&out->attr, node);
	node->lookups++;
}

static size_t list(char *out, const struct fuse_read_in *in, int plus)
{
	size_t head = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET, used = 0;

	/* The cookie of an entry is its number. */
	for (uint64_t ino = in->offset < 1 ? 2 : in->offset + 1; ino <= count; ino++) {
		struct node *node = nodes[ino];
		struct fuse_dirent *dirent;
		size_t length;

		if (!node || !node->linked)
			continue;
		length = FUSE_DIRENT_ALIGN(head + node->namelen);
		if (used + length > in->size)
			break;
		memset(out + used, 0, length);
		if (plus)
			put_entry((void *)(out + used), node);
		dirent = (void *)(out + used + head - FUSE_NAME_OFFSET);
		dirent->ino = dirent->off = ino;
		dirent->type = node->mode >> 12;
		dirent->namelen = node->namelen;
		memcpy(dirent->name, node->name, node->namelen);
		used += length;
	}
	return used;
}

static size_t init(struct fuse_init_out *out, const struct fuse_init_in *in)
{
	out->major = FUSE_KERNEL_VERSION;
	out->minor = in->minor < FUSE_KERNEL_MINOR_VERSION ? in->minor
							   : FUSE_KERNEL_MINOR_VERSION;
	out->max_readahead = in->max_readahead;
	out->flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES |
		     FUSE_AUTO_INVAL_DATA | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS;
	if (shape.plus)
		out->flags |= FUSE_DO_READDIRPLUS;
	if (shape.writeback)
		out->flags |= FUSE_WRITEBACK_CACHE;
	out->flags &= in->flags;
	out->max_background = 64;
	out->congestion_threshold = 48;
	out->max_write = MAX_WRITE;
	out->time_gran = 1;
	out->max_pages = MAX_WRITE / 4096;
	return sizeof *out;
}

static size_t put_open(struct fuse_open_out *out, uint64_t ino)
{
	out->fh = ino;
	out->open_flags = shape.direct ? FOPEN_DIRECT_IO : 0;
	return sizeof *out;
}

/* Serves one request into `*out`, returns the length or an error below 0. */
static ssize_t serve(struct fuse_in_header *header, char *arg, char **out)
{
	struct node *node = header->nodeid ? nodes[header->nodeid] : NULL, **place;

	memset(*out, 0, 512);
	switch (header->opcode) {
	case FUSE_INIT:
		return init((void *)*out, (void *)arg);
	case FUSE_LOOKUP:
		if (!*(place = find(arg)))
			return -ENOENT;
		put_entry((void *)*out, *place);
		return sizeof(struct fuse_entry_out);
	case FUSE_GETATTR:
	case FUSE_SETATTR: {
		struct fuse_setattr_in *in = (void *)arg;
		struct fuse_attr_out *reply = (void *)*out;

		if (header->opcode == FUSE_SETATTR && in->valid & FATTR_SIZE)
			resize(node, in->size);
		reply->attr_valid = shape.valid;
		put_attr(&reply->attr, node);
		return sizeof *reply;
	}
	case FUSE_CREATE: {
		struct fuse_create_in *in = (void *)arg;
		char *name = arg + sizeof *in;

		if (*find(name))
			return -EEXIST;
		node = make(name, in->mode);
		put_entry((void *)*out, node);
		put_open((void *)(*out + sizeof(struct fuse_entry_out)), node->ino);
		return sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out);
	}
	case FUSE_UNLINK:
		place = find(arg);
		if (!(node = *place))
			return -ENOENT;
		*place = node->same_bucket;
		node->linked = 0;
		drop(node);
		return 0;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		return put_open((void *)*out, header->nodeid);
	case FUSE_READ: {
		struct fuse_read_in *in = (void *)arg;
		size_t left = in->offset < node->size ? node->size - in->offset : 0;

		*out = node->data + in->offset;
		return in->size < left ? in->size : left;
	}
	case FUSE_WRITE: {
		struct fuse_write_in *in = (void *)arg;

		if (in->offset + in->size > node->size)
			resize(node, in->offset + in->size);
		memcpy(node->data + in->offset, in + 1, in->size);
		((struct fuse_write_out *)*out)->size = in->size;
		return sizeof(struct fuse_write_out);
	}
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return list(*out, (void *)arg, header->opcode == FUSE_READDIRPLUS);
	case FUSE_STATFS:
		return sizeof(struct fuse_statfs_out);
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		return 0;
	default:
		return -ENOSYS;
	}
}

/* Takes what nobody waits for; returns whether it was that. */
static int control(struct fuse_in_header *header, char *arg)
{
	struct fuse_batch_forget_in *batch = (void *)arg;
	struct fuse_forget_one *one = (void *)(batch + 1);

	switch (header->opcode) {
	case FUSE_FORGET:
		forget(header->nodeid, ((struct fuse_forget_in *)arg)->nlookup);
		return 1;
	case FUSE_BATCH_FORGET:
		for (uint32_t number = 0; number < batch->count; number++)
			forget(one[number].nodeid, one[number].nlookup);
		return 1;
	case FUSE_INTERRUPT:
		return 1;
	default:
		return 0;
	}
}

static void loop(int device)
{
	char *request = malloc(MAX_WRITE + 8192), *replies = malloc(MAX_WRITE + 8192);

	for (;;) {
		struct fuse_in_header *header = (void *)request;
		char *arg = request + sizeof *header, *out = replies;
		struct fuse_out_header reply;
		struct iovec vector[2];
		ssize_t size = read(device, request, MAX_WRITE + 8192);

		if (size < 0 && errno == ENODEV)
			return;
		if (size < 0 || control(header, arg))
			continue;
		size = serve(header, arg, &out);
		reply = (struct fuse_out_header){
			.len = sizeof reply + (size < 0 ? 0 : size),
			.error = size < 0 ? size : 0,
			.unique = header->unique,
		};
		vector[0] = (struct iovec){&reply, sizeof reply};
		vector[1] = (struct iovec){out, size < 0 ? 0 : size};
		if (writev(device, vector, 2) < 0 && errno == ENODEV)
			return;
	}
}

static void read_shape(int argc, char **argv)
{
	static const struct option options[] = {
		{"io", 1, NULL, 'i'}, {"files", 1, NULL, 'f'}, {"size", 1, NULL, 's'},
		{"valid", 1, NULL, 'v'}, {"plus", 1, NULL, 'p'},
		{"pause", 1, NULL, '-'}, {"source", 1, NULL, '-'}, {0},
	};
	int word;

	while ((word = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (word) {
		case 'i':
			shape.direct = !strcmp(optarg, "direct");
			shape.writeback = !strcmp(optarg, "writeback");
			break;
		case 'f': shape.files = strtoul(optarg, NULL, 10); break;
		case 's': shape.size = strtoul(optarg, NULL, 10); break;
		case 'v': shape.valid = atoi(optarg); break;
		case 'p': shape.plus = atoi(optarg); break;
		case '-': break;
		default: exit(2);
		}
	}
	if (optind != argc - 1)
		exit(2);
}

int main(int argc, char **argv)
{
	char text[128];
	int device;

	read_shape(argc, argv);
	fill();
	device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(text, sizeof text, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	if (device < 0 || mount("floor", argv[optind], "fuse.floor",
				MS_NOSUID | MS_NODEV, text)) {
		perror("floor: cannot mount");
		return 1;
	}
	loop(device);
	return 0;
}
