// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints as perf events: what is counted, sampled, refused, inherited
 * and modified.
 *
 * The same registers and the same #DB handler as for ptrace, but the other
 * half of the kernel's code: events are scheduled in and out with their task,
 * every hit goes through the overflow code, and nobody stops.  So a lost or a
 * doubled hit does not show in a stop but only in a number, which therefore
 * is compared with the exact one every time.
 *
 * What is asserted rests on perf_event_open(2) and on kernel/events/core.c,
 * kernel/events/hw_breakpoint.c and arch/x86/kernel/hw_breakpoint.c.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "environment.h"
#include "perf_event.h"
#include "probes.h"

/* What gets watched: room on both sides of 8 bytes in the middle */
static unsigned char area[64] __attribute__((__aligned__(64)));

#define MIDDLE	(&area[24])

static unsigned long ignored;

static void store4(void *addr, unsigned int n)
{
	while (n--)
		probe_store4(addr, n);
}

/*
 * What this program does when it is executed anew, see run_image(): nothing but
 * map a page where the test wants it and store there.
 */
#define IMAGE_PAGE	((void *)0x20000000UL)
#define IMAGE_HITS	5

static void __attribute__((constructor(101)))
image_main(int argc, char **argv)
{
	if (argc != 2 || strcmp(argv[1], "--perf-image"))
		return;
	if (mmap(IMAGE_PAGE, 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) !=
	    IMAGE_PAGE)
		_exit(2);
	store4(IMAGE_PAGE, IMAGE_HITS);
	_exit(0);
}

/* For held_start(): hits before execve() and, in the new image, behind it */
static void run_image(void *arg)
{
	const char *const args[] = { "--perf-image", NULL };

	(void)arg;
	if (mmap(IMAGE_PAGE, 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) !=
	    IMAGE_PAGE)
		_exit(3);
	store4(IMAGE_PAGE, 3);
	perf_exec(args);
	_exit(4);
}

/*
 * Counting: each access that shares a byte with the watched ones counts one,
 * no other does.
 */
FIXTURE(perf_count) {
	int fd;
};

FIXTURE_VARIANT(perf_count) {
	unsigned int type;
	unsigned int len;
};

FIXTURE_VARIANT_ADD(perf_count, write_1) {
	.type = HW_BREAKPOINT_W, .len = 1,
};

FIXTURE_VARIANT_ADD(perf_count, write_2) {
	.type = HW_BREAKPOINT_W, .len = 2,
};

FIXTURE_VARIANT_ADD(perf_count, write_4) {
	.type = HW_BREAKPOINT_W, .len = 4,
};

FIXTURE_VARIANT_ADD(perf_count, write_8) {
	.type = HW_BREAKPOINT_W, .len = 8,
};

FIXTURE_VARIANT_ADD(perf_count, rw_1) {
	.type = HW_BREAKPOINT_RW, .len = 1,
};

FIXTURE_VARIANT_ADD(perf_count, rw_2) {
	.type = HW_BREAKPOINT_RW, .len = 2,
};

FIXTURE_VARIANT_ADD(perf_count, rw_4) {
	.type = HW_BREAKPOINT_RW, .len = 4,
};

FIXTURE_VARIANT_ADD(perf_count, rw_8) {
	.type = HW_BREAKPOINT_RW, .len = 8,
};

FIXTURE_SETUP(perf_count)
{
	struct perf_event_attr attr = perf_attr(variant->type, MIDDLE,
						variant->len);

	self->fd = perf_open(_metadata, &attr, 0, -1);
	if (self->fd < 0)
		return;
}

FIXTURE_TEARDOWN(perf_count)
{
	close(self->fd);
}

/*
 * All accesses around the watched bytes; returns how many were counted
 * wrongly.  The 8-byte probes of a 32-bit program are one access as well.
 */
static unsigned int count_around(int fd, unsigned int type, unsigned int len,
				 bool aligned)
{
	unsigned long long last = perf_count(fd), now;
	unsigned int i, wrong = 0;
	long at;

	for (i = 0; i < PROBE_ACCESSES; i++) {
		const struct probe *p = &probe_access[i];

		for (at = -16; at <= 24; at++) {
			bool hit = bp_hits(type == HW_BREAKPOINT_W ? BP_WRITE :
					   BP_RW, 0, len, at, p->size,
					   p->store);

			if ((at % (long)p->size == 0) != aligned)
				continue;
			p->fn(MIDDLE + at, 0);
			now = perf_count(fd);
			if (now - last != hit) {
				fprintf(stderr,
					"# %s at %ld: %llu counted, not %d\n",
					p->name, at, now - last, hit);
				wrong++;
			}
			last = now;
		}
	}
	return wrong;
}

/* Not one more where an access covers all watched bytes or just one of them */
TEST_F(perf_count, aligned)
{
	ASSERT_EQ(0, count_around(self->fd, variant->type, variant->len, true));
}

/* "Any byte in common" holds for accesses at any address (bp_hits()) */
TEST_F(perf_count, unaligned)
{
	ASSERT_EQ(0, count_around(self->fd, variant->type, variant->len,
				  false));
}

/* A long run, which is interrupted and rescheduled on its way */
TEST_F(perf_count, many)
{
	unsigned int i, n = 1000;

	for (i = 0; i < n; i++) {
		probe_store1(MIDDLE, i);
		probe_load4(MIDDLE, 0);
		probe_store8(MIDDLE + 8, i);
	}
	ASSERT_EQ(variant->type == HW_BREAKPOINT_W ? n : 2 * n,
		  perf_count(self->fd));
}

/*
 * Execute breakpoints, which the handler passes by setting RF
 * (hw_breakpoint_handler()): without it the first hit never ends.
 */
FIXTURE(perf_execute) {
	unsigned int len;
};

FIXTURE_SETUP(perf_execute)
{
	if (!perf_usable(_metadata))
		return;
	self->len = PERF_EXECUTE_LEN;
}

FIXTURE_TEARDOWN(perf_execute)
{
}

