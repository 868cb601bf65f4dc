// SPDX-License-Identifier: GPL-2.0
/*
 * Single steps and breakpoints: onto, over and off them.
 *
 * A step ends in the same debug exception that reports breakpoints, and the
 * two are easily taken for one another.  A step is reported behind the
 * instruction, with BS in DR6; a watchpoint hit by that instruction in the
 * same stop, with its own bit as well; an execute breakpoint on the next one
 * in a stop of its own, which comes when that one is about to be executed
 * (hw_breakpoint_handler() in arch/x86/kernel/hw_breakpoint.c; SDM, "Debug
 * Exceptions" and "Single-Step Exception Condition").
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

#ifdef __x86_64__
#define PROBE_SP	"%rsp"
#define PROBE_GETPID	"mov $39, %eax"
#define PROBE_SYSCALL	"syscall"
#else
#define PROBE_SP	"%esp"
#define PROBE_GETPID	"mov $20, %eax"
#define PROBE_SYSCALL	"int $0x80"
#endif

struct words {
	unsigned int word[DR_SLOTS];
};

/* Instructions of one byte, for steps from one to the next */
DECLARE_PROBE(step_nops);
DEFINE_PROBE(step_nops, "", "nop", "nop\n\tnop\n\tnop\n\tnop");

/* A nop, a store of two bytes behind it, and nops again */
DECLARE_PROBE(step_store);
DEFINE_PROBE(step_store, "", "nop", "movl %eax, (" PROBE_PTR ")\n\tnop\n\tnop");

#define STORE		step_store_next
#define STORE_NEXT	(step_store_next + 2)

/*
 * TF set and cleared by the program itself.  The first trap comes behind the
 * instruction that follows popf, the last one behind the popf that clears TF.
 */
DECLARE_PROBE(step_own);
DEFINE_PROBE(step_own, "pushf\n\torl $0x100, (" PROBE_SP ")\n\tpopf", "nop",
	     "nop\n\tmovl %eax, (" PROBE_PTR ")\n\tnop\n\tpushf\n\t"
	     "andl $~0x100, (" PROBE_SP ")\n\tpopf\n\tnop");

/* Where it stands at each trap, in bytes from step_own_at; a store before 4 */
static const unsigned int own_trap[] = { 1, 2, 4, 5, 6, 13, 14 };

/*
 * TF set by one instruction of two bytes, or by the second of two: 48 is a REX
 * prefix, or dec
 */
DECLARE_PROBE(step_popf);
DEFINE_PROBE(step_popf, "pushf\n\torl $0x100, (" PROBE_SP ")",
	     ".byte 0x48, 0x9d", "nop\n\tnop\n\tnop\n\tnop");

/* A system call that does nothing: getpid() */
DECLARE_PROBE(step_syscall);
DEFINE_PROBE(step_syscall, PROBE_GETPID, PROBE_SYSCALL, "nop\n\tnop");

DECLARE_PROBE(step_int1);
DEFINE_PROBE(step_int1, "", ".byte 0xf1", "nop\n\tnop");

/* A signal handler that does nothing */
DECLARE_PROBE(step_handler);
DEFINE_PROBE(step_handler, "", "nop", "nop");

/* A basic block with a store, and the one that a short jmp leads to */
DECLARE_PROBE(step_block);
DEFINE_PROBE(step_block, "", "nop", "movl %eax, (" PROBE_PTR ")\n\t"
	     ".byte 0xeb, 1\n\tnop\n\tnop");

#define BLOCK_STORED	(step_block_next + 2)
#define BLOCK_JUMPED	(step_block_next + 5)

