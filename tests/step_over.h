/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Steps over an instruction that somebody else performs in place of the CPU.
 *
 * A hypervisor that intercepts it, or the kernel that emulates it, has to do what the
 * CPU does after an instruction: raise the #DB of TF, clear RF, and look at the
 * breakpoints of the next instruction (SDM vol. 3, "Single-Step Exception Condition"
 * and "Instruction-Breakpoint Exception Condition").  KVM does so in
 * kvm_skip_emulated_instruction(); who forgets it ends the step one instruction late,
 * or loses the breakpoint after the instruction.
 *
 * The tests are here; the program that includes this adds the variants.
 */
#ifndef HW_BREAKPOINT_STEP_OVER_H
#define HW_BREAKPOINT_STEP_OVER_H

#include "harness.h"
#include "insn.h"
#include "probe_job.h"
#include "step.h"

/* The instruction is followed by a watched store, and a jump that ends the block */
#define BEFORE	"push " BX "\n\tpush " DI "\n\tmov " P ", " DI "\n\t"
#define AFTER	"movb $1, (" DI ")\n\tjmp 1f\n\tnop\n1:\tpop " DI "\n\tpop " BX

/* From the instruction after the one stepped over */
#define AFTER_STORE	3
#define AFTER_JUMP	6

/* Run @probe repeatedly, with slot 0 on it */
static inline void start_over(struct __test_metadata *_metadata, struct tracee *t,
			      const struct probe *probe, unsigned char *memory)
{
	start_probe_job(_metadata, t, probe->fn, memory);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, probe->at));
}

/*
 * What is known to go wrong after an instruction that the kernel emulates: nobody
 * else can honour TF, and the exception that it raises has saved RF, which suppresses
 * a breakpoint on the next instruction unless it is cleared.
 */
#define LATE_STEP	"a step over an instruction that the kernel emulates ends late"
#define LOST_AFTER	"a breakpoint after an instruction that the kernel emulates is lost"

/* The tracee is at its tracee_sync(), and slot 2 was not hit */
static inline bool ran_on(const struct stop *s)
{
	return WIFSTOPPED(s->status) && WSTOPSIG(s->status) == SIGSTOP &&
	       s->progress == 2 && !(s->dr6 & 4);
}

/**
 * step_to() - resume, and expect a step that ends after the instruction
 * @t: tracee
 * @request: PTRACE_SINGLESTEP, or PTRACE_CONT if TF is the program's own
 * @next: the next instruction, where the step ends
 * @slots: if the kernel emulates the instruction, what the store after it hits;
 *	otherwise -1
 *
 * Return: 0; 1 if the step ended one instruction late, which is a known bug of the
 * kernel; -1 after a report, or if a system call failed.
 */
static inline int step_to(struct tracee *t, int request, const char *next, int slots)
{
	struct trap trap = { .ip = next, .step = true, .progress = 1 };
	struct stop s;

	if (tracee_resume(t, request, 0) || tracee_wait(t, &s))
		return -1;
	if (slots >= 0 && WIFSTOPPED(s.status) && WSTOPSIG(s.status) == SIGTRAP &&
	    s.info.si_code == TRAP_TRACE && s.dr6 == dr6_encode(slots, true) &&
	    s.ip == (unsigned long)next + AFTER_STORE)
		return 1;
	return tracee_check_trap(t, &s, &trap) ? -1 : 0;
}

FIXTURE(step_over) {
	struct tracee t;
	unsigned char *memory;
	bool emulated;
	int no_slots;
};

/*
 * @permit: lets this process execute the instruction; may be NULL
 * @emulated: whether the kernel emulates it; NULL if it does not
 */
FIXTURE_VARIANT(step_over) {
	struct probe probe;
	enum feature needs;
	int (*permit)(void);
	bool (*emulated)(void);
};

FIXTURE_SETUP(step_over)
{
	if (!cpu_has(variant->needs))
		SKIP(_exit(EXIT_SKIPPED), SKIP_NO_INSN);
	if (variant->permit)
		skip_if_refused(_metadata, variant->permit() ? -errno : 0,
				"port I/O");
	self->memory = shared_alloc(4096);
	self->emulated = variant->emulated && variant->emulated();
	self->no_slots = self->emulated ? 0 : -1;
	start_over(_metadata, &self->t, &variant->probe, self->memory);
}