TEST_F(perf_execute, counts_each_visit)
{
	struct perf_event_attr attr;
	unsigned int i, n;
	int fd[DR_SLOTS];

	for (i = 0; i < DR_SLOTS; i++) {
		attr = perf_attr(HW_BREAKPOINT_X, probe_target(2 * i),
				 self->len);
		fd[i] = perf_try(&attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
	/* Target 2 * i is visited i + 1 times a round, its neighbours too */
	for (n = 0; n < 100 * DR_SLOTS; n++)
		for (i = n % DR_SLOTS; i < DR_SLOTS; i++) {
			probe_visit(2 * i, &ignored, n);
			probe_visit(2 * i + 1, &ignored, n);
		}
	for (i = 0; i < DR_SLOTS; i++) {
		EXPECT_EQ(100 * (i + 1), perf_count(fd[i])) {
			TH_LOG("target %u", 2 * i);
		}
		close(fd[i]);
	}
}

/* The length is a formality: any address will do, as instructions have none */
TEST_F(perf_execute, at_any_alignment)
{
	struct perf_event_attr attr = perf_attr(HW_BREAKPOINT_X, probe_load1_at,
						self->len);
	unsigned int i;
	int fd;

	for (i = 0; i < PROBE_ACCESSES; i++) {
		attr.bp_addr = (unsigned long)probe_access[i].at;
		fd = perf_try(&attr, 0, -1);
		ASSERT_LE(0, fd);
		probe_access[i].fn(area, 0);
		probe_access[i].fn(area, 0);
		EXPECT_EQ(2, perf_count(fd)) {
			TH_LOG("%s", probe_access[i].name);
		}
		close(fd);
	}
}

/*
 * perf_event_open(2): for HW_BREAKPOINT_X, bp_len must be sizeof(long).  For a
 * 32-bit task that is 4, but arch_build_bp_info() compares with the kernel's.
 */
TEST_F(perf_execute, len_is_sizeof_long)
{
	struct perf_event_attr attr = perf_attr(HW_BREAKPOINT_X,
						probe_target(0), sizeof(long));
	int fd = perf_try(&attr, 0, -1);

	ASSERT_LE(0, fd) {
		TH_LOG("length %zu: %s", sizeof(long), strerror(-fd));
	}
	probe_visit(0, &ignored, 1);
	ASSERT_EQ(1, perf_count(fd));
}

TEST_F(perf_execute, other_lengths_are_refused)
{
	static const unsigned int len[] = { 0, 1, 2, 3, 5, 6, 7, 9, 16, 64 };
	struct perf_event_attr attr = perf_attr(HW_BREAKPOINT_X,
						probe_target(0), 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(len); i++) {
		attr.bp_len = len[i];
		EXPECT_EQ(-EINVAL, perf_try_close(&attr, 0, -1)) {
			TH_LOG("length %u", len[i]);
		}
	}
}

/* Sampling: a record for every hit, with the address where it happened */
#define RING_PAGES	8

FIXTURE(perf_sample) {
	struct perf_event_attr attr;
	struct perf_event_mmap_page *ring;
	unsigned long ip;
	size_t page;
	int fd;
};

FIXTURE_VARIANT(perf_sample) {
	unsigned int type;
};

FIXTURE_VARIANT_ADD(perf_sample, write) { .type = HW_BREAKPOINT_W };
FIXTURE_VARIANT_ADD(perf_sample, rw) { .type = HW_BREAKPOINT_RW };
FIXTURE_VARIANT_ADD(perf_sample, execute) { .type = HW_BREAKPOINT_X };

FIXTURE_SETUP(perf_sample)
{
	if (!perf_usable(_metadata))
		return;

	if (variant->type == HW_BREAKPOINT_X) {
		self->attr = perf_attr(variant->type, probe_store4_at,
				       PERF_EXECUTE_LEN);
		self->ip = (unsigned long)probe_store4_at;
	} else {
		self->attr = perf_attr(variant->type, MIDDLE, 4);
		self->ip = (unsigned long)probe_store4_next;
	}
	skip_if_dead(_metadata, BY_PERF, perf_type_of(&self->attr));
	self->attr.sample_period = 1;
	self->attr.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID |
				 PERF_SAMPLE_ADDR;
	self->page = sysconf(_SC_PAGESIZE);
	self->fd = -1;
}

FIXTURE_TEARDOWN(perf_sample)
{
	if (self->ring)
		munmap(self->ring, (1 + RING_PAGES) * self->page);
	if (self->fd >= 0)
		close(self->fd);
}

/* PERF_RECORD_SAMPLE with the sample_type of the setup */
struct sample {
	struct perf_event_header header;
	__u64 ip;
	__u32 pid, tid;
	__u64 addr;
};

/* PERF_RECORD_LOST */
struct lost {
	struct perf_event_header header;
	__u64 id;
	__u64 lost;
};

static int sample_open(struct perf_event_attr *attr, size_t page,
		       struct perf_event_mmap_page **ring)
{
	int fd = perf_try(attr, 0, -1);

	if (fd < 0)
		return fd;
	*ring = mmap(NULL, (1 + RING_PAGES) * page, PROT_READ | PROT_WRITE,
		     MAP_SHARED, fd, 0);
	if (*ring == MAP_FAILED) {
		*ring = NULL;
		return -errno;
	}
	return fd;
}

/*
 * Consume all records: samples of the place wanted, and what was lost; returns
 * how many are neither.
 */
static unsigned int sample_drain(struct perf_event_mmap_page *ring, size_t page,
				 unsigned long ip, unsigned long addr,
				 unsigned long *samples, unsigned long *lost)
{
	/* The ends of the ring are 64 bits wide, but never get that far here */
	unsigned long *end = (unsigned long *)&ring->data_head;
	unsigned long *begin = (unsigned long *)&ring->data_tail;
	unsigned long head = __atomic_load_n(end, __ATOMIC_ACQUIRE);
	unsigned long tail = *begin, i;
	unsigned int wrong = 0;
	union {
		struct perf_event_header header;
		struct sample sample;
		struct lost lost;
		unsigned char bytes[64];
	} r;

	while (tail != head) {
		unsigned char *data = (unsigned char *)ring + page;
		unsigned int size = sizeof(r.header);

		for (i = 0; i < size; i++) {
			r.bytes[i] = data[(tail + i) % (RING_PAGES * page)];
			if (i + 1 == sizeof(r.header) && r.header.size <=
			    sizeof(r))
				size = r.header.size;
		}
		if (r.header.type == PERF_RECORD_LOST) {
			*lost += r.lost.lost;
		} else if (r.header.type == PERF_RECORD_SAMPLE &&
			   r.header.size == sizeof(r.sample) &&
			   r.sample.ip == ip && r.sample.addr == addr &&
			   r.sample.tid == (__u32)syscall(SYS_gettid)) {
			++*samples;
		} else {
			fprintf(stderr,
				"# record type %u, %u bytes, ip %#llx, addr %#llx\n",
				r.header.type, r.header.size, r.sample.ip,
				r.sample.addr);
			wrong++;
		}
		if (r.header.size < sizeof(r.header))
			break;
		tail += r.header.size;
	}
	__atomic_store_n(begin, head, __ATOMIC_RELEASE);
	return wrong;
}

/*
 * The ip is that of the trap: behind the access for data, on the instruction
 * for execution (SDM vol. 3, "Breakpoint Exception Conditions"); addr is the
 * watched address, not the accessed one (perf_bp_event()).
 */
TEST_F(perf_sample, every_hit_has_its_ip)
{
	unsigned long samples = 0, lost = 0, i;

	self->fd = sample_open(&self->attr, self->page, &self->ring);
	ASSERT_LE(0, self->fd);
	for (i = 1; i <= 400; i++) {
		store4(MIDDLE, 1);
		if (i % 100)
			continue;
		ASSERT_EQ(0, sample_drain(self->ring, self->page, self->ip,
					  self->attr.bp_addr, &samples,
					  &lost));
		ASSERT_EQ(i, samples);
		ASSERT_EQ(0, lost);
		ASSERT_EQ(i, perf_count(self->fd));
	}
}

/* One sample each 7 hits, none early, and the count is that of the hits */
TEST_F(perf_sample, period)
{
	unsigned long samples = 0, lost = 0, i;

	self->attr.sample_period = 7;
	self->fd = sample_open(&self->attr, self->page, &self->ring);
	ASSERT_LE(0, self->fd);
	for (i = 1; i <= 100; i++) {
		store4(MIDDLE, 1);
		ASSERT_EQ(0, sample_drain(self->ring, self->page, self->ip,
					  self->attr.bp_addr, &samples,
					  &lost));
		ASSERT_EQ(i / 7, samples);
		ASSERT_EQ(0, lost);
	}
	ASSERT_EQ(100, perf_count(self->fd));
}

/* What does not fit is not forgotten: PERF_RECORD_LOST says how much it was */
TEST_F(perf_sample, full_ring_tells_what_was_lost)
{
	unsigned int hits = 2 * RING_PAGES * self->page / sizeof(struct sample);
	unsigned long samples = 0, lost = 0;

	self->fd = sample_open(&self->attr, self->page, &self->ring);
	ASSERT_LE(0, self->fd);
	store4(MIDDLE, hits);
	ASSERT_EQ(0, sample_drain(self->ring, self->page, self->ip,
				  self->attr.bp_addr, &samples, &lost));
	ASSERT_LT(0, samples);
	ASSERT_GT(hits, samples);
	/* The record of the loss comes ahead of the next sample */
	store4(MIDDLE, 1);
	ASSERT_EQ(0, sample_drain(self->ring, self->page, self->ip,
				  self->attr.bp_addr, &samples, &lost));
	ASSERT_LT(0, lost);
	ASSERT_EQ(hits + 1, samples + lost);
	ASSERT_EQ(hits + 1, perf_count(self->fd));
}

/* Overflows wake up who polls, after wakeup_events of them and not before */
TEST_F(perf_sample, poll_wakes_up)
{
	struct pollfd p = { .events = POLLIN };
	int i;

	self->attr.wakeup_events = 3;
	self->fd = sample_open(&self->attr, self->page, &self->ring);
	ASSERT_LE(0, self->fd);
	p.fd = self->fd;
	for (i = 0; i < 5; i++) {
		store4(MIDDLE, 2);
		ASSERT_EQ(0, poll(&p, 1, 0));
		store4(MIDDLE, 1);
		ASSERT_EQ(1, poll(&p, 1, watchdog_seconds() * 1000));
		ASSERT_EQ(POLLIN, p.revents);
	}
}

/* On, off, reset */
FIXTURE(perf_control) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(perf_control)
{
	if (!perf_usable(_metadata))
		return;
	self->attr = perf_attr(HW_BREAKPOINT_W, MIDDLE, 4);
}

FIXTURE_TEARDOWN(perf_control)
{
}

/*
 * A new period stops the event for a moment and starts it again
 * (__perf_event_period() in kernel/events/core.c): what it counts goes on.
 */
TEST_F(perf_control, another_period)
{
	__u64 period;
	int fd;

	self->attr.sample_period = 1000000;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	for (period = 1; period <= 20; period++) {
		store4(MIDDLE, 3);
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_PERIOD, &period));
		store4(MIDDLE, 2);
		ASSERT_EQ(5 * period, perf_count(fd));
	}
	close(fd);
}

