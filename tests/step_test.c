// SPDX-License-Identifier: GPL-2.0
/*
 * Single-step and breakpoints: onto them, over them and off them.
 *
 * A step ends in the same debug exception that reports breakpoints, and the two
 * are easily confused.  A step is reported after the instruction, with BS in
 * DR6; a watchpoint hit by that instruction in the same stop, with its own bit
 * as well; an execute breakpoint on the next instruction in a separate stop,
 * when that instruction is about to be executed (hw_breakpoint_handler() in
 * arch/x86/kernel/hw_breakpoint.c; SDM, "Debug Exceptions" and "Single-Step
 * Exception Condition").
 */
#include <signal.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "environment.h"
#include "harness.h"
#include "probes.h"
#include "step.h"

static void walk(struct tracee *t)
{
	struct words *words = t->arg;

	for (;;) {
		*t->progress = 1;
		step_nops(NULL, 0);
		*t->progress = 2;
		step_store(&words->word[0], 2);
		*t->progress = 3;
		tracee_sync();
	}
}

FIXTURE(step) {
	struct tracee t;
	struct words *words;
};

FIXTURE_SETUP(step)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = walk;
	self->t.arg = self->words;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(step)
{
	tracee_stop(&self->t);
}

/* RF lets the instruction execute once, with a step as well as without */
TEST_F(step, off_execute_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, step_nops_at));
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, step_nops_at, 1));
		ASSERT_EQ(0, expect_step(t, step_nops_at + 1, 1));
		ASSERT_EQ(0, expect_step(t, step_nops_at + 2, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, step_nops_at, 1));
		ASSERT_EQ(0, tracee_disarm(t, i));
		ASSERT_EQ(0, expect_step(t, step_nops_at + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
}

/*
 * The step ends before the breakpoint and is reported alone; the breakpoint is
 * reported at the next resume, whether that is a step or not.
 */
TEST_F(step, onto_execute_breakpoint)
{
	static const int requests[] = { PTRACE_CONT, PTRACE_SINGLESTEP };
	struct tracee *t = &self->t;
	unsigned int i, j;

	for (i = 0; i < DR_SLOTS; i++) {
		unsigned int first = 1U << (i + 1) % DR_SLOTS;

		ASSERT_EQ(0, tracee_arm(t, (i + 1) % DR_SLOTS, BP_EXECUTE, 1,
					step_nops_at));
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, step_nops_at + 2));
		for (j = 0; j < ARRAY_SIZE(requests); j++) {
			ASSERT_EQ(0, tracee_expect_hit(t, first, step_nops_at,
						       1));
			ASSERT_EQ(0, expect_step(t, step_nops_at + 1, 1));
			ASSERT_EQ(0, expect_step(t, step_nops_at + 2, 1));
			ASSERT_EQ(0, expect_hit_by(t, requests[j], 1U << i,
						   step_nops_at + 2, 1));
			ASSERT_EQ(0, expect_step(t, step_nops_at + 3, 1));
			ASSERT_EQ(0, tracee_expect_sync(t, 3));
		}
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/* Every instruction is armed and stepped: hits and steps alternate */
TEST_F(step, through_execute_breakpoints)
{
	struct tracee *t = &self->t;
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, step_nops_at + i)) {
			TH_LOG("slot %u", i);
		}
	}
	ASSERT_EQ(0, tracee_expect_hit(t, 1, step_nops_at, 1));
	for (i = 1; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, expect_step(t, step_nops_at + i, 1));
		ASSERT_EQ(0, expect_hit_by(t, PTRACE_SINGLESTEP, 1U << i,
					   step_nops_at + i, 1));
	}
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	/* And without steps: hit after hit */
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, step_nops_at + i, 1)) {
			TH_LOG("slot %u", i);
		}
	}
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

/*
 * The TF with which the kernel steps belongs to the kernel (get_flags() and
 * set_flags() in arch/x86/kernel/ptrace.c): the tracer does not see it, and a
 * write of the flags does not end the stepping.
 */
TEST_F(step, tf_hidden_from_tracer)
{
	struct tracee *t = &self->t;
	unsigned int i;
	long flags;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_nops_at));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, step_nops_at, 1));
	for (i = 1; i <= 4; i++) {
		ASSERT_EQ(0, expect_step(t, step_nops_at + i, 1));
		flags = ptrace(PTRACE_PEEKUSER, t->tid, FLAGS, NULL);
		ASSERT_EQ(0, flags & TF) {
			TH_LOG("step %u: eflags %#lx", i, flags);
		}
		ASSERT_EQ(0, ptrace(PTRACE_POKEUSER, t->tid, FLAGS, flags));
	}
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

/*
 * A TF that the tracer sets belongs to the tracee, and stays until it is
 * cleared
 */
