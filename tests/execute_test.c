// SPDX-License-Identifier: GPL-2.0
/*
 * Execute breakpoints: once for each execution, before the instruction, at its
 * first byte, and only if it is executed.
 *
 * An execute breakpoint is a fault: it is reported before the instruction, and
 * the kernel must set RF so that resuming does not trap again
 * (hw_breakpoint_handler(), regression test for 0c4519e825c9); RF holds for one
 * instruction, so the next execution traps again.  SDM vol. 3,
 * "Instruction-Breakpoint Exception Condition"; APM vol. 2, 13.1.4.
 */
#include "harness.h"
#include "probes.h"

#define CALLS	200

/* A branch over the probed instruction unless the second argument is 0 */
DECLARE_PROBE(probe_branch);
DEFINE_PROBE(probe_branch,
	     "test " PROBE_VAL ", " PROBE_VAL "\n\tjnz 1f",
	     "nop", "nop\n1:");

/* An instruction of five bytes: b8, and an unused constant */
DECLARE_PROBE(probe_long);
DEFINE_PROBE(probe_long, "", "movl $0x90909090, %eax", "nop");

/* A prefix (operand size), opcode 90: "xchg %ax, %ax" */
DECLARE_PROBE(probe_prefixed);
DEFINE_PROBE(probe_prefixed, "", ".byte 0x66, 0x90", "nop");

/* Three prefixes: the breakpoint is on the first of them */
DECLARE_PROBE(probe_prefixes);
DEFINE_PROBE(probe_prefixes, "", ".byte 0x66, 0x66, 0x66, 0x90", "nop");

/* A loop whose body is one instruction: it traps in every iteration */
DECLARE_PROBE(probe_turns);
DEFINE_PROBE(probe_turns, "mov " PROBE_VAL ", " PROBE_TMP "\n1:",
	     "dec " PROBE_TMP, "jnz 1b");

/*
 * A jump to itself until the counter is 0: breakpoint and target are the same
 */
DECLARE_PROBE(probe_loop);
DEFINE_PROBE(probe_loop, "mov " PROBE_VAL ", " PROBE_TMP,
	     "loop probe_loop_at", "");

struct calls {
	unsigned long sink;
};

FIXTURE(execute) {
	struct tracee t;
	struct calls *calls;
};

FIXTURE_VARIANT(execute) {
	unsigned int slot;
};

FIXTURE_VARIANT_ADD(execute, dr0) {
	.slot = 0,
};

FIXTURE_VARIANT_ADD(execute, dr1) {
	.slot = 1,
};

FIXTURE_VARIANT_ADD(execute, dr2) {
	.slot = 2,
};

FIXTURE_VARIANT_ADD(execute, dr3) {
	.slot = 3,
};

FIXTURE_SETUP(execute)
{
	self->calls = shared_alloc(sizeof(*self->calls));
	self->t.arg = self->calls;
}

FIXTURE_TEARDOWN(execute)
{
	tracee_stop(&self->t);
}

static void call_target_0(struct tracee *t)
{
	struct calls *calls = t->arg;
	unsigned long i;

	for (i = 1; i <= CALLS; i++) {
		*t->progress = i;
		probe_call_target(0, &calls->sink, i);
		/* The neighbours before and after, which are not watched */
		probe_call_target(1, &calls->sink, i);
	}
}

TEST_F(execute, traps_once_per_execution)
{
	struct tracee *t = &self->t;
	unsigned long i;

	t->body = call_target_0;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, variant->slot, BP_EXECUTE, 1,
				probe_target(0)));
	for (i = 1; i <= CALLS; i++) {
		/*
		 * Not yet executed: the store of the previous call is still
		 * there
		 */
		struct trap trap = {
			.ip = probe_target(0), .slots = 1U << variant->slot,
			.progress = i, .mem = &self->calls->sink,
			.mem_size = sizeof(self->calls->sink),
			.mem_value = i - 1,
		};

		ASSERT_EQ(0, tracee_expect_trap(t, &trap));
	}
	ASSERT_EQ(0, tracee_expect_exit(t));
}