TEST_F(perf_control, disabled_at_open)
{
	int fd;

	self->attr.disabled = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	store4(MIDDLE, 10);
	ASSERT_EQ(0, perf_count(fd));
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	store4(MIDDLE, 11);
	ASSERT_EQ(11, perf_count(fd));
}

TEST_F(perf_control, enable_and_disable)
{
	unsigned int i, n = 0;
	int fd;

	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	for (i = 0; i < 300; i++) {
		store4(MIDDLE, 2);
		n += 2;
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
		store4(MIDDLE, 3);
		ASSERT_EQ(n, perf_count(fd));
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	}
}

TEST_F(perf_control, enabled_twice_counts_once)
{
	int fd;

	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	store4(MIDDLE, 4);
	ASSERT_EQ(4, perf_count(fd));
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
	store4(MIDDLE, 4);
	ASSERT_EQ(4, perf_count(fd));
}

TEST_F(perf_control, reset)
{
	int fd;

	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	store4(MIDDLE, 5);
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_RESET, 0));
	ASSERT_EQ(0, perf_count(fd));
	store4(MIDDLE, 6);
	ASSERT_EQ(6, perf_count(fd));
}

/* Four events that overlap each get every hit that is theirs */
TEST_F(perf_control, overlapping_events)
{
	static const struct {
		unsigned int type, at, len, count;
	} e[DR_SLOTS] = {
		{ HW_BREAKPOINT_W, 0, 8, 3 }, { HW_BREAKPOINT_RW, 0, 4, 3 },
		{ HW_BREAKPOINT_W, 2, 2, 1 }, { HW_BREAKPOINT_RW, 4, 4, 2 },
	};
	unsigned int i;
	int fd[DR_SLOTS];

	for (i = 0; i < DR_SLOTS; i++) {
		self->attr.bp_type = e[i].type;
		self->attr.bp_addr = (unsigned long)MIDDLE + e[i].at;
		self->attr.bp_len = e[i].len;
		fd[i] = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
	probe_store4(MIDDLE, 0);
	probe_store1(MIDDLE + 1, 0);
	probe_store4(MIDDLE + 4, 0);
	probe_load1(MIDDLE, 0);
	probe_load4(MIDDLE + 4, 0);
	for (i = 0; i < DR_SLOTS; i++) {
		EXPECT_EQ(e[i].count, perf_count(fd[i])) {
			TH_LOG("event %u", i);
		}
	}
}

/*
 * One event for each byte hit: several slots in one #DB are all served
 * (hw_breakpoint_handler() goes over all bits of DR6).
 */
TEST_F(perf_control, all_slots_in_one_hit)
{
	int fd[DR_SLOTS], i;

	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
	store4(MIDDLE, 9);
	for (i = 0; i < DR_SLOTS; i++) {
		EXPECT_EQ(9, perf_count(fd[i])) {
			TH_LOG("event %d", i);
		}
	}
}

/*
 * PERF_EVENT_IOC_MODIFY_ATTRIBUTES: address, type, length and disabled may
 * change, nothing else (modify_user_hw_breakpoint_check()).
 */
FIXTURE(perf_modify) {
	struct perf_event_attr attr;
	unsigned int execute_len;
	int fd;
};

FIXTURE_SETUP(perf_modify)
{
	if (!perf_usable(_metadata))
		return;
	if (!kernel_is(4, 17))
		SKIP(return, "no PERF_EVENT_IOC_MODIFY_ATTRIBUTES before 4.17");
	self->execute_len = PERF_EXECUTE_LEN;
	self->attr = perf_attr(HW_BREAKPOINT_W, MIDDLE, 4);
	self->fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(perf_modify)
{
	close(self->fd);
}

static int modify(int fd, struct perf_event_attr *attr)
{
	return ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, attr) ? -errno : 0;
}

TEST_F(perf_modify, address)
{
	unsigned int i, n = 0;

	for (i = 0; i < 300; i++) {
		self->attr.bp_addr = (unsigned long)&area[4 * (i % 8)];
		ASSERT_EQ(0, modify(self->fd, &self->attr));
		store4(&area[4 * (i % 8)], 1);
		ASSERT_EQ(++n, perf_count(self->fd));
		store4(&area[4 * ((i + 1) % 8)], 1);
		store4(&area[4 * ((i + 7) % 8)], 1);
		ASSERT_EQ(n, perf_count(self->fd));
	}
}

/* Every type and length after every other */
TEST_F(perf_modify, type_and_length)
{
	static const struct {
		unsigned int type, len, hits;
	} to[] = {
		/* The probes below that hit; those around are not at 0 to 7 */
		{ HW_BREAKPOINT_X, 0, 1 },
		{ HW_BREAKPOINT_W, 1, 1 }, { HW_BREAKPOINT_RW, 1, 2 },
		{ HW_BREAKPOINT_W, 2, 2 }, { HW_BREAKPOINT_RW, 2, 3 },
		{ HW_BREAKPOINT_W, 4, 3 }, { HW_BREAKPOINT_RW, 4, 4 },
		{ HW_BREAKPOINT_W, 8, 4 }, { HW_BREAKPOINT_RW, 8, 5 },
	};
	const unsigned int n = ARRAY_SIZE(to);
	unsigned long long last = 0, now;
	unsigned int i, j;

	for (i = 0; i < n * n; i++) {
		/* From i / n to i % n; each start is stepped over as well */
		for (j = 0; j < 2; j++) {
			unsigned int k = j ? i % n : i / n;
			bool x = to[k].type == HW_BREAKPOINT_X;

			self->attr.bp_type = to[k].type;
			self->attr.bp_len = x ? self->execute_len : to[k].len;
			self->attr.bp_addr = x ?
				(unsigned long)probe_target(0) :
				(unsigned long)MIDDLE;
			ASSERT_EQ(0, modify(self->fd, &self->attr));
			probe_visit(0, &ignored, i);
			probe_load1(MIDDLE, 0);
			probe_store1(MIDDLE, 0);
			probe_store1(MIDDLE + 1, 0);
			probe_store2(MIDDLE + 2, 0);
			probe_store4(MIDDLE + 4, 0);
			probe_load8(MIDDLE + 8, 0);
			now = perf_count(self->fd);
			ASSERT_EQ(to[k].hits, now - last) {
				TH_LOG("type %u, length %u", to[k].type,
				       to[k].len);
			}
			last = now;
		}
	}
}

TEST_F(perf_modify, disabled)
{
	self->attr.disabled = 1;
	ASSERT_EQ(0, modify(self->fd, &self->attr));
	store4(MIDDLE, 3);
	ASSERT_EQ(0, perf_count(self->fd));
	self->attr.disabled = 0;
	ASSERT_EQ(0, modify(self->fd, &self->attr));
	store4(MIDDLE, 3);
	ASSERT_EQ(3, perf_count(self->fd));
}

/* A refused modify changes nothing: the old breakpoint goes on */
TEST_F(perf_modify, refused_keeps_the_old)
{
	struct perf_event_attr bad;
	unsigned int i, n = 0;

	for (i = 0; i < 9; i++) {
		bad = self->attr;
		bad.bp_addr = (unsigned long)area;
		switch (i) {
		case 0:
			bad.bp_len = 3;
			break;
		case 1:
			bad.bp_type = HW_BREAKPOINT_R;
			break;
		case 2:
			bad.bp_type = HW_BREAKPOINT_EMPTY;
			break;
		case 3:
			bad.bp_type = HW_BREAKPOINT_INVALID;
			break;
		case 4:
			bad.bp_addr++;
			break;
		case 5:
			bad.bp_addr = -8ULL;
			break;
		case 6:
			bad.exclude_user = 1;
			break;
		case 7:
			bad.sample_period = 5;
			break;
		case 8:
			bad.type = PERF_TYPE_SOFTWARE;
			break;
		}
		ASSERT_EQ(-EINVAL, modify(self->fd, &bad)) {
			TH_LOG("case %u", i);
		}
		store4(area, 1);
		store4(MIDDLE, 2);
		n += 2;
		ASSERT_EQ(n, perf_count(self->fd)) {
			TH_LOG("case %u", i);
		}
	}
}

/*
 * The same where the event was opened disabled and enabled by ioctl:
 * perf_event_modify_breakpoint() disables it first, and enables it again by
 * what its attributes said when it was opened.
 */
TEST_F(perf_modify, refused_keeps_an_event_enabled_later)
{
	int fd;

	self->attr.disabled = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	store4(MIDDLE, 2);
	ASSERT_EQ(2, perf_count(fd));
	self->attr.bp_len = 3;
	ASSERT_EQ(-EINVAL, modify(fd, &self->attr));
	store4(MIDDLE, 2);
	ASSERT_EQ(4, perf_count(fd));
}

/* And where it was disabled by ioctl, it stays so */
TEST_F(perf_modify, refused_keeps_an_event_disabled_later)
{
	ASSERT_EQ(0, ioctl(self->fd, PERF_EVENT_IOC_DISABLE, 0));
	self->attr.bp_len = 3;
	ASSERT_EQ(-EINVAL, modify(self->fd, &self->attr));
	store4(MIDDLE, 2);
	ASSERT_EQ(0, perf_count(self->fd));
}

static unsigned int thief_stop;

/* Tries to take a fifth slot of the main thread's, and counts what it got */
static void *thief(void *arg)
{
	struct perf_event_attr attr = perf_attr(HW_BREAKPOINT_W, area, 1);
	unsigned long stolen = 0, tries = 0;

	attr.disabled = 1;
	do {
		int fd = perf_try_once(&attr, *(pid_t *)arg, -1);

		if (fd >= 0)
			close(fd);
		stolen += fd != -ENOSPC;
		tries++;
	} while (!__atomic_load_n(&thief_stop, __ATOMIC_ACQUIRE) ||
		 tries < 10);
	return (void *)stolen;
}

/*
 * A slot stays reserved while it is modified, whatever its type becomes.
 * Regression test for 44234adcdce3, which put an end to modifying by
 * unregistering and registering: in between anybody could have it.
 */
TEST_F(perf_modify, slot_cannot_be_stolen)
{
	struct perf_event_attr attr = self->attr;
	pid_t tid = syscall(SYS_gettid);
	pthread_t thread;
	void *stolen;
	int fd[3], i;

	skip_without_futex(_metadata);
	for (i = 0; i < 3; i++) {
		fd[i] = perf_try(&attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, thief, &tid));
	for (i = 0; i < 3000; i++) {
		bool x = i % 2;

		attr.bp_type = x ? HW_BREAKPOINT_X : HW_BREAKPOINT_W;
		attr.bp_addr = (unsigned long)(x ? probe_target(0) :
					       (char *)MIDDLE);
		attr.bp_len = x ? self->execute_len : 4;
		ASSERT_EQ(0, modify(fd[i % 3], &attr));
	}
	__atomic_store_n(&thief_stop, 1, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(thread, &stolen));
	ASSERT_EQ(NULL, stolen);
	store4(MIDDLE, 7);
	ASSERT_EQ(7, perf_count(self->fd));
	for (i = 0; i < 3; i++)
		close(fd[i]);
}

/* What is not allowed, and the errno that says so */
FIXTURE(perf_refused) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(perf_refused)
{
	if (!perf_usable(_metadata))
		return;
	self->attr = perf_attr(HW_BREAKPOINT_W, MIDDLE, 4);
	self->attr.disabled = 1;
}

FIXTURE_TEARDOWN(perf_refused)
{
}

/* x86 has no read-only watchpoints, and no other combinations of the bits */
TEST_F(perf_refused, types)
{
	unsigned int type;

	for (type = 0; type < 64; type++) {
		self->attr.bp_type = type;
		self->attr.bp_len = type == HW_BREAKPOINT_X ?
				    PERF_EXECUTE_LEN : 4;
		EXPECT_EQ(type == HW_BREAKPOINT_W || type == HW_BREAKPOINT_RW ||
			  type == HW_BREAKPOINT_X ? 0 : -EINVAL,
			  perf_try_close(&self->attr, 0, -1)) {
			TH_LOG("type %u", type);
		}
	}
}

TEST_F(perf_refused, lengths)
{
	unsigned int type, len;

	for (type = HW_BREAKPOINT_W; type <= HW_BREAKPOINT_RW; type++) {
		for (len = 0; len < 16; len++) {
			self->attr.bp_type = type;
			self->attr.bp_len = len;
			EXPECT_EQ(len == 1 || len == 2 || len == 4 ||
				  (len == 8 && PERF_EXECUTE_LEN == 8) ?
				  0 : -EINVAL,
				  perf_try_close(&self->attr, 0, -1)) {
				TH_LOG("type %u, length %u", type, len);
			}
		}
	}
	/* Nor any length that ends behind the end of the address space */
	self->attr.bp_len = -1ULL;
	EXPECT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1));
}