/* mov ss holds back what the CPU has to report until the next one is done */
DECLARE_PROBE(step_mov_ss);
DEFINE_PROBE(step_mov_ss, "", "movw (" PROBE_PTR "), %ss", "nop\n\tnop");
DECLARE_PROBE(step_mov_ss_int3);
DEFINE_PROBE(step_mov_ss_int3, "", "movw (" PROBE_PTR "), %ss", "int3\n\tnop");
DECLARE_PROBE(step_mov_ss_syscall);
DEFINE_PROBE(step_mov_ss_syscall, PROBE_GETPID, "movw (" PROBE_PTR "), %ss",
	     PROBE_SYSCALL "\n\tnop");

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

/* One step and its report; @slots are those that the same stop must show */
static int expect_step_and_hit(struct tracee *t, const void *ip,
			       unsigned int slots, unsigned long progress)
{
	struct trap trap = {
		.ip = ip, .slots = slots, .step = true, .progress = progress,
	};
	struct stop s;

	if (tracee_resume(t, PTRACE_SINGLESTEP, 0) || tracee_wait(t, &s))
		return -1;
	return tracee_check_trap(t, &s, &trap);
}

static int expect_step(struct tracee *t, const void *ip, unsigned long progress)
{
	return expect_step_and_hit(t, ip, 0, progress);
}

/* Resume with @request, and expect a hit and no step */
static int expect_hit_by(struct tracee *t, int request, unsigned int slots,
			 const void *ip, unsigned long progress)
{
	struct trap trap = { .ip = ip, .slots = slots, .progress = progress };
	struct stop s;

	if (tracee_resume(t, request, 0) || tracee_wait(t, &s))
		return -1;
	return tracee_check_trap(t, &s, &trap);
}

FIXTURE(steps) {
	struct tracee t;
	struct words *words;
};

FIXTURE_SETUP(steps)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = walk;
	self->t.arg = self->words;
	start(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(steps)
{
	tracee_stop(&self->t);
}

/* RF lets the instruction go on once, with a step as well as without */
TEST_F(steps, off_an_execute_breakpoint)
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
 * The step ends in front of the breakpoint, and is reported alone; the
 * breakpoint follows with the next resumption, whether that is a step or not.
 */
TEST_F(steps, onto_an_execute_breakpoint)
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

/* Every instruction armed and stepped: a hit and a step by turns */
TEST_F(steps, along_execute_breakpoints)
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
	/* And without the steps, hit after hit */
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, step_nops_at + i, 1)) {
			TH_LOG("slot %u", i);
		}
	}
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

#define FLAGS	offsetof(struct user, regs.eflags)
#define TF	0x100

static long trap_flag(struct tracee *t)
{
	return ptrace(PTRACE_PEEKUSER, t->tid, FLAGS, NULL) & TF;
}

static long set_trap_flag(struct tracee *t, bool on)
{
	long flags = ptrace(PTRACE_PEEKUSER, t->tid, FLAGS, NULL);

	return ptrace(PTRACE_POKEUSER, t->tid, FLAGS,
		      on ? flags | TF : flags & ~TF);
}

/*
 * The flag by which the kernel steps is the kernel's (get_flags() and
 * set_flags() in arch/x86/kernel/ptrace.c): the tracer does not see it, and
 * what it writes does not end the stepping.
 */
TEST_F(steps, flag_is_not_shown)
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

/* One that the tracer sets itself is the tracee's, and stays until it is not */
TEST_F(steps, flag_of_the_tracee)
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
 * Up to the watching instruction in steps and over it at full speed: the hit
 * shows no step, and the step after it no hit.
 */
TEST_F(steps, before_and_after_a_watchpoint)
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
 * The instruction behind the store: the data hit is reported in front of it,
 * and it is hit itself, in a second stop or in the same one.  AMD does the
 * former and Intel the latter; to lose it, because RF was set at the data
 * hit, is wrong on either.
 */
TEST_F(steps, watchpoint_then_execute_breakpoint)
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
 * 6c0aca288e72 a hit that came with a step was not reported.
 */
