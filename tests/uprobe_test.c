// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints on and around an instruction that has a uprobe.
 *
 * A uprobe replaces the first byte of its instruction by int3, and the kernel
 * single-steps a copy of the instruction elsewhere: the #DB of that step is the
 * kernel's, but other bits in DR6 at that time are the tracer's
 * (arch/x86/kernel/uprobes.c and exc_debug_user() in arch/x86/kernel/traps.c).
 */
#include "environment.h"
#include "probes.h"
#include "uprobe.h"

#define ROUNDS		2
#define CALLS		(ROUNDS * DR_SLOTS)

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
	self->fd = start_uprobe(_metadata, probe_store4_at, self->t.tid, false);
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
			self->fd = open_uprobe(probe_store4_at, t->tid, false);
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
		SKIP(return, SKIP_TCG_HANGS);
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
		SKIP(return, SKIP_TCG_HANGS);
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