TEST_F(perf_refused, unaligned)
{
	unsigned int len, off;

	for (len = 1; len <= PERF_EXECUTE_LEN; len *= 2) {
		for (off = 0; off < 8; off++) {
			self->attr.bp_len = len;
			self->attr.bp_addr = (unsigned long)MIDDLE + off;
			EXPECT_EQ(off % len ? -EINVAL : 0,
				  perf_try_close(&self->attr, 0, -1)) {
				TH_LOG("length %u, offset %u", len, off);
			}
		}
	}
}

/* With the kernel excluded, nothing that reaches into it is worth a slot */
TEST_F(perf_refused, kernel_addresses)
{
	static const unsigned long long addr[] = {
		0x800000000000ULL << 9,		/* non-canonical, 4 and 5 levels */
		0xff00000000000000ULL, 0xffff800000000000ULL,
		0xffff888000000000ULL, 0xffffffff81000000ULL,
		0xffffffffff600000ULL, -8ULL,
	};
	unsigned int i;

	if (PERF_EXECUTE_LEN == 4)
		SKIP(return, "addresses of a 64-bit kernel");
	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		self->attr.bp_addr = addr[i];
		self->attr.bp_len = 8;
		EXPECT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1)) {
			TH_LOG("address %#llx", addr[i]);
		}
		self->attr.bp_type ^= HW_BREAKPOINT_R;
	}
}