TEST_F(steps, and_watchpoint_in_one_stop)
{
	struct tracee *t = &self->t;
	unsigned int set, i, x;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, "QEMU's software emulation would hang");

	for (set = 1; set < DR_SLOTS_ALL; set++) {
		/* A slot that is left brings the tracee there */
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

/* All the way through, a step for each instruction, one of them a hit */
TEST_F(steps, and_watchpoint_with_an_execute_breakpoint_next)
{
	struct tracee *t = &self->t;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, "QEMU's software emulation would hang");

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

/* The tracer's TF is taken back when it continues, or detaches */
TEST_F(steps, leave_no_trap_flag_behind)
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
	/* With TF left it would die of SIGTRAP; it stops itself instead */
	ASSERT_EQ(0, tracee_resume(t, PTRACE_DETACH, 0));
	ASSERT_EQ(t->tid, waitpid(t->tid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(SIGSTOP, WSTOPSIG(status));
}

/* What the tracees of the following tests run, one of them each */
static void own_steps(struct tracee *t)
{
	struct words *words = t->arg;

	for (;;) {
		*t->progress = 1;
		step_own(&words->word[0], 1);
		*t->progress = 2;
		step_store(&words->word[0], 2);
		*t->progress = 3;
		tracee_sync();
	}
}

static void pop_flags(struct tracee *t)
{
	for (;;) {
		*t->progress = 1;
		step_popf(NULL, 0);
		*t->progress = 2;
		tracee_sync();
	}
}

static void handle_signals(struct tracee *t)
{
	struct sigaction action = {
		.sa_handler = (void (*)(int))(unsigned long)step_handler,
	};

	sigaction(SIGUSR1, &action, NULL);
	for (;;) {
		*t->progress = 1;
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
		*t->progress = 2;
		tracee_sync();
	}
}

static void call_system(struct tracee *t)
{
	struct words *words = t->arg;

	for (;;) {
		*t->progress = 1;
		step_syscall(NULL, 0);
		*t->progress = 2;
		step_nops(NULL, 0);
		*t->progress = 3;
		syscall(SYS_gettimeofday, words->word, NULL);
		*t->progress = 4;
		step_store(&words->word[0], 2);
		*t->progress = 5;
		tracee_sync();
	}
}

#ifndef __x86_64__
/*
 * getpid() by sysenter, which leaves TF to the kernel and no way back: the vdso
 * has the address that the kernel returns to, behind an int $0x80, and there are
 * popped what is pushed here (arch/x86/entry/vdso/vdso32/system_call.S).
 */
DECLARE_PROBE(step_sysenter);
DEFINE_PROBE(step_sysenter, PROBE_GETPID "\n\tcall 1f\n\tjmp 2f\n1:\t"
	     "push %ecx\n\tpush %edx\n\tpush %ebp\n\tmov %esp, %ebp",
	     "sysenter", "ud2\n2:");

static void enter_system(struct tracee *t)
{
	struct words *words = t->arg;

	for (;;) {
		*t->progress = 1;
		step_sysenter(NULL, 0);
		*t->progress = 2;
		probe_store4(&words->word[0], 2);
		*t->progress = 3;
		tracee_sync();
	}
}

/* Not from 32-bit code where the CPU is AMD's: #UD (APM vol. 3, SYSENTER) */
static bool has_sysenter(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		step_sysenter(NULL, 0);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return !status;
}
#endif

static void int1_and_store(struct tracee *t)
{
	struct words *words = t->arg;

	for (;;) {
		*t->progress = 1;
		step_int1(NULL, 0);
		*t->progress = 2;
		step_store(&words->word[0], 2);
		*t->progress = 3;
		tracee_sync();
	}
}

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

static void load_stack_segment(struct tracee *t)
{
	struct words *words = t->arg;

	asm("mov %%ss, %0" : "=r" (words->word[0]));
	tracee_sync();
	for (;;) {
		*t->progress = 1;
		step_mov_ss(&words->word[0], 0);
		*t->progress = 2;
		tracee_sync();
		*t->progress = 3;
		step_mov_ss_int3(&words->word[0], 0);
		*t->progress = 4;
		probe_load2(&words->word[0], 0);
		*t->progress = 5;
		tracee_sync();
		*t->progress = 6;
		step_mov_ss_syscall(&words->word[0], 0);
		*t->progress = 7;
		probe_load2(&words->word[0], 0);
		*t->progress = 8;
		tracee_sync();
	}
}

FIXTURE(step_bodies) {
	struct tracee t;
	struct words *words;
};

FIXTURE_SETUP(step_bodies)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.arg = self->words;
}

FIXTURE_TEARDOWN(step_bodies)
{
	tracee_stop(&self->t);
}

static bool run(struct __test_metadata *_metadata, struct tracee *t,
		void (*body)(struct tracee *t))
{
	t->body = body;
	return start(_metadata, t, TRACEE_TRACEME);
}

/* A trap of the program's own TF, while the tracer just continues it */
static int expect_own(struct tracee *t, unsigned int n, unsigned int slots)
{
	struct trap trap = {
		.ip = step_own_at + own_trap[n], .slots = slots, .step = true,
		.progress = 1,
	};

	return tracee_expect_trap(t, &trap);
}

/*
 * A step over the popf that sets it: the flag is the program's from there on,
 * and no step or continue takes it away (is_setting_trap_flag() in
 * arch/x86/kernel/step.c).  What just looks like that popf is none.
 */
TEST_F(step_bodies, over_the_setting_of_the_trap_flag)
{
	struct trap trap = { .step = true, .progress = 1 };
	struct tracee *t = &self->t;
	unsigned int i, round;

	if (!run(_metadata, t, pop_flags))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_popf_at));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_popf_at, 1));
