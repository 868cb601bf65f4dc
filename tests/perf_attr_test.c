// SPDX-License-Identifier: GPL-2.0
/*
 * Attributes of perf breakpoints: refused ones, modification, and exclusion of
 * user mode or the kernel.
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
 * PERF_EVENT_IOC_MODIFY_ATTRIBUTES may change address, type, length and
 * disabled, nothing else (modify_user_hw_breakpoint_check()).
 */
FIXTURE(perf_modify) {
	struct perf_event_attr attr;
	unsigned int execute_len;
	int fd;
};

FIXTURE_SETUP(perf_modify)
{
	skip_if_perf_refused(_metadata);
	if (!kernel_is(4, 17))
		SKIP(return, SKIP_OLD_KERNEL);
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

/* From every type and length to every other */
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

	skip_if_dead(_metadata, BY_PERF, NEEDS_ALL);
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
			probe_call_target(0, &ignored, i);
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

/* A refused modification changes nothing: the old breakpoint stays active */
TEST_F(perf_modify, refused_keeps_old_breakpoint)
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
 * The same for an event that was opened disabled and enabled later:
 * perf_event_modify_breakpoint() disables it first, and enables it again
 * according to the attributes with which it was opened.
 */
TEST_F(perf_modify, refused_keeps_event_enabled_later)
{
	int fd;

	/* QEMU's software emulation reports one of two slots on one address */
	close(self->fd);
	self->fd = -1;
	self->attr.disabled = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	store4(MIDDLE, 2);
	ASSERT_EQ(2, perf_count(fd));
	self->attr.bp_len = 3;
	ASSERT_EQ(-EINVAL, modify(fd, &self->attr));
	store4(MIDDLE, 2);
	if (perf_count(fd) == 2)
		KNOWN_ISSUE(return, "a refused modification restores the state at open");
	ASSERT_EQ(4, perf_count(fd));
}

/* And one that was disabled later stays disabled */
TEST_F(perf_modify, refused_keeps_event_disabled_later)
{
	ASSERT_EQ(0, ioctl(self->fd, PERF_EVENT_IOC_DISABLE, 0));
	self->attr.bp_len = 3;
	ASSERT_EQ(-EINVAL, modify(self->fd, &self->attr));
	store4(MIDDLE, 2);
	if (perf_count(self->fd) == 2)
		KNOWN_ISSUE(return, "a refused modification restores the state at open");
	ASSERT_EQ(0, perf_count(self->fd));
}

static unsigned int thief_stop;

/* Tries to take a fifth slot of the main thread, and counts its successes */
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
 * A slot stays reserved while it is modified, whatever its new type.
 * Regression test for 44234adcdce3, which replaced unregistering and
 * registering again, between which another event could take the slot.
 */
TEST_F(perf_modify, slot_stays_reserved)
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

/* Attributes that are refused, and the errno */
FIXTURE(perf_attr) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(perf_attr)
{
	skip_if_perf_refused(_metadata);
	self->attr = perf_attr(HW_BREAKPOINT_W, MIDDLE, 4);
	self->attr.disabled = 1;
}

FIXTURE_TEARDOWN(perf_attr)
{
}

/* x86 has no read-only watchpoints, and no other combinations of the bits */
TEST_F(perf_attr, invalid_types_refused)
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

TEST_F(perf_attr, invalid_lengths_refused)
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
	/* No length that reaches beyond the end of the address space */
	self->attr.bp_len = -1ULL;
	EXPECT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1));
}

TEST_F(perf_attr, unaligned_address_refused)
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

/* With the kernel excluded, no breakpoint may reach into it */
TEST_F(perf_attr, kernel_address_refused)
{
	static const unsigned long long addr[] = {
		0x800000000000ULL << 9,		/* non-canonical, 4 and 5 levels */
		0xff00000000000000ULL, 0xffff800000000000ULL,
		0xffff888000000000ULL, 0xffffffff81000000ULL,
		0xffffffffff600000ULL, -8ULL,
	};
	unsigned int i;

	if (PERF_EXECUTE_LEN == 4)
		SKIP(return, SKIP_64_BIT_KERNEL);
	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		self->attr.bp_addr = addr[i];
		self->attr.bp_len = 8;
		EXPECT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1)) {
			TH_LOG("address %#llx", addr[i]);
		}
		self->attr.bp_type ^= HW_BREAKPOINT_R;
	}
}