/*
 * What the kernel touches on its way in cannot be watched, not even by root: a
 * #DB there comes before the kernel can stand one (within_cpu_entry() in
 * arch/x86/kernel/hw_breakpoint.c).  The entry area (GDT, TSS, entry stacks)
 * has a fixed base since 4.15, with 4 and 5 page table levels alike
 * (CPU_ENTRY_AREA_BASE, Documentation/arch/x86/x86_64/mm.rst).
 *
 * The events are opened disabled: nothing is armed even where the kernel
 * accepts them.  Regression test for 3943abf2dbfa and those that followed.
 */
TEST_F(perf_refused, cpu_entry_area)
{
	const unsigned long long base = 0xfffffe0000000000ULL;
	static const unsigned long long off[] = {
		0, 8, 0x1000, 0x2000, 0x3000, 0x7ff8, 0x40000, 0x7ffffffff8ULL,
	};
	/* Behind what the first CPU has, where CPUs are shuffled (97e3d26b5e5f) */
	unsigned int shuffled = 6;
	unsigned int i, type;

	if (PERF_EXECUTE_LEN == 4)
		SKIP(return, "addresses of a 64-bit kernel");
	if (!kernel_is(5, 9))
		SKIP(return, "not refused before 5.9");

	/* The page below belongs to nobody: an ordinary kernel address */
	self->attr.exclude_kernel = 0;
	self->attr.bp_len = 8;
	self->attr.bp_addr = base - 8;
	if (!may_go_on(_metadata, perf_try_close(&self->attr, 0, -1),
		       "breakpoint in the kernel"))
		return;

	for (i = 0; i < ARRAY_SIZE(off); i++) {
		if (i >= shuffled && !kernel_is(6, 2))
			break;
		for (type = HW_BREAKPOINT_W; type <= HW_BREAKPOINT_X; type++) {
			self->attr.bp_type = type;
			self->attr.bp_addr = base + off[i];
			EXPECT_EQ(-EINVAL,
				  perf_try_close(&self->attr, 0, -1)) {
				TH_LOG("type %u, offset %#llx", type, off[i]);
			}
		}
	}
}