#ifndef __x86_64__
		ASSERT_EQ(0, expect_step(t, step_popf_at + 1, 1));
		ASSERT_EQ(0, trap_flag(t));
#endif
		ASSERT_EQ(0, expect_step(t, step_popf_next, 1));
		ASSERT_EQ(TF, trap_flag(t));
		ASSERT_EQ(0, expect_step(t, step_popf_next + 1, 1));
		ASSERT_EQ(TF, trap_flag(t));
		for (i = 2; i <= 3; i++) {
			trap.ip = step_popf_next + i;
			ASSERT_EQ(0, tracee_expect_trap(t, &trap));
			ASSERT_EQ(TF, trap_flag(t));
		}
		ASSERT_EQ(0, set_trap_flag(t, false));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* Execute breakpoints, hit between the program's own steps */
TEST_F(step_bodies, own_trap_flag_and_execute_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int n, round;

	if (!run(_metadata, t, own_steps))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_own_at + 2));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, step_own_at));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 8, step_own_at, 1));
		for (n = 0; n < ARRAY_SIZE(own_trap); n++) {
			ASSERT_EQ(0, expect_own(t, n, 0));
			if (own_trap[n] == 2)
				ASSERT_EQ(0, tracee_expect_hit(t, 1,
							       step_own_at + 2,
							       1));
		}
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
}

/* A watchpoint, hit by an instruction that the program's own TF reports */
TEST_F(step_bodies, own_trap_flag_and_watchpoint)
{
	struct tracee *t = &self->t;
	unsigned int n, i;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, "QEMU's software emulation would hang");
	if (!run(_metadata, t, own_steps))
		return;
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_WRITE, 4, self->words));
		for (n = 0; n < ARRAY_SIZE(own_trap); n++) {
			ASSERT_EQ(0, expect_own(t, n, own_trap[n] == 4 ?
						1U << i : 0));
		}
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, STORE_NEXT, 2));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/* A SIGTRAP that reports no debug condition: its code and where */
static int expect_report(struct tracee *t, int request, int sig, int code,
			 const void *ip, unsigned long progress)
{
	struct stop s;

	if (tracee_resume(t, request, sig) || tracee_wait(t, &s))
		return -1;
	if (!WIFSTOPPED(s.status) || s.status >> 16 ||
	    WSTOPSIG(s.status) != SIGTRAP || s.info.si_code != code ||
	    s.ip != (unsigned long)ip || s.progress != progress) {
		tracee_report(t, &s,
			      "expected SIGTRAP code %d, ip %#lx, access %lu",
			      code, (unsigned long)ip, progress);
		return -1;
	}
	return 0;
}