FIXTURE_TEARDOWN(step_over)
{
	tracee_stop(&self->t);
}

/* @statement: leaves the test, after the known bug */
#define ASSERT_STEP_TO(t, request, next_, slots, statement) do {	\
	int late_ = step_to(t, request, next_, slots);			\
									\
	if (late_ > 0)							\
		KNOWN_ISSUE(statement, LATE_STEP);			\
	ASSERT_EQ(0, late_);						\
} while (0)

/* From a breakpoint on the instruction, which may stay armed */
TEST_F(step_over, single_step)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct tracee *t = &self->t;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, at));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		if (i % 2)
			ASSERT_EQ(0, tracee_disarm(t, 0));
		ASSERT_STEP_TO(t, PTRACE_SINGLESTEP, next, self->no_slots, return);
		ASSERT_EQ(0, expect_step(t, next + AFTER_STORE, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* The step is reported first, then the breakpoint, by whatever it is continued */
TEST_F(step_over, single_step_onto_breakpoint)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_STEP_TO(t, PTRACE_SINGLESTEP, next, self->no_slots, return);
		ASSERT_EQ(0, expect_hit_by(t, i % 2 ? PTRACE_SINGLESTEP :
						      PTRACE_CONT, 8, next, 1));
		ASSERT_EQ(0, expect_step(t, next + AFTER_STORE, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* The same without a step: RF must not outlast the instruction */
TEST_F(step_over, breakpoint_after)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct trap trap = { .ip = next, .slots = 4, .progress = 1 };
	struct tracee *t = &self->t;
	unsigned int i;
	struct stop s;

	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, next));
	for (i = 0; i < 4; i++) {
		if (i % 2 == 0)
			ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (self->emulated && ran_on(&s))
			KNOWN_ISSUE(return, LOST_AFTER);
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, i % 2 ? tracee_arm(t, 0, BP_EXECUTE, 1, at) :
				     tracee_disarm(t, 0));
	}
}

TEST_F(step_over, single_step_then_watched_store)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct tracee *t = &self->t;
	unsigned int i;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, SKIP_TCG_HANGS);
	for (i = 1; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_WRITE, 1, self->memory));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_STEP_TO(t, PTRACE_SINGLESTEP, next,
			       self->emulated ? 1 << i : -1, return);
		ASSERT_EQ(0, expect_step_and_hit(t, next + AFTER_STORE, 1U << i, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, tracee_disarm(t, i));
	}
}

/* The program's own TF, from the instruction up to the end of the store */
TEST_F(step_over, own_tf)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct trap trap = { .ip = next + AFTER_STORE, .step = true, .progress = 1 };
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, set_trap_flag(t, true));
		ASSERT_STEP_TO(t, PTRACE_CONT, next, self->no_slots, return);
		ASSERT_EQ(TF, trap_flag(t));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, next, 1));
		ASSERT_EQ(0, tracee_expect_trap(t, &trap));
		ASSERT_EQ(TF, trap_flag(t));
		ASSERT_EQ(0, set_trap_flag(t, false));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/*
 * To the end of the block, or, where the CPU or its emulation has no branch trap
 * flag, by single steps.
 */
TEST_F(step_over, block_step)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct trap trap = { .ip = next + AFTER_JUMP, .step = true, .progress = 1 };
	struct tracee *t = &self->t;
	bool by_steps = false;
	unsigned int i;
	struct stop s;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLEBLOCK, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		/* By steps, after which nothing tells the known bug from its fix */
		if (s.ip == (unsigned long)next + AFTER_STORE && self->emulated)
			SKIP(return, SKIP_NO_BTF);
		if (s.ip == (unsigned long)next && !i)
			by_steps = true;
		if (by_steps)
			trap.ip = next;
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

#endif /* HW_BREAKPOINT_STEP_OVER_H */