/* Address 0 is one like others; in 2010 it was refused for a while */
TEST_F(perf_refused, not_address_zero)
{
	unsigned int len;

	self->attr.bp_addr = 0;
	for (len = 1; len <= PERF_EXECUTE_LEN; len *= 2) {
		self->attr.bp_len = len;
		EXPECT_EQ(0, perf_try_close(&self->attr, 0, -1)) {
			TH_LOG("length %u", len);
		}
	}
	self->attr.bp_type = HW_BREAKPOINT_X;
	self->attr.bp_len = PERF_EXECUTE_LEN;
	EXPECT_EQ(0, perf_try_close(&self->attr, 0, -1));
}

/* ... and where page 0 can be had (vm.mmap_min_addr), it fires */
TEST_F(perf_refused, not_a_hit_at_address_zero)
{
	int fd;

	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		SKIP(return, "page 0 cannot be mapped: %s", strerror(errno));
	self->attr.bp_addr = 0;
	self->attr.disabled = 0;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	store4(NULL, 3);
	probe_store4((void *)4, 0);
	ASSERT_EQ(3, perf_count(fd));
}

TEST_F(perf_refused, no_such_task)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	ASSERT_EQ(0, reap(pid));
	ASSERT_EQ(-ESRCH, perf_try_close(&self->attr, pid, -1));
}

/*
 * Lengths over 8 are AMD's address masks, where the CPU has them: CPUID
 * Fn8000_0001_ECX[DataBreakpointExtension] (APM vol. 2, 13.1.1.5).
 */
TEST_F(perf_refused, long_ranges_without_masks)
{
	unsigned int eax, ebx, ecx, edx, len;

	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) &&
	    (ecx & (1U << 26)) && !environment_cpu_lacks("bpext"))
		SKIP(return, "this CPU has address masks");
	for (len = 16; len <= 65536; len *= 2) {
		self->attr.bp_addr = 0;
		self->attr.bp_len = len;
		EXPECT_EQ(-EOPNOTSUPP, perf_try_close(&self->attr, 0, -1)) {
			TH_LOG("length %u", len);
		}
		self->attr.bp_addr = len / 2;
		EXPECT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1));
		self->attr.bp_addr = 0;
		self->attr.bp_len = len + 8;
		EXPECT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1));
	}
}

TEST_F(perf_refused, not_ranges_with_masks)
{
	unsigned int eax, ebx, ecx, edx, len;
	unsigned char *page;
	int fd;

	if (!__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) ||
	    !(ecx & (1U << 26)))
		SKIP(return, "this CPU has no address masks");
	if (environment_cpu_lacks("bpext"))
		SKIP(return, "this kernel does not use the CPU's address masks");

	page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	self->attr.disabled = 0;
	for (len = 16; len <= 4096; len *= 2) {
		self->attr.bp_addr = (unsigned long)page + 4096;
		self->attr.bp_len = len;
		fd = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd);
		probe_store1(page + 4096 - 1, 0);
		probe_store1(page + 4096 + len, 0);
		EXPECT_EQ(0, perf_count(fd));
		probe_store1(page + 4096, 0);
		probe_store1(page + 4096 + len / 2, 0);
		probe_store1(page + 4096 + len - 1, 0);
		EXPECT_EQ(3, perf_count(fd)) {
			TH_LOG("length %u", len);
		}
		close(fd);

		/* The mask goes with the event: the next has one byte again */
		self->attr.bp_len = 1;
		fd = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd);
		probe_store1(page + 4096 + 1, 0);
		EXPECT_EQ(0, perf_count(fd));
		probe_store1(page + 4096, 0);
		EXPECT_EQ(1, perf_count(fd));
		close(fd);
	}
	munmap(page, 3 * 4096);
}

/* User and kernel */
FIXTURE(perf_exclude) {
	struct perf_event_attr attr;
	int pipe[2];
};

FIXTURE_SETUP(perf_exclude)
{
	if (!perf_usable(_metadata))
		return;
	self->attr = perf_attr(HW_BREAKPOINT_RW, MIDDLE, 4);
	ASSERT_EQ(0, pipe(self->pipe));
}

FIXTURE_TEARDOWN(perf_exclude)
{
	close(self->pipe[0]);
	close(self->pipe[1]);
}

/* Out of the watched bytes and into them */
static bool kernel_access(int pipe[2])
{
	return write(pipe[1], MIDDLE, 4) == 4 && read(pipe[0], MIDDLE, 4) == 4;
}

