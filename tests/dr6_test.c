// SPDX-License-Identifier: GPL-2.0
/*
 * DR6 as a tracer reads and writes it.
 */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "probes.h"

struct words {
	unsigned long long word[DR_SLOTS];
	unsigned long sink;
};

DECLARE_PROBE(probe_int3);
DEFINE_PROBE(probe_int3, "", "int3", "");

/* All kinds of stops, repeatedly */
static void stop_after_stop(struct tracee *t)
{
	struct words *words = t->arg;

	for (;;) {
		*t->progress = 1;
		probe_call_target(0, &words->sink, 1);
		*t->progress = 2;
		probe_store4(&words->word[0], 2);
		*t->progress = 3;
		tracee_sync();
		*t->progress = 4;
		probe_int3(NULL, 0);
		*t->progress = 5;
		syscall(SYS_getppid);
		*t->progress = 6;
		probe_store4(&words->word[1], 6);
	}
}

FIXTURE(dr6) {
	struct tracee t;
	struct words *words;
};

FIXTURE_VARIANT(dr6) {
	unsigned int slot;
};

FIXTURE_VARIANT_ADD(dr6, dr0_and_dr1) {
	.slot = 0,
};

FIXTURE_VARIANT_ADD(dr6, dr1_and_dr2) {
	.slot = 1,
};

FIXTURE_VARIANT_ADD(dr6, dr2_and_dr3) {
	.slot = 2,
};

FIXTURE_SETUP(dr6)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = stop_after_stop;
	self->t.arg = self->words;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(&self->t, variant->slot, BP_EXECUTE, 1,
				probe_target(0)));
	ASSERT_EQ(0, tracee_arm(&self->t, variant->slot + 1, BP_WRITE, 4,
				&self->words->word[0]));
}

FIXTURE_TEARDOWN(dr6)
{
	tracee_stop(&self->t);
}

static int expect_step(struct tracee *t, const void *ip, unsigned long progress)
{
	struct trap trap = { .ip = ip, .step = true, .progress = progress };
	struct stop s;

	if (tracee_resume(t, PTRACE_SINGLESTEP, 0) || tracee_wait(t, &s))
		return -1;
	return tracee_check_trap(t, &s, &trap);
}

/* A SIGTRAP that is no debug exception: int3, or a system call stop */
static int expect_other_trap(struct tracee *t, int request, int code,
			     unsigned long progress, unsigned long dr6)
{
	struct stop s;

	if (tracee_resume(t, request, 0) || tracee_wait(t, &s))
		return -1;
	if (!WIFSTOPPED(s.status) || WSTOPSIG(s.status) != SIGTRAP ||
	    s.info.si_code != code || s.progress != progress || s.dr6 != dr6) {
		tracee_report(t, &s,
			      "expected SIGTRAP code %d after access %lu, DR6 %#lx",
			      code, progress, dr6);
		return -1;
	}
	return 0;
}

/*
 * A debug exception sets DR6 to the bits of this exception only (virtual_dr6 in
 * exc_debug_user() of arch/x86/kernel/traps.c).  No other stop changes it:
 * neither #BP nor a signal nor a system call writes DR6 (SDM "Debug Status
 * Register (DR6)").
 */
TEST_F(dr6, exact_after_each_stop)
{
	unsigned int x = 1U << variant->slot, w = 2U << variant->slot, round;
	unsigned long dr6 = dr6_encode(w, false), val;
	struct tracee *t = &self->t;

	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, x, probe_target(0), 1));
		ASSERT_EQ(0, expect_step(t, probe_target(0) + 1, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, w, probe_store4_next, 2));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(dr6, val);
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_CONT, SI_KERNEL, 4,
					       dr6));
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_SYSCALL, SIGTRAP, 5,
					       dr6));
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_SYSCALL, SIGTRAP, 5,
					       dr6));
	}
}

/*
 * A DR6 that the tracer has cleared stays clear until the next debug exception
 */
TEST_F(dr6, cleared_by_tracer)
{
	unsigned int x = 1U << variant->slot, w = 2U << variant->slot, round;
	struct tracee *t = &self->t;
	unsigned long val;

	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, x, probe_target(0), 1));
		ASSERT_EQ(0, tracee_poke(t, 6, DR6_NONE));
		ASSERT_EQ(0, tracee_expect_hit(t, w, probe_store4_next, 2));
		ASSERT_EQ(0, tracee_poke(t, 6, DR6_NONE));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(DR6_NONE, val);
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_CONT, SI_KERNEL, 4,
					       DR6_NONE));
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_SYSCALL, SIGTRAP, 5,
					       DR6_NONE));
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_SYSCALL, SIGTRAP, 5,
					       DR6_NONE));
	}
}

/* Any value reads back as written, until the next debug exception */
TEST_F(dr6, written_by_tracer)
{
	static const unsigned long values[] = {
		0, -1UL, DR6_NONE, DR6_NONE ^ 0xf, DR6_NONE ^ DR6_BS,
		DR6_NONE ^ DR6_BD, DR6_NONE ^ DR6_BT, 1, 2, 4, 8, 0x12345678,
		0x800, 0x10000,
	};
	unsigned int x = 1U << variant->slot, w = 2U << variant->slot, j, bit;
	struct tracee *t = &self->t;
	unsigned long val;

	for (bit = 0; bit < 8 * sizeof(long); bit++) {
		ASSERT_EQ(0, tracee_poke(t, 6, 1UL << bit));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(1UL << bit, val);
	}
	for (j = 0; j < ARRAY_SIZE(values); j++) {
		ASSERT_EQ(0, tracee_poke(t, 6, values[j]));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(values[j], val);
		ASSERT_EQ(0, tracee_expect_hit(t, x, probe_target(0), 1));
		ASSERT_EQ(0, tracee_poke(t, 6, values[j]));
		ASSERT_EQ(0, expect_step(t, probe_target(0) + 1, 1));
		ASSERT_EQ(0, tracee_poke(t, 6, values[j]));
		ASSERT_EQ(0, tracee_expect_hit(t, w, probe_store4_next, 2));
		ASSERT_EQ(0, tracee_poke(t, 6, values[j]));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(values[j], val);
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_CONT, SI_KERNEL, 4,
					       values[j]));
	}
}

TEST_HARNESS_MAIN
