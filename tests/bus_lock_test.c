// SPDX-License-Identifier: GPL-2.0
/*
 * Locked accesses across a cache line, on watched memory.
 *
 * They lock the bus, which a CPU may report, as #AC before the access or as #DB after
 * it: then one #DB has bit 11 of DR6 clear for the bus lock and the bit of a slot set
 * (ebb1064e7c2e, 408eb7417a92).  Bit 11 is the kernel's own affair, and reads as 1.
 */
#include <signal.h>

#include "environment.h"
#include "harness.h"
#include "probe_job.h"
#include "step.h"

DECLARE_PROBE(split_inc);
DEFINE_PROBE(split_inc, "", "lock incl (" PROBE_PTR ")", "nop");
DECLARE_PROBE(split_xadd);
DEFINE_PROBE(split_xadd, "", "lock xaddl %eax, (" PROBE_PTR ")", "nop");
DECLARE_PROBE(split_xchg);
DEFINE_PROBE(split_xchg, "", "xchgl %eax, (" PROBE_PTR ")", "nop");
DECLARE_PROBE(split_bts);
DEFINE_PROBE(split_bts, "", "lock btsl $17, (" PROBE_PTR ")", "nop");

FIXTURE(bus_lock) {
	struct tracee t;
	unsigned char *at;
};

FIXTURE_VARIANT(bus_lock) {
	struct probe probe;
};

FIXTURE_VARIANT_ADD(bus_lock, inc) { .probe = PROBE_ENTRY(split_inc, 4, true) };
FIXTURE_VARIANT_ADD(bus_lock, xadd) { .probe = PROBE_ENTRY(split_xadd, 4, true) };
FIXTURE_VARIANT_ADD(bus_lock, xchg) { .probe = PROBE_ENTRY(split_xchg, 4, true) };
FIXTURE_VARIANT_ADD(bus_lock, bts) { .probe = PROBE_ENTRY(split_bts, 4, true) };

FIXTURE_SETUP(bus_lock)
{
	struct tracee *t = &self->t;
	struct stop s;

	/* The second and the third byte are in different lines */
	self->at = (unsigned char *)shared_alloc(4096) + 2048 - 2;
	start_probe_job(_metadata, t, variant->probe.fn, self->at);
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	if (WIFSTOPPED(s.status) && WSTOPSIG(s.status) == SIGBUS) {
		tracee_stop(t);
		SKIP(_exit(EXIT_SKIPPED), SKIP_REFUSED, "split lock");
	}
	ASSERT_EQ(0, tracee_check_sync(t, &s, 2));
}

FIXTURE_TEARDOWN(bus_lock)
{
	tracee_stop(&self->t);
}

/* Each byte, in each slot: one hit */
TEST_F(bus_lock, watchpoint)
{
	struct tracee *t = &self->t;
	unsigned int slot, byte;

	for (slot = 0; slot < DR_SLOTS; slot++) {
		for (byte = 0; byte < 4; byte++) {
			ASSERT_EQ(0, tracee_arm(t, slot, byte % 2 ? BP_RW : BP_WRITE,
						1, self->at + byte));
			ASSERT_EQ(0, tracee_expect_hit(t, 1 << slot,
						       variant->probe.next, 1));
			ASSERT_EQ(0, tracee_expect_sync(t, 2));
		}
		ASSERT_EQ(0, tracee_arm(t, slot, BP_RW, 1, self->at - 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, tracee_arm(t, slot, BP_RW, 1, self->at + 4));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, tracee_disarm(t, slot));
	}
}

/* On it, once, also if #AC makes it start twice; then the watchpoint; then after it */
TEST_F(bus_lock, breakpoints_around)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, at));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_WRITE, 1, self->at + 3));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	ASSERT_EQ(0, tracee_disarm(t, 2));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_F(bus_lock, single_step)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct tracee *t = &self->t;
	unsigned int i;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, SKIP_TCG_HANGS);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, at));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, expect_step(t, next, 1));
		ASSERT_EQ(0, expect_step(t, next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_arm(t, 3, BP_RW, 1, self->at + i));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, expect_step_and_hit(t, next, 8, 1));
		ASSERT_EQ(0, expect_step(t, next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_HARNESS_MAIN