/* Until 2010 exclude_kernel did not keep the kernel's accesses out */
TEST_F(perf_exclude, kernel)
{
	int fd = perf_try(&self->attr, 0, -1);
	unsigned int i;

	ASSERT_LE(0, fd);
	for (i = 1; i <= 50; i++) {
		ASSERT_TRUE(kernel_access(self->pipe));
		ASSERT_EQ(3 * (i - 1), perf_count(fd));
		store4(MIDDLE, 3);
		ASSERT_EQ(3 * i, perf_count(fd));
	}
}

TEST_F(perf_exclude, user_and_kernel)
{
	int fd;

	self->attr.exclude_user = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(kernel_access(self->pipe));
	store4(MIDDLE, 3);
	ASSERT_EQ(0, perf_count(fd));
}

/*
 * How many instructions the kernel copies with is its own affair: more than
 * none is all that can be asked for.
 */
TEST_F(perf_exclude, user)
{
	unsigned long long n;
	int fd;

	self->attr.exclude_user = 1;
	self->attr.exclude_kernel = 0;
	fd = perf_open(_metadata, &self->attr, 0, -1);
	if (fd < 0)
		return;
	store4(MIDDLE, 5);
	ASSERT_EQ(0, perf_count(fd));
	ASSERT_TRUE(kernel_access(self->pipe));
	n = perf_count(fd);
	ASSERT_LT(0, n);
	store4(MIDDLE, 5);
	ASSERT_EQ(n, perf_count(fd));
}

TEST_F(perf_exclude, nobody)
{
	unsigned long long n;
	int fd;

	self->attr.exclude_kernel = 0;
	fd = perf_open(_metadata, &self->attr, 0, -1);
	if (fd < 0)
		return;
	store4(MIDDLE, 5);
	ASSERT_EQ(5, perf_count(fd));
	ASSERT_TRUE(kernel_access(self->pipe));
	n = perf_count(fd);
	ASSERT_LT(5, n);
	store4(MIDDLE, 5);
	ASSERT_EQ(n + 5, perf_count(fd));
}

/* Other tasks: by pid, by inheritance, over execve() */
FIXTURE(perf_tasks) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(perf_tasks)
{
	if (!perf_usable(_metadata))
		return;
	self->attr = perf_attr(HW_BREAKPOINT_W, MIDDLE, 4);
}

FIXTURE_TEARDOWN(perf_tasks)
{
}

static void store_100(void *arg)
{
	store4(arg, 100);
}

/* Only that task, at the same address, and its count outlives it */
TEST_F(perf_tasks, by_pid)
{
	struct held other, child;
	int fd;

	ASSERT_EQ(0, held_start(&child, store_100, MIDDLE));
	ASSERT_EQ(0, held_start(&other, store_100, MIDDLE));
	fd = perf_open(_metadata, &self->attr, child.pid, -1);
	if (fd < 0)
		return;
	store4(MIDDLE, 3);
	ASSERT_EQ(0, held_release(&other));
	ASSERT_EQ(0, perf_count(fd));
	ASSERT_EQ(0, held_release(&child));
	ASSERT_EQ(100, perf_count(fd));
	store4(MIDDLE, 3);
	ASSERT_EQ(100, perf_count(fd));
}

static void *thread_100(void *arg)
{
	store4(arg, 100);
	return NULL;
}

static void fork_and_store(void *arg)
{
	pthread_t thread;
	pid_t pid = fork();

	if (!pid) {
		store4(arg, 100);
		_exit(0);
	}
	if (pid < 0 || pthread_create(&thread, NULL, thread_100, arg) ||
	    pthread_join(thread, NULL) || reap(pid))
		_exit(1);
	store4(arg, 100);
}

/* Without inherit, the events of a task are its own */
TEST_F(perf_tasks, not_inherited)
{
	int fd = perf_try(&self->attr, 0, -1);

	skip_without_futex(_metadata);
	ASSERT_LE(0, fd);
	fork_and_store(MIDDLE);
	ASSERT_EQ(100, perf_count(fd));
}

/* With it children and threads, and children's children and threads, count */
TEST_F(perf_tasks, inherited)
{
	struct held child;
	int fd;

	skip_without_futex(_metadata);
	self->attr.inherit = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	fork_and_store(MIDDLE);
	ASSERT_EQ(300, perf_count(fd));
	ASSERT_EQ(0, held_start(&child, fork_and_store, MIDDLE));
	ASSERT_EQ(300, perf_count(fd));
	ASSERT_EQ(0, held_release(&child));
	ASSERT_EQ(600, perf_count(fd));
}

/* All four, and in as many children at once: each has slots of its own */
TEST_F(perf_tasks, inherited_by_many)
{
	struct held child[16];
	int fd[DR_SLOTS];
	unsigned int i;

	self->attr.inherit = 1;
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
	for (i = 0; i < 16; i++) {
		ASSERT_EQ(0, held_start(&child[i], store_100, MIDDLE)) {
			TH_LOG("child %u", i);
		}
	}
	for (i = 0; i < 16; i++) {
		ASSERT_EQ(1, write(child[i].go, "", 1)) {
			TH_LOG("child %u", i);
		}
	}
	for (i = 0; i < 16; i++) {
		ASSERT_EQ(0, reap(child[i].pid)) {
			TH_LOG("child %u", i);
		}
	}
	for (i = 0; i < DR_SLOTS; i++)
		EXPECT_EQ(1600, perf_count(fd[i]));
}

TEST_F(perf_tasks, inherited_by_threads_only)
{
	int fd;

	skip_without_futex(_metadata);
	if (!kernel_is(5, 13))
		SKIP(return, "no inherit_thread before 5.13");
	self->attr.inherit = 1;
	self->attr.inherit_thread = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	fork_and_store(MIDDLE);
	ASSERT_EQ(200, perf_count(fd));
}

/* Disabling, enabling and modifying reach those who inherited */
TEST_F(perf_tasks, control_reaches_children)
{
	struct held child[3];
	int fd, i;

	self->attr.inherit = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, held_start(&child[i], store_100, MIDDLE)) {
			TH_LOG("child %u", i);
		}
	}
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
	ASSERT_EQ(0, held_release(&child[0]));
	ASSERT_EQ(0, perf_count(fd));
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	ASSERT_EQ(0, held_release(&child[1]));
	ASSERT_EQ(100, perf_count(fd));
	if (!kernel_is(4, 17))
		SKIP(return, "no PERF_EVENT_IOC_MODIFY_ATTRIBUTES before 4.17");
	self->attr.bp_addr += 4;
	ASSERT_EQ(0, modify(fd, &self->attr));
	ASSERT_EQ(0, held_release(&child[2]));
	ASSERT_EQ(100, perf_count(fd));
	store4(MIDDLE + 4, 2);
	ASSERT_EQ(102, perf_count(fd));
}