static int expect_signal(struct tracee *t, int sig, unsigned long progress)
{
	struct stop s;

	if (tracee_cont(t) || tracee_wait(t, &s))
		return -1;
	if (!WIFSTOPPED(s.status) || WSTOPSIG(s.status) != sig ||
	    s.progress != progress) {
		tracee_report(t, &s, "expected signal %d, access %lu", sig,
			      progress);
		return -1;
	}
	return 0;
}

/*
 * A step that delivers a signal ends in front of the handler's first
 * instruction (signal_setup_done()), which a breakpoint there still sees.
 */
TEST_F(step_bodies, into_a_signal_handler)
{
	static const int requests[] = { PTRACE_CONT, PTRACE_SINGLESTEP };
	const void *handler = (const void *)(unsigned long)step_handler;
	struct tracee *t = &self->t;
	unsigned int j;

	if (!run(_metadata, t, handle_signals))
		return;
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, step_handler_at));
	for (j = 0; j < 2 * ARRAY_SIZE(requests); j++) {
		bool armed = j >= ARRAY_SIZE(requests);

		if (armed)
			ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, handler));
		ASSERT_EQ(0, expect_signal(t, SIGUSR1, 1));
		ASSERT_EQ(0, expect_report(t, PTRACE_SINGLESTEP, SIGUSR1,
					   SIGTRAP, handler, 1));
		if (armed)
			ASSERT_EQ(0, expect_hit_by(t, requests[j % 2], 4,
						   handler, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, step_handler_at, 1));
		ASSERT_EQ(0, expect_step(t, step_handler_next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* The instruction that enters the kernel, and the one behind it, are armed */
TEST_F(step_bodies, breakpoints_around_a_system_call)
{
	struct tracee *t = &self->t;
	unsigned int round;

	if (!run(_metadata, t, call_system))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_syscall_at));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, step_syscall_next));
	for (round = 0; round < 3; round++) {
		/* At full speed */
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_syscall_at, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, step_syscall_next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 5));
		/* From stop to stop: entry and exit stand at the next one */
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_syscall_at, 1));
		ASSERT_EQ(0, expect_report(t, PTRACE_SYSCALL, 0, SIGTRAP,
					   step_syscall_next, 1));
		ASSERT_EQ(0, expect_report(t, PTRACE_SYSCALL, 0, SIGTRAP,
					   step_syscall_next, 1));
		ASSERT_EQ(0, expect_hit_by(t, PTRACE_SYSCALL, 2,
					   step_syscall_next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 5));
	}
}

/* The same where only the instruction behind is armed */
TEST_F(step_bodies, breakpoint_behind_a_system_call)
{
	struct tracee *t = &self->t;
	unsigned int round;

	if (!run(_metadata, t, call_system))
		return;
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, step_syscall_next));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 8, step_syscall_next, 1));
		ASSERT_EQ(0, expect_step(t, step_syscall_next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 5));
	}
}

/*
 * A step over a system call is reported right behind it, and before a
 * breakpoint there.  Regression test for 41c1a06d1d15: since 6342adcaa683 the
 * report came one instruction late.
 */
TEST_F(step_bodies, over_a_system_call)
{
	struct tracee *t = &self->t;
	unsigned int round;

	if (!run(_metadata, t, call_system))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_syscall_at));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_syscall_at, 1));
		ASSERT_EQ(0, expect_report(t, PTRACE_SINGLESTEP, 0, TRAP_BRKPT,
					   step_syscall_next, 1));
		ASSERT_EQ(0, expect_step(t, step_syscall_next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 5));
	}
}

