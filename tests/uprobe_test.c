// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints on and around an instruction that has a uprobe.
 *
 * A uprobe replaces the first byte of its instruction by int3, and the kernel
 * single-steps a copy of the instruction elsewhere: the #DB of that step is the
 * kernel's, but other bits in DR6 at that time are the tracer's
 * (arch/x86/kernel/uprobes.c and exc_debug_user() in arch/x86/kernel/traps.c).
 */
#include <stdio.h>

#include "environment.h"
#include "perf_event.h"
#include "probes.h"

#define ROUNDS		2
#define CALLS		(ROUNDS * DR_SLOTS)
#define TYPE_FILE	"/sys/bus/event_source/devices/uprobe/type"

/* Call n stores to word n modulo 4, by the instruction that has the uprobe */
static void store(struct tracee *t)
{
	unsigned int *words = t->arg;
	unsigned long n;

	for (n = 0; n < CALLS; n++) {
		*t->progress = n;
		probe_store4(&words[n % DR_SLOTS], n);
	}
	*t->progress = n;
	tracee_sync();
}

/* The file offset of an address of this program; -1 if not known */
static long long file_offset(const void *addr)
{
	unsigned long long begin, end, offset, at = (unsigned long)addr;
	FILE *f = fopen("/proc/self/maps", "re");
	long long found = -1;

	while (f && found < 0 &&
	       fscanf(f, "%llx-%llx %*s %llx%*[^\n]", &begin, &end, &offset) == 3)
		if (at >= begin && at < end)
			found = at - begin + offset;
	if (f)
		fclose(f);
	return found;
}

/* A uprobe at an address of this program, which counts executions by @tid */
static int open_uprobe(const void *addr, pid_t tid)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.config1 = (unsigned long)"/proc/self/exe",
		.config2 = file_offset(addr),
	};
	FILE *f = fopen(TYPE_FILE, "re");

	if (!f)
		return -ENOENT;
	if (fscanf(f, "%u", &attr.type) != 1)
		attr.type = PERF_TYPE_MAX;
	fclose(f);
	return perf_try_once(&attr, tid, -1);
}

FIXTURE(uprobe) {
	struct tracee t;
	unsigned int *words;
	int fd;
};

/*
 * The tracee first: events that are open when it is forked would stay open in
 * it
 */
FIXTURE_SETUP(uprobe)
{
	self->words = shared_alloc(DR_SLOTS * sizeof(*self->words));
	self->t.body = store;
	self->t.arg = self->words;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
	if (file_offset(probe_store4_at) < 0)
		SKIP(_exit(EXIT_SKIPPED), "no /proc/self/maps");
	self->fd = open_uprobe(probe_store4_at, self->t.tid);
	if (self->fd == -ENOENT)
		SKIP(_exit(EXIT_SKIPPED), "no uprobes: " TYPE_FILE);
	skip_if_refused(_metadata, self->fd < 0 ? self->fd : 0, "uprobe");
}

FIXTURE_TEARDOWN(uprobe)
{
	tracee_stop(&self->t);
}

/* Nothing is armed: the kernel's own step causes no trap */
TEST_F(uprobe, nothing_armed)
{
	ASSERT_EQ(0, tracee_expect_sync(&self->t, CALLS));
	ASSERT_EQ(CALLS, perf_count(self->fd));
}

/* An execute breakpoint at @at in each slot, hit at each call */
static void hit_at(struct __test_metadata *_metadata, struct tracee *t,
		   const void *at)
{
	unsigned long n;

	for (n = 0; n < CALLS; n++) {
		ASSERT_EQ(0, tracee_disarm_all(t));
		ASSERT_EQ(0, tracee_arm(t, n % DR_SLOTS, BP_EXECUTE, 1, at));
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << n % DR_SLOTS, at, n));
	}
	ASSERT_EQ(0, tracee_expect_sync(t, CALLS));
}

/* Before the int3 */
TEST_F(uprobe, execute_breakpoint_on)
{
	hit_at(_metadata, &self->t, probe_store4_at);
	ASSERT_EQ(CALLS, perf_count(self->fd));
}

/* And where the kernel continues after its step */
TEST_F(uprobe, execute_breakpoint_after)
{
	hit_at(_metadata, &self->t, probe_store4_next);
	ASSERT_EQ(CALLS, perf_count(self->fd));
}

/* Its text is patched under an armed breakpoint, before every fourth call */
TEST_F(uprobe, added_and_removed_under_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned long n;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, probe_store4_at));
	for (n = 0; n < CALLS; n++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_at, n));
		if (n % 4 == 3) {
			self->fd = open_uprobe(probe_store4_at, t->tid);
			ASSERT_LE(0, self->fd);
		} else if (n % 4 == 0) {
			/*
			 * The call whose breakpoint it is stopped at has not
			 * been made yet
			 */
			ASSERT_EQ(!!n, perf_count(self->fd));
			close(self->fd);
		}
	}
	ASSERT_EQ(0, tracee_expect_sync(t, CALLS));
	ASSERT_EQ(1, perf_count(self->fd));
}

/*
 * The step of the copy makes the access, and the hit is in DR6 besides BS.
 * si_addr is not specified: the address of the copy is accepted.
 */
TEST_F(uprobe, watchpoint)
{
	struct trap trap = { .ip = probe_store4_next };
	struct tracee *t = &self->t;
	unsigned long n;
	struct stop s;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, "QEMU's software emulation would hang");
	for (n = 0; n < DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_arm(t, n, n % 2 ? BP_RW : BP_WRITE, 4,
					&self->words[n])) {
			TH_LOG("slot %lu", n);
		}
	}
	for (n = 0; n < CALLS; n++) {
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (WIFSTOPPED(s.status) && WSTOPSIG(s.status) == SIGSTOP &&
		    s.progress == CALLS && s.dr6 == dr6_encode(8, true) &&
		    perf_count(self->fd) == CALLS)
			KNOWN_ISSUE(return, "no SIGTRAP for a watchpoint hit at a uprobe");
		s.info.si_addr = (void *)s.ip;
		trap.slots = 1U << n % DR_SLOTS;
		trap.progress = n;
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
	}
	ASSERT_EQ(0, tracee_expect_sync(t, CALLS));
	ASSERT_EQ(CALLS, perf_count(self->fd));
}

/* The same for counting events */
TEST_F(uprobe, perf_watchpoint)
{
	struct perf_event_attr attr;
	int fd[DR_SLOTS];
	unsigned int i;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, "QEMU's software emulation would hang");
	for (i = 0; i < DR_SLOTS; i++) {
		attr = perf_attr(HW_BREAKPOINT_W, &self->words[i], 4);
		fd[i] = perf_open(_metadata, &attr, self->t.tid, -1);
	}
	ASSERT_EQ(0, tracee_expect_sync(&self->t, CALLS));
	ASSERT_EQ(CALLS, perf_count(self->fd));
	for (i = 0; i < DR_SLOTS; i++) {
		EXPECT_EQ(ROUNDS, perf_count(fd[i])) {
			TH_LOG("event %u", i);
		}
		close(fd[i]);
	}
}

TEST_HARNESS_MAIN