static void take_and_leave_branch(struct tracee *t)
{
	unsigned long i;

	for (i = 1; i <= CALLS; i++) {
		*t->progress = i;
		probe_branch(NULL, i % 4);
	}
}

TEST_F(execute, no_trap_on_path_not_taken)
{
	struct tracee *t = &self->t;
	unsigned long i;

	t->body = take_and_leave_branch;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, variant->slot, BP_EXECUTE, 1,
				probe_branch_at));
	for (i = 4; i <= CALLS; i += 4) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << variant->slot,
					       probe_branch_at, i));
	}
	ASSERT_EQ(0, tracee_expect_exit(t));
}

static void run_long_ones(struct tracee *t)
{
	for (;;) {
		*t->progress = 1;
		probe_long(NULL, 0);
		*t->progress = 2;
		probe_prefixed(NULL, 0);
		*t->progress = 3;
		probe_prefixes(NULL, 0);
		*t->progress = 4;
		tracee_sync();
	}
}

TEST_F(execute, no_trap_inside_instruction)
{
	struct tracee *t = &self->t;
	const char *p;

	t->body = run_long_ones;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	for (p = probe_long_at + 1; p < probe_long_next; p++) {
		ASSERT_EQ(0, tracee_arm(t, variant->slot, BP_EXECUTE, 1, p));
		ASSERT_EQ(0, tracee_expect_sync(t, 4));
	}
	ASSERT_EQ(0, tracee_arm(t, variant->slot, BP_EXECUTE, 1,
				probe_long_at));
	ASSERT_EQ(0, tracee_expect_hit(t, 1U << variant->slot, probe_long_at,
				       1));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
}

TEST_F(execute, traps_on_first_prefix_only)
{
	struct tracee *t = &self->t;
	const char *p;

	t->body = run_long_ones;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, variant->slot, BP_EXECUTE, 1,
				probe_prefixed_at));
	ASSERT_EQ(0, tracee_expect_hit(t, 1U << variant->slot,
				       probe_prefixed_at, 2));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
	ASSERT_EQ(0, tracee_arm(t, variant->slot, BP_EXECUTE, 1,
				probe_prefixes_at));
	ASSERT_EQ(0, tracee_expect_hit(t, 1U << variant->slot,
				       probe_prefixes_at, 3));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));

	ASSERT_EQ(0, tracee_arm(t, variant->slot, BP_EXECUTE, 1,
				probe_prefixed_at + 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
	for (p = probe_prefixes_at + 1; p < probe_prefixes_next; p++) {
		ASSERT_EQ(0, tracee_arm(t, variant->slot, BP_EXECUTE, 1, p));
		ASSERT_EQ(0, tracee_expect_sync(t, 4));
	}
}

static void loop_iteration(struct tracee *t)
{
	*t->progress = 1;
	probe_turns(NULL, CALLS);
	*t->progress = 2;
	probe_loop(NULL, CALLS);
	*t->progress = 3;
	tracee_sync();
}

/* No progress is recorded between two executions: the loop counter is used */
static unsigned long counter(struct tracee *t)
{
#ifdef __x86_64__
	return ptrace(PTRACE_PEEKUSER, t->tid, offsetof(struct user, regs.rcx),
		      NULL);
#else
	return ptrace(PTRACE_PEEKUSER, t->tid, offsetof(struct user, regs.ecx),
		      NULL);
#endif
}

TEST_F(execute, traps_in_every_loop_iteration)
{
	struct tracee *t = &self->t;
	unsigned int bit = 1U << variant->slot;
	unsigned long i;

	t->body = loop_iteration;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, variant->slot, BP_EXECUTE, 1,
				probe_turns_at));
	for (i = 0; i < CALLS; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, bit, probe_turns_at, 1));
		ASSERT_EQ(CALLS - i, counter(t));
	}
	ASSERT_EQ(0, tracee_arm(t, variant->slot, BP_EXECUTE, 1,
				probe_loop_at));
	for (i = 0; i < CALLS; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, bit, probe_loop_at, 2));
		ASSERT_EQ(CALLS - i, counter(t));
	}
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

TEST_HARNESS_MAIN