/* Address 0 is valid; some kernels of 2010 refused it */
TEST_F(perf_attr, address_zero_accepted)
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

TEST_F(perf_attr, missing_task_refused)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	ASSERT_EQ(0, reap(pid));
	ASSERT_EQ(-ESRCH, perf_try_close(&self->attr, pid, -1));
}

static void expect_ranges_refused(struct __test_metadata *_metadata,
				  struct perf_event_attr *attr)
{
	unsigned int len;

	for (len = 16; len <= 65536; len *= 2) {
		attr->bp_addr = 0;
		attr->bp_len = len;
		EXPECT_EQ(-EOPNOTSUPP, perf_try_close(attr, 0, -1)) {
			TH_LOG("length %u", len);
		}
		attr->bp_addr = len / 2;
		EXPECT_EQ(-EINVAL, perf_try_close(attr, 0, -1));
		attr->bp_addr = 0;
		attr->bp_len = len + 8;
		EXPECT_EQ(-EINVAL, perf_try_close(attr, 0, -1));
	}
}

/* The first and the last byte of a range are watched, and none outside it */
static void expect_range(struct __test_metadata *_metadata,
			 struct perf_event_attr *attr, unsigned char *start,
			 unsigned int len)
{
	int fd;

	attr->bp_addr = (unsigned long)start;
	attr->bp_len = len;
	fd = perf_try(attr, 0, -1);
	ASSERT_LE(0, fd);
	probe_store1(start - 1, 0);
	probe_store1(start + len, 0);
	EXPECT_EQ(0, perf_count(fd));
	probe_store1(start, 0);
	probe_store1(start + len / 2, 0);
	probe_store1(start + len - 1, 0);
	EXPECT_EQ(3, perf_count(fd)) {
		TH_LOG("length %u", len);
	}
	close(fd);

	/* The mask is cleared with the event: the next one watches one byte again */
	attr->bp_len = 1;
	fd = perf_try(attr, 0, -1);
	ASSERT_LE(0, fd);
	probe_store1(start + 1, 0);
	EXPECT_EQ(0, perf_count(fd));
	probe_store1(start, 0);
	EXPECT_EQ(1, perf_count(fd));
	close(fd);
}

/*
 * Lengths over 8 are AMD's address masks, CPUID
 * Fn8000_0001_ECX[DataBreakpointExtension] (APM vol. 2, 13.1.1.5), if the CPU has
 * them and the kernel uses them, and are refused otherwise.
 */
TEST_F(perf_attr, ranges)
{
	unsigned int eax, ebx, ecx, edx, len;
	unsigned char *page;

	if (!__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) ||
	    !(ecx & (1U << 26)) || environment_cpu_lacks("bpext")) {
		expect_ranges_refused(_metadata, &self->attr);
		return;
	}
	page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	self->attr.disabled = 0;
	for (len = 16; len <= 4096; len *= 2)
		expect_range(_metadata, &self->attr, page + 4096, len);
	munmap(page, 3 * 4096);
}

/* Hits in user mode and in the kernel */
FIXTURE(perf_exclude) {
	struct perf_event_attr attr;
	int pipe[2];
};

FIXTURE_SETUP(perf_exclude)
{
	skip_if_perf_refused(_metadata);
	self->attr = perf_attr(HW_BREAKPOINT_RW, MIDDLE, 4);
	ASSERT_EQ(0, pipe(self->pipe));
}

FIXTURE_TEARDOWN(perf_exclude)
{
	close(self->pipe[0]);
	close(self->pipe[1]);
}

/* Copy from the watched bytes and to them */
static bool kernel_access(int pipe[2])
{
	return write(pipe[1], MIDDLE, 4) == 4 && read(pipe[0], MIDDLE, 4) == 4;
}

/* Until 2010 exclude_kernel did not exclude the kernel's accesses */
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

TEST_HARNESS_MAIN
