// SPDX-License-Identifier: GPL-2.0
/*
 * Attributes of perf breakpoints that need privileges: those that count or signal the
 * kernel's accesses, or are set on address 0.  For others see perf_attr_test and
 * perf_sigtrap_test.
 */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "environment.h"
#include "perf_sigtrap.h"

/* The watched memory */
static unsigned int word;

FIXTURE(privileged_attr) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(privileged_attr)
{
	skip_if_perf_refused(_metadata);
	self->attr = perf_attr(HW_BREAKPOINT_W, &word, 4);
	self->attr.disabled = 1;
}

FIXTURE_TEARDOWN(privileged_attr)
{
}

/*
 * Data that the kernel accesses on entry cannot be watched, not even by root: a
 * #DB there comes before the kernel can handle one (within_cpu_entry() in
 * arch/x86/kernel/hw_breakpoint.c).  The entry area (GDT, TSS, entry stacks)
 * has a fixed base since 4.15, with 4 and 5 page table levels
 * (CPU_ENTRY_AREA_BASE, Documentation/arch/x86/x86_64/mm.rst).
 *
 * The events are opened disabled, so that nothing is armed if a kernel accepts
 * them.  Regression test for 3943abf2dbfa and its follow-ups.
 */
TEST_F(privileged_attr, cpu_entry_area_refused)
{
	const unsigned long long base = 0xfffffe0000000000ULL;
	static const unsigned long long off[] = {
		0, 8, 0x1000, 0x2000, 0x3000, 0x7ff8, 0x40000, 0x7ffffffff8ULL,
	};
	/*
	 * After that of the first CPU, in case CPUs are shuffled (97e3d26b5e5f)
	 */
	unsigned int shuffled = 6;
	unsigned int i, type;

	if (PERF_EXECUTE_LEN == 4)
		SKIP(return, SKIP_64_BIT_KERNEL);
	if (!kernel_is(5, 9))
		SKIP(return, SKIP_OLD_KERNEL);

	/* The page below is an ordinary kernel address */
	self->attr.exclude_kernel = 0;
	self->attr.bp_len = 8;
	self->attr.bp_addr = base - 8;
	skip_if_refused(_metadata, perf_try_close(&self->attr, 0, -1),
			"breakpoint in the kernel");

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

/* A breakpoint on address 0 fires, if page 0 can be mapped (vm.mmap_min_addr) */
TEST_F(privileged_attr, address_zero_hit)
{
	int fd;

	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		SKIP(return, SKIP_REFUSED, "page 0");
	self->attr.bp_addr = 0;
	self->attr.disabled = 0;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	store4(NULL, 3);
	probe_store4((void *)4, 0);
	ASSERT_EQ(3, perf_count(fd));
}

/* Hits in the kernel are counted, too */
FIXTURE(include_kernel) {
	struct perf_event_attr attr;
	int pipe[2];
};

FIXTURE_SETUP(include_kernel)
{
	skip_if_perf_refused(_metadata);
	self->attr = perf_attr(HW_BREAKPOINT_RW, &word, 4);
	ASSERT_EQ(0, pipe(self->pipe));
}

FIXTURE_TEARDOWN(include_kernel)
{
	close(self->pipe[0]);
	close(self->pipe[1]);
}

/* Copy from the watched bytes and to them */
static bool kernel_access(int pipe[2])
{
	return write(pipe[1], &word, 4) == 4 && read(pipe[0], &word, 4) == 4;
}

/*
 * The number of instructions with which the kernel copies is not specified:
 * only that there is at least one.
 */
TEST_F(include_kernel, user)
{
	unsigned long long n;
	int fd;

	self->attr.exclude_user = 1;
	self->attr.exclude_kernel = 0;
	fd = perf_open(_metadata, &self->attr, 0, -1);
	store4(&word, 5);
	ASSERT_EQ(0, perf_count(fd));
	ASSERT_TRUE(kernel_access(self->pipe));
	n = perf_count(fd);
	ASSERT_LT(0, n);
	store4(&word, 5);
	ASSERT_EQ(n, perf_count(fd));
}

TEST_F(include_kernel, neither)
{
	unsigned long long n;
	int fd;

	self->attr.exclude_kernel = 0;
	fd = perf_open(_metadata, &self->attr, 0, -1);
	store4(&word, 5);
	ASSERT_EQ(5, perf_count(fd));
	ASSERT_TRUE(kernel_access(self->pipe));
	n = perf_count(fd);
	ASSERT_LT(5, n);
	store4(&word, 5);
	ASSERT_EQ(n + 5, perf_count(fd));
}

/* One at the end of the system call, whatever the number of hits */
TEST_F(include_kernel, sigtrap_of_kernel_accesses)
{
	int fd, i;

	self->attr = expect_sigtrap(_metadata, HW_BREAKPOINT_W, MIDDLE, 4, NULL);
	self->attr.exclude_kernel = 0;
	fd = perf_open(_metadata, &self->attr, 0, -1);
	for (i = 1; i <= 50; i++) {
		ASSERT_EQ(4, write(self->pipe[1], area, 4));
		ASSERT_EQ(4, read(self->pipe[0], MIDDLE, 4));
		ASSERT_EQ(i, (int)signals());
	}
	ASSERT_EQ(0, wrong());
	ASSERT_LE(50, perf_count(fd));
}

/* Executed again, the program does nothing */
static void __attribute__((constructor(101))) image_main(void)
{
	if (perf_is_image())
		_exit(0);
}

/*
 * execve() reads its environment from watched memory, so that a signal is due,
 * and then closes the event, all in one system call.  Regression test for
 * 56799bc03565, before which the task hung there.
 */
static void exec_closes(void *arg)
{
	/* The new image must not die of a signal that was due to the old one */
	signal(SIGTRAP, SIG_IGN);
	memcpy(area, PERF_IMAGE_ENV, sizeof(PERF_IMAGE_ENV));
	if (perf_try(arg, 0, -1) < 0)
		_exit(3);
	perf_exec((char *)area);
	_exit(4);
}

TEST_F(include_kernel, closed_by_exec_with_sigtrap_pending)
{
	struct waiting_child child;

	self->attr = expect_sigtrap(_metadata, HW_BREAKPOINT_RW, area, 1, NULL);
	self->attr.exclude_kernel = 0;
	skip_if_refused(_metadata, perf_try_close(&self->attr, 0, -1),
			"perf event of the kernel");
	ASSERT_EQ(0, child_start(&child, exec_closes, &self->attr));
	ASSERT_EQ(0, child_release(&child));
}

/* A process that shares the memory: the kernel clears its clear_child_tid at its end */
static int exit_on_word(void *arg)
{
	const int *start = arg;
	char c;

	/* No fork(), in whose children tracee.c does this */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	syscall(SYS_set_tid_address, &word);
	if (read(*start, &c, 1) != 1)
		return 2;
	return syscall(SYS_exit, 0);
}

#define EXITS	20

/*
 * The last hit of a task is the kernel's, in exit(2), when its signal cannot be
 * delivered any more.  The event must not outlive its task because of that: the slot
 * would never be free again (3da6bb419750, and before it c9bc1753b3cc).
 */
TEST_F(include_kernel, sigtrap_at_exit)
{
	static char stack[16384] __attribute__((aligned(16)));
	int fd, i, status;
	pid_t pid;

	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	if (!kernel_is(5, 13))
		SKIP(return, SKIP_OLD_KERNEL);
	/* That of unexpected signals would end the child */
	self->attr = sigtrap_attr(HW_BREAKPOINT_W, &word, 4);
	self->attr.exclude_kernel = 0;
	for (i = 0; i < EXITS; i++) {
		word = 1;
		pid = clone(exit_on_word, stack + sizeof(stack), CLONE_VM | SIGCHLD,
			    &self->pipe[0]);
		ASSERT_LT(0, pid);
		fd = perf_try(&self->attr, pid, -1);
		if (fd < 0)
			kill(pid, SIGKILL);
		else
			EXPECT_EQ(1, write(self->pipe[1], "x", 1));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		skip_if_refused(_metadata, fd < 0 ? fd : 0, "perf event of the kernel");
		ASSERT_EQ(0, status);
		ASSERT_EQ(0, word);
		/* Since 6.16 the task's events end before that: do_exit() */
		ASSERT_GE(1, perf_count(fd));
		ASSERT_EQ(0, close(fd));
	}
	expect_no_slot_leaked(_metadata);
}

TEST_HARNESS_MAIN