#ifndef __x86_64__
/*
 * sysenter runs into a #DB in the kernel, which is not the program's: TF is kept
 * for the way back (is_sysenter_singlestep() in arch/x86/kernel/traps.c).
 */
TEST_F(step_bodies, over_sysenter)
{
	struct tracee *t = &self->t;
	unsigned int round;
	const char *back;
	struct stop s;

	if (!has_sysenter())
		SKIP(return, "no sysenter from 32-bit code here");
	if (!run(_metadata, t, enter_system))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_sysenter_at));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_WRITE, 4, &self->words->word[0]));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_sysenter_at, 1));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		back = (const char *)s.ip;
		/* In the vdso, which is where ours is: behind the int $0x80 */
		ASSERT_TRUE(s.status == (SIGTRAP << 8 | 0x7f) &&
			    s.info.si_code == TRAP_BRKPT && s.progress == 1 &&
			    s.ip - getauxval(AT_SYSINFO_EHDR) < 0x4000 &&
			    back[-2] == '\xcd' && back[-1] == '\x80') {
			tracee_report(t, &s, "one step over sysenter expected");
		}
		ASSERT_EQ(0, expect_step(t, back + 1, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, 2));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
}
#endif

TEST_F(step_bodies, over_a_system_call_onto_a_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int round;

	if (!run(_metadata, t, call_system))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_syscall_at));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, step_syscall_next));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_syscall_at, 1));
		ASSERT_EQ(0, expect_report(t, PTRACE_SINGLESTEP, 0, TRAP_BRKPT,
					   step_syscall_next, 1));
		ASSERT_EQ(0, expect_hit_by(t, PTRACE_SINGLESTEP, 2,
					   step_syscall_next, 1));
		ASSERT_EQ(0, expect_step(t, step_syscall_next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 5));
	}
}

/* A system call that the tracer emulates: one stop, and both breakpoints */
TEST_F(step_bodies, breakpoints_around_an_emulated_system_call)
{
	struct tracee *t = &self->t;
	unsigned int round;

	if (!run(_metadata, t, call_system))
		return;
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, step_syscall_at));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, step_syscall_next));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 4, step_syscall_at, 1));
		ASSERT_EQ(0, expect_report(t, PTRACE_SYSEMU, 0, SIGTRAP,
					   step_syscall_next, 1));
		ASSERT_EQ(0, expect_hit_by(t, PTRACE_SYSEMU, 8,
					   step_syscall_next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 5));
	}
}

/*
 * The kernel's own access to watched memory leaves alone what the last stop
 * of the program put into DR6.  Regression test for a195f3d4528a.
 */
TEST_F(step_bodies, kernel_access_leaves_dr6)
{
	struct tracee *t = &self->t;
	unsigned int round, stop;
	unsigned long dr6;

	if (!run(_metadata, t, call_system))
		return;
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, step_nops_at));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 4, self->words));
	for (round = 0; round < 4; round++) {
		unsigned long want = dr6_encode(4, false);

		ASSERT_EQ(0, tracee_expect_hit(t, 4, step_nops_at, 2));
		if (round & 1) {
			ASSERT_EQ(0, expect_step(t, step_nops_at + 1, 2));
			want = dr6_encode(0, true);
		}
		for (stop = 0; stop < 2; stop++) {
			struct stop s;

			ASSERT_EQ(0, tracee_resume(t, PTRACE_SYSCALL, 0));
			ASSERT_EQ(0, tracee_wait(t, &s));
			ASSERT_EQ(SIGTRAP, s.info.si_code);
			ASSERT_EQ(3, s.progress);
			ASSERT_EQ(0, tracee_peek(t, 6, &dr6));
			ASSERT_EQ(want, dr6);
		}
		ASSERT_EQ(0, tracee_expect_hit(t, 2, STORE_NEXT, 4));
		ASSERT_EQ(0, tracee_expect_sync(t, 5));
	}
}

