// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints as perf events: counting, sampling and control.
 *
 * The debug registers and the #DB handler are those of ptrace, but events are
 * scheduled in and out with their task, every hit passes through the overflow
 * code, and no task is stopped.  A lost or doubled hit only shows in a count,
 * so each count is compared with the exact number.
 *
 * The expectations follow perf_event_open(2), kernel/events/core.c,
 * kernel/events/hw_breakpoint.c and arch/x86/kernel/hw_breakpoint.c.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "environment.h"
#include "perf_event.h"
#include "probes.h"

/* The watched memory, with room on both sides of the 8 bytes in the middle */
static unsigned char area[64] __attribute__((__aligned__(64)));

#define MIDDLE	(&area[24])

static unsigned long ignored;

static void store4(void *addr, unsigned int n)
{
	while (n--)
		probe_store4(addr, n);
}

/*
 * Counting: each access that shares a byte with the watched ones counts one, no
 * other access does.
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
}

FIXTURE_TEARDOWN(perf_count)
{
	close(self->fd);
}

/*
 * Make all accesses around the watched bytes; returns the number of wrong
 * counts. The 8-byte probes of a 32-bit program are one access as well.
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
				test_err("%s at %ld: %llu counted, not %d",
					 p->name, at, now - last, hit);
				wrong++;
			}
			last = now;
		}
	}
	return wrong;
}

/* One hit, whether an access covers all watched bytes or only one of them */
TEST_F(perf_count, aligned)
{
	ASSERT_EQ(0, count_around(self->fd, variant->type, variant->len, true));
}

/* "Any byte in common" applies to accesses at any address (bp_hits()) */
TEST_F(perf_count, unaligned)
{
	ASSERT_EQ(0, count_around(self->fd, variant->type, variant->len,
				  false));
}

/* Many hits, with interrupts and context switches in between */
TEST_F(perf_count, many)
{
	unsigned int i, n = 400;

	for (i = 0; i < n; i++) {
		probe_store1(MIDDLE, i);
		probe_load4(MIDDLE, 0);
		probe_store8(MIDDLE + 8, i);
	}
	ASSERT_EQ(variant->type == HW_BREAKPOINT_W ? n : 2 * n,
		  perf_count(self->fd));
}

/*
 * Execute breakpoints, from which the handler returns with RF set
 * (hw_breakpoint_handler()); without RF the first hit repeats for ever.
 */
FIXTURE(perf_execute) {
	unsigned int len;
};

FIXTURE_SETUP(perf_execute)
{
	skip_if_perf_refused(_metadata);
	self->len = PERF_EXECUTE_LEN;
}

FIXTURE_TEARDOWN(perf_execute)
{
}

TEST_F(perf_execute, counts_each_execution)
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
	/*
	 * Target 2 * i is called i + 1 times in each iteration, its neighbours
	 * as well
	 */
	for (n = 0; n < 100 * DR_SLOTS; n++)
		for (i = n % DR_SLOTS; i < DR_SLOTS; i++) {
			probe_call_target(2 * i, &ignored, n);
			probe_call_target(2 * i + 1, &ignored, n);
		}
	for (i = 0; i < DR_SLOTS; i++) {
		EXPECT_EQ(100 * (i + 1), perf_count(fd[i])) {
			TH_LOG("target %u", 2 * i);
		}
		close(fd[i]);
	}
}

/* The length does not matter: an execute breakpoint has no alignment */
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

	if (fd == -EINVAL && sizeof(long) == 4 && PERF_EXECUTE_LEN == 8)
		KNOWN_ISSUE(return, "a 64-bit kernel requires length 8 from 32-bit tasks");
	ASSERT_LE(0, fd) {
		TH_LOG("length %zu: %s", sizeof(long), strerror(-fd));
	}
	probe_call_target(0, &ignored, 1);
	ASSERT_EQ(1, perf_count(fd));
}

TEST_F(perf_execute, other_lengths_refused)
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

/* Sampling: a record for every hit, with its address */
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
	skip_if_perf_refused(_metadata);

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

/* PERF_RECORD_SAMPLE with the sample_type of the fixture */
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
 * Consume all records: count the samples with the expected address, and lost
 * ones; returns the number of other records.
 */
static unsigned int sample_drain(struct perf_event_mmap_page *ring, size_t page,
				 unsigned long ip, unsigned long addr,
				 unsigned long *samples, unsigned long *lost)
{
	/* The head and tail are 64 bits wide, but never exceed 32 bits here */
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
			test_err("record type %u, %u bytes, ip %#llx, addr %#llx",
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
 * The ip is that of the trap: after the access for data, on the instruction for
 * execution (SDM vol. 3, "Breakpoint Exception Conditions"); addr is the
 * watched address, not the accessed one (perf_bp_event()).
 */
TEST_F(perf_sample, records_every_hit)
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

/*
 * One sample for each 7 hits, none earlier, and the count is that of the hits
 */
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

/* PERF_RECORD_LOST reports the samples that did not fit */
TEST_F(perf_sample, full_ring_reports_lost)
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
	/* The record of the loss precedes the next sample */
	store4(MIDDLE, 1);
	ASSERT_EQ(0, sample_drain(self->ring, self->page, self->ip,
				  self->attr.bp_addr, &samples, &lost));
	ASSERT_LT(0, lost);
	ASSERT_EQ(hits + 1, samples + lost);
	ASSERT_EQ(hits + 1, perf_count(self->fd));
}

/* poll() wakes up after wakeup_events overflows, and not before */
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
		ASSERT_EQ(3 * (i + 1), perf_count(self->fd));
		ASSERT_EQ(1, poll(&p, 1, watchdog_seconds() * 1000));
		ASSERT_EQ(POLLIN, p.revents);
	}
}

/* Enable, disable, reset */
FIXTURE(perf_control) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(perf_control)
{
	skip_if_perf_refused(_metadata);
	self->attr = perf_attr(HW_BREAKPOINT_W, MIDDLE, 4);
}

FIXTURE_TEARDOWN(perf_control)
{
}

/*
 * A new period stops the event for a moment and starts it again
 * (__perf_event_period() in kernel/events/core.c); counting continues.
 */
TEST_F(perf_control, period_changed)
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

/* Four events that overlap: each counts exactly its own hits */
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
 * One event for each byte: a #DB with several slots serves all of them
 * (hw_breakpoint_handler() handles every bit of DR6).
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

TEST_HARNESS_MAIN
