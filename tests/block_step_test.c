// SPDX-License-Identifier: GPL-2.0
/*
 * PTRACE_SINGLEBLOCK, and breakpoints within the block.
 */
#include "environment.h"
#include "harness.h"
#include "step.h"

/* A basic block with a store, and the block that a short jmp leads to */
DECLARE_PROBE(step_block);
DEFINE_PROBE(step_block, "", "nop", "movl %eax, (" PROBE_PTR ")\n\t"
	     ".byte 0xeb, 1\n\tnop\n\tnop");

#define BLOCK_STORED	(step_block_next + 2)
#define BLOCK_JUMPED	(step_block_next + 5)

static void jump(struct tracee *t)
{
	struct words *words = t->arg;

	for (;;) {
		*t->progress = 1;
		step_block(&words->word[0], 1);
		*t->progress = 2;
		tracee_sync();
	}
}

FIXTURE(block_step) {
	struct tracee t;
	struct words *words;
};

FIXTURE_SETUP(block_step)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.arg = self->words;
	self->t.body = jump;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(block_step)
{
	tracee_stop(&self->t);
}

/*
 * Block-step through the block, with @slots expected at @ip on the way.  If the
 * CPU, or its emulation, has no DEBUGCTL.BTF, each of them is a single step
 * (set_task_blockstep() cannot know).
 *
 * Return: the number of steps, 1 with BTF; or a negative number.
 */
static int block_steps(struct tracee *t, unsigned int slots, const void *ip)
{
	struct trap trap = { .ip = step_block_at, .progress = 1 };
	bool expected = slots;
	struct stop s;
	int n = 0;

	while (trap.ip != BLOCK_JUMPED) {
		if (tracee_resume(t, PTRACE_SINGLEBLOCK, 0) ||
		    tracee_wait(t, &s))
			return -1;
		if (s.ip < (unsigned long)trap.ip ||
		    s.ip > (unsigned long)BLOCK_JUMPED) {
			tracee_report(t, &s, "the step has left the block");
			return -1;
		}
		trap.ip = (const void *)s.ip;
		trap.step = (s.dr6 ^ DR6_NONE) & DR6_BS;
		trap.slots = 0;
		/* An execute breakpoint is reported before its instruction */
		if (expected && ip == trap.ip &&
		    (slots & (s.dr6 ^ DR6_NONE) || ip == BLOCK_STORED)) {
			trap.slots = slots;
			expected = false;
		}
		n += trap.step;
		if (tracee_check_trap(t, &s, &trap) || n > 3)
			return -1;
	}
	if (expected) {
		tracee_report(t, &s, "a breakpoint in the block was missed");
		return -1;
	}
	return n;
}

/* Block-step stops only at the target of the branch */
TEST_F(block_step, to_target_of_branch)
{
	struct tracee *t = &self->t;
	int n;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_block_at));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, step_block_at, 1));
	n = block_steps(t, 0, NULL);
	ASSERT_LT(0, n);
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	if (n != 1)
		SKIP(return, SKIP_NO_BTF);
}

/* Breakpoints within the block are hit */
TEST_F(block_step, execute_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_block_at));
	for (i = 1; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, step_block_next));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_block_at, 1));
		ASSERT_LT(0, block_steps(t, 1U << i, step_block_next));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, tracee_disarm(t, i));
	}
}

TEST_F(block_step, watchpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, SKIP_TCG_HANGS);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_block_at));
	for (i = 1; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_RW, 4, self->words));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_block_at, 1));
		ASSERT_LT(0, block_steps(t, 1U << i, BLOCK_STORED));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, tracee_disarm(t, i));
	}
}

TEST_HARNESS_MAIN