/*
 * int1 (0xf1) gives one SIGTRAP, behind itself, without any bit in DR6, and
 * what is armed traps as before.  Regression test of the kind of 2010, when
 * there was none.
 */
TEST_F(step_bodies, int1)
{
	struct tracee *t = &self->t;
	unsigned int round;
	unsigned long dr6;

	if (!run(_metadata, t, int1_and_store))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 4, self->words));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, expect_report(t, PTRACE_CONT, 0, TRAP_BRKPT,
					   step_int1_next, 1));
		ASSERT_EQ(0, tracee_peek(t, 6, &dr6));
		ASSERT_EQ(DR6_NONE, dr6);
		ASSERT_EQ(0, tracee_expect_hit(t, 1, STORE_NEXT, 2));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
}

/* An int1 that is armed itself: the breakpoint first */
TEST_F(step_bodies, int1_with_execute_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int round;

	if (!run(_metadata, t, int1_and_store))
		return;
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, step_int1_at));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 2, step_int1_at, 1));
		ASSERT_EQ(0, expect_report(t, PTRACE_CONT, 0, TRAP_BRKPT,
					   step_int1_next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
}

/*
 * Block steps through the block, with @slots owed at @ip on the way.  Where
 * the CPU, or what stands for it, knows no DEBUGCTL.BTF, each of them is a
 * single step (set_task_blockstep() cannot tell).
 *
 * Return: the number of steps, 1 where BTF works; or a negative number.
 */
static int block_steps(struct tracee *t, unsigned int slots, const void *ip)
{
	struct trap trap = { .ip = step_block_at, .progress = 1 };
	bool owed = slots;
	struct stop s;
	int n = 0;

	while (trap.ip != BLOCK_JUMPED) {
		if (tracee_resume(t, PTRACE_SINGLEBLOCK, 0) ||
		    tracee_wait(t, &s))
			return -1;
		if (s.ip < (unsigned long)trap.ip ||
		    s.ip > (unsigned long)BLOCK_JUMPED) {
			tracee_report(t, &s, "left the block");
			return -1;
		}
		trap.ip = (const void *)s.ip;
		trap.step = (s.dr6 ^ DR6_NONE) & DR6_BS;
		trap.slots = 0;
		/* An execute breakpoint comes in front of its instruction */
		if (owed && ip == trap.ip &&
		    (slots & (s.dr6 ^ DR6_NONE) || ip == BLOCK_STORED)) {
			trap.slots = slots;
			owed = false;
		}
		n += trap.step;
		if (tracee_check_trap(t, &s, &trap) || n > 3)
			return -1;
	}
	if (owed) {
		tracee_report(t, &s, "went by a breakpoint in the block");
		return -1;
	}
	return n;
}

/* A block step stops at no instruction but the branch's target */
TEST_F(step_bodies, block)
{
	struct tracee *t = &self->t;
	int n;

	if (!run(_metadata, t, jump))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_block_at));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, step_block_at, 1));
	n = block_steps(t, 0, NULL);
	ASSERT_LT(0, n);
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	if (n != 1)
		SKIP(return, "no branch trap flag (BTF) here");
}

/* Breakpoints inside of the block are hit */
TEST_F(step_bodies, block_with_execute_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;

	if (!run(_metadata, t, jump))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_block_at));
	for (i = 1; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, step_block_next));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_block_at, 1));
		ASSERT_LT(0, block_steps(t, 1U << i, step_block_next));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, tracee_disarm(t, i));
	}
}

TEST_F(step_bodies, block_with_watchpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, "QEMU's software emulation would hang");
	if (!run(_metadata, t, jump))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_block_at));
	for (i = 1; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_RW, 4, self->words));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, step_block_at, 1));
		ASSERT_LT(0, block_steps(t, 1U << i, BLOCK_STORED));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, tracee_disarm(t, i));
	}
}