TEST_F(step, tf_of_tracee_kept)
{
	struct tracee *t = &self->t;
	struct trap trap = { .step = true, .progress = 1 };
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_nops_at));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, step_nops_at, 1));
	ASSERT_EQ(0, expect_step(t, step_nops_at + 1, 1));
	ASSERT_EQ(0, set_trap_flag(t, true));
	for (i = 2; i <= 4; i++) {
		trap.ip = step_nops_at + i;
		ASSERT_EQ(0, tracee_expect_trap(t, &trap));
		ASSERT_EQ(TF, trap_flag(t)) {
			TH_LOG("trap %u", i);
		}
	}
	ASSERT_EQ(0, set_trap_flag(t, false));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

/*
 * Steps up to the watching instruction, which is executed at full speed: the
 * hit shows no step, and the step after it no hit.
 */
TEST_F(step, before_and_after_watchpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		unsigned int x = (i + 1) % DR_SLOTS;

		ASSERT_EQ(0, tracee_arm(t, i, BP_WRITE, 4, self->words));
		ASSERT_EQ(0, tracee_arm(t, x, BP_EXECUTE, 1, step_store_at));
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << x, step_store_at, 2));
		ASSERT_EQ(0, expect_step(t, STORE, 2));
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, STORE_NEXT, 2));
		ASSERT_EQ(0, expect_step(t, STORE_NEXT + 1, 2));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/*
 * The instruction after a watched store has an execute breakpoint: the data hit
 * is reported before it, and its own hit in a second stop or in the same one.
 * AMD does the former and Intel the latter; losing it, because RF was set at
 * the data hit, is wrong on both.
 */
TEST_F(step, watchpoint_then_execute_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int i, round;

	for (i = 0; i < DR_SLOTS; i++) {
		unsigned int x = (i + 1) % DR_SLOTS;
		struct trap trap = { .ip = STORE_NEXT, .progress = 2 };
		struct stop s;

		ASSERT_EQ(0, tracee_arm(t, i, BP_WRITE, 4, self->words));
		ASSERT_EQ(0, tracee_arm(t, x, BP_EXECUTE, 1, STORE_NEXT));
		for (round = 0; round < 2; round++) {
			ASSERT_EQ(0, tracee_cont(t));
			ASSERT_EQ(0, tracee_wait(t, &s));
			trap.slots = 1U << i;
			if (s.dr6 == dr6_encode(1U << i | 1U << x, false))
				trap.slots |= 1U << x;
			ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
			if (trap.slots == 1U << i)
				ASSERT_EQ(0, tracee_expect_hit(t, 1U << x,
							       STORE_NEXT, 2));
			ASSERT_EQ(0, expect_step(t, STORE_NEXT + 1, 2));
			ASSERT_EQ(0, tracee_expect_sync(t, 3));
		}
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/*
 * Both in one stop, with both bits.  Regression test for 9ad22e165994: since
 * 6c0aca288e72 a hit together with a step was not reported.
 */
TEST_F(step, with_watchpoint_in_one_stop)
{
	struct tracee *t = &self->t;
	unsigned int set, i, x;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, SKIP_TCG_HANGS);

	for (set = 1; set < DR_SLOTS_ALL; set++) {
		/* A slot that was kept stops the tracee there */
		for (x = 0; set & 1U << x; x++)
			;
		ASSERT_EQ(0, tracee_arm(t, x, BP_EXECUTE, 1, STORE));
		for (i = 0; i < DR_SLOTS; i++)
			if (set & 1U << i)
				ASSERT_EQ(0, tracee_arm(t, i, BP_WRITE, 4,
							self->words));
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << x, STORE, 2));
		ASSERT_EQ(0, expect_step_and_hit(t, STORE_NEXT, set, 2));
		ASSERT_EQ(0, expect_step(t, STORE_NEXT + 1, 2));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/* Step through all instructions; one of the steps has a hit */
TEST_F(step, with_watchpoint_and_execute_breakpoint_next)
{
	struct tracee *t = &self->t;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, SKIP_TCG_HANGS);

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, STORE));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_WRITE, 4, self->words));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, STORE_NEXT));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, STORE, 2));
	ASSERT_EQ(0, expect_step_and_hit(t, STORE_NEXT, 2, 2));
	ASSERT_EQ(0, expect_hit_by(t, PTRACE_SINGLESTEP, 4, STORE_NEXT,
				   2));
	ASSERT_EQ(0, expect_step(t, STORE_NEXT + 1, 2));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

/* The tracer's TF is removed when it continues or detaches */
TEST_F(step, tf_cleared_by_cont_and_detach)
{
	struct tracee *t = &self->t;
	unsigned int i;
	int status;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_nops_at));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_nops_at, 1));
		ASSERT_EQ(0, expect_step(t, step_nops_at + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
	ASSERT_EQ(0, tracee_expect_hit(t, 1, step_nops_at, 1));
	ASSERT_EQ(0, expect_step(t, step_nops_at + 1, 1));
	ASSERT_EQ(0, tracee_disarm_all(t));
	/* With TF left set it dies of SIGTRAP; otherwise it stops itself */
	ASSERT_EQ(0, tracee_resume(t, PTRACE_DETACH, 0));
	ASSERT_EQ(t->tid, waitpid(t->tid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(SIGSTOP, WSTOPSIG(status));
}

TEST_HARNESS_MAIN