/*
 * An event outlives execve() and watches that address in the new image
 * (perf_event_exec() leaves it alone) ...
 */
TEST_F(perf_tasks, kept_over_exec)
{
	struct held child;
	int fd;

	self->attr.bp_addr = (unsigned long)IMAGE_PAGE;
	ASSERT_EQ(0, held_start(&child, run_image, NULL));
	fd = perf_open(_metadata, &self->attr, child.pid, -1);
	if (fd < 0)
		return;
	ASSERT_EQ(0, held_release(&child));
	ASSERT_EQ(3 + IMAGE_HITS, perf_count(fd));
}

/* ... unless it is to be removed then ... */
TEST_F(perf_tasks, removed_on_exec)
{
	struct held child;
	int fd;

	if (!kernel_is(5, 13))
		SKIP(return, "no remove_on_exec before 5.13");
	self->attr.bp_addr = (unsigned long)IMAGE_PAGE;
	self->attr.remove_on_exec = 1;
	ASSERT_EQ(0, held_start(&child, run_image, NULL));
	fd = perf_open(_metadata, &self->attr, child.pid, -1);
	if (fd < 0)
		return;
	ASSERT_EQ(0, held_release(&child));
	ASSERT_EQ(3, perf_count(fd));
}

/* ... or is to begin only then */
TEST_F(perf_tasks, enabled_on_exec)
{
	struct held child;
	int fd;

	self->attr.bp_addr = (unsigned long)IMAGE_PAGE;
	self->attr.enable_on_exec = 1;
	self->attr.disabled = 1;
	ASSERT_EQ(0, held_start(&child, run_image, NULL));
	fd = perf_open(_metadata, &self->attr, child.pid, -1);
	if (fd < 0)
		return;
	ASSERT_EQ(0, held_release(&child));
	ASSERT_EQ(IMAGE_HITS, perf_count(fd));

	/* Both at once would be nonsense */
	if (kernel_is(5, 13)) {
		self->attr.remove_on_exec = 1;
		ASSERT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1));
	}
}

/* Bound to one CPU, an event of this task counts on that one only */
TEST_F(perf_tasks, on_one_cpu)
{
	int cpus[2], fd[2], i;

	if (allowed_cpus(cpus, 2) < 2)
		SKIP(return, "only one CPU may be used");
	for (i = 0; i < 2; i++) {
		fd[i] = perf_try(&self->attr, 0, cpus[i]);
		ASSERT_LE(0, fd[i]);
	}
	for (i = 0; i < 30; i++) {
		ASSERT_EQ(0, pin_to_cpu(0, cpus[i % 3 == 0]));
		store4(MIDDLE, 2);
	}
	EXPECT_EQ(40, perf_count(fd[0]));
	EXPECT_EQ(20, perf_count(fd[1]));
}

/*
 * Context switches: the registers are loaded anew each time, with other
 * addresses and in other slots (arch_install_hw_breakpoint()).  No thread may
 * lose a hit, and none get that of another.
 */
#define SWITCHERS	12

struct switcher {
	pthread_t thread;
	unsigned int n;
	unsigned int own;
	unsigned int wrong;
	bool migrate;
	unsigned int *at;
};

static int cpu_set[2], cpu_set_size;

static void *switcher(void *arg)
{
	unsigned int events, i, round, shared = SWITCHERS;
	struct switcher *s = arg;
	int fd[DR_SLOTS];

	/* 1 to 4 events: its own word, then the common one */
	events = 1 + s->n % DR_SLOTS;
	for (i = 0; i < events; i++) {
		struct perf_event_attr attr =
			perf_attr(HW_BREAKPOINT_W,
				  &s->at[i ? shared : s->n], 4);

		fd[i] = perf_try(&attr, 0, -1);
		if (fd[i] < 0) {
			fprintf(stderr, "# thread %u, event %u: %s\n", s->n, i,
				strerror(-fd[i]));
			s->wrong++;
			return NULL;
		}
	}
	for (round = 0; round < 60; round++) {
		if (s->migrate)
			pin_to_cpu(0, cpu_set[(round + s->n) % cpu_set_size]);
		else
			sched_yield();
		store4(&s->at[s->n], 3);
		store4(&s->at[shared], 2);
		store4(&s->at[(s->n + 1) % SWITCHERS], 1);
	}
	for (i = 0; i < events; i++) {
		unsigned long long owed = i ? 120 : 180, n = perf_count(fd[i]);

		if (n != owed) {
			fprintf(stderr,
				"# thread %u, event %u of %u: %llu hits counted, %llu owed\n",
				s->n, i, events, n, owed);
			s->wrong++;
		}
		close(fd[i]);
	}
	return NULL;
}

static unsigned int switchers(bool migrate)
{
	unsigned int at[SWITCHERS + 1] = { 0 }, i, wrong = 0;
	struct switcher s[SWITCHERS];

	for (i = 0; i < SWITCHERS; i++) {
		s[i] = (struct switcher){
			.n = i, .at = at, .migrate = migrate,
		};
		if (pthread_create(&s[i].thread, NULL, switcher, &s[i]))
			return ~0U;
	}
	for (i = 0; i < SWITCHERS; i++) {
		pthread_join(s[i].thread, NULL);
		wrong += s[i].wrong;
	}
	return wrong;
}

TEST_F(perf_tasks, context_switches_on_one_cpu)
{
	skip_without_futex(_metadata);
	cpu_set_size = allowed_cpus(cpu_set, 2);
	ASSERT_LT(0, cpu_set_size);
	ASSERT_EQ(0, pin_to_cpu(0, cpu_set[0]));
	ASSERT_EQ(0, switchers(false));
}

TEST_F(perf_tasks, context_switches_between_cpus)
{
	skip_without_futex(_metadata);
	cpu_set_size = allowed_cpus(cpu_set, 2);
	ASSERT_LT(0, cpu_set_size);
	ASSERT_EQ(0, switchers(true));
}

TEST_HARNESS_MAIN