/*
 * mov ss holds debug traps back until the instruction behind it is done (SDM
 * vol. 3, "Masking Exceptions and Interrupts When Switching Stacks").
 */
TEST_F(step_bodies, mov_ss_from_watched_memory)
{
	struct tracee *t = &self->t;
	unsigned int i;

	if (!run(_metadata, t, load_stack_segment))
		return;
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_expect_sync(t, i ? 8 : 0));
		ASSERT_EQ(0, tracee_arm(t, i, BP_RW, 2, self->words));
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, step_mov_ss_next + 1,
					       1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, tracee_disarm(t, i));
		ASSERT_EQ(0, expect_report(t, PTRACE_CONT, 0, SI_KERNEL,
					   step_mov_ss_int3_next + 1, 3));
		ASSERT_EQ(0, tracee_expect_sync(t, 5));
	}
}

TEST_F(step_bodies, over_mov_ss)
{
	struct tracee *t = &self->t;

	if (!run(_metadata, t, load_stack_segment))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_mov_ss_at));
	ASSERT_EQ(0, tracee_expect_sync(t, 0));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, step_mov_ss_at, 1));
	ASSERT_EQ(0, expect_step(t, step_mov_ss_next + 1, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
}

TEST_F(step_bodies, over_mov_ss_from_watched_memory)
{
	struct tracee *t = &self->t;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, "QEMU's software emulation would hang");
	if (!run(_metadata, t, load_stack_segment))
		return;
	ASSERT_EQ(0, tracee_expect_sync(t, 0));
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_mov_ss_at));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 2, self->words));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, step_mov_ss_at, 1));
	ASSERT_EQ(0, expect_step_and_hit(t, step_mov_ss_next + 1, 2, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
}

/*
 * The trap that mov ss held back then comes in the kernel, at the first
 * instruction of its entry (CVE-2018-8897: the kernel took it for the user's
 * and died).  Whether the tracer hears of it is not promised; that the entry
 * itself works is, and that the next hit is reported, and just that.
 */
static int expect_any_hit_up_to(struct tracee *t, unsigned int slot,
				unsigned long progress, bool int3)
{
	struct trap next = {
		.ip = probe_load2_next, .slots = 1U << slot,
		.progress = progress + 1,
	};
	bool hit = false;
	struct stop s;

	for (;;) {
		if (tracee_cont(t) || tracee_wait(t, &s))
			return -1;
		if (s.progress != progress || !WIFSTOPPED(s.status))
			break;
		if (int3 && s.info.si_code == SI_KERNEL &&
		    s.ip == (unsigned long)step_mov_ss_int3_next + 1) {
			int3 = false;
			continue;
		}
		if (hit || s.info.si_code != TRAP_HWBKPT ||
		    s.dr6 != dr6_encode(1U << slot, false)) {
			tracee_report(t, &s, "neither int3 nor a first hit");
			return -1;
		}
		hit = true;
	}
	if (int3) {
		tracee_report(t, &s, "no SIGTRAP of the int3");
		return -1;
	}
	return tracee_check_trap(t, &s, &next);
}

TEST_F(step_bodies, mov_ss_and_kernel_entry)
{
	struct tracee *t = &self->t;
	unsigned int i;

	if (!run(_metadata, t, load_stack_segment))
		return;
	ASSERT_EQ(0, tracee_expect_sync(t, 0));
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, tracee_arm(t, i, BP_RW, 2, self->words));
		ASSERT_EQ(0, expect_any_hit_up_to(t, i, 3, true));
		ASSERT_EQ(0, tracee_expect_sync(t, 5));
		ASSERT_EQ(0, expect_any_hit_up_to(t, i, 6, false));
		ASSERT_EQ(0, tracee_disarm(t, i));
		ASSERT_EQ(0, tracee_expect_sync(t, 8));
	}
}

TEST_HARNESS_MAIN
