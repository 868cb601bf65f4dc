// SPDX-License-Identifier: GPL-2.0
/*
 * Single steps over an instruction that has a uprobe.
 *
 * The kernel emulates the instruction, or executes a copy of it elsewhere, with a
 * single step of its own (arch/x86/kernel/uprobes.c).  Either way the tracer's step
 * must end after it, and look like any other.
 */
#include <signal.h>

#include "probe_job.h"
#include "step.h"
#include "uprobe.h"

DECLARE_PROBE(probed_nop);
DEFINE_PROBE(probed_nop, "", "nop", "nop");
DECLARE_PROBE(probed_push);
DEFINE_PROBE(probed_push, "", "push " PROBE_VAL, "nop\n\tpop " PROBE_VAL);
DECLARE_PROBE(probed_mov);
DEFINE_PROBE(probed_mov, "", "mov " PROBE_PTR ", " PROBE_VAL, "nop");
DECLARE_PROBE(probed_store);
DEFINE_PROBE(probed_store, "", "movl %eax, (" PROBE_PTR ")", "nop");
DECLARE_PROBE(probed_jump);
DEFINE_PROBE(probed_jump, "", "jmp 1f\n1:", "nop");
DECLARE_PROBE(probed_call);
DEFINE_PROBE(probed_call, "", "call 1f\n1:", "nop\n\tpop " PROBE_VAL);

FIXTURE(uprobe_step) {
	struct tracee t;
	int fd;
};

FIXTURE_VARIANT(uprobe_step) {
	struct probe probe;
};

#define PROBED(name)	{ .probe = PROBE_ENTRY(probed_##name, 0, false) }

FIXTURE_VARIANT_ADD(uprobe_step, nop) PROBED(nop);
FIXTURE_VARIANT_ADD(uprobe_step, push) PROBED(push);
FIXTURE_VARIANT_ADD(uprobe_step, mov) PROBED(mov);
FIXTURE_VARIANT_ADD(uprobe_step, store) PROBED(store);
FIXTURE_VARIANT_ADD(uprobe_step, jump) PROBED(jump);
FIXTURE_VARIANT_ADD(uprobe_step, call) PROBED(call);

FIXTURE_SETUP(uprobe_step)
{
	start_probe_job(_metadata, &self->t, variant->probe.fn,
			shared_alloc(sizeof(int)));
	self->fd = start_uprobe(_metadata, variant->probe.at, self->t.tid,
				false);
}

FIXTURE_TEARDOWN(uprobe_step)
{
	tracee_stop(&self->t);
}

/* As a signal from the process to itself, with the old or with the right DR6 */
static bool sent_by_itself(struct tracee *t, const struct stop *s, const char *next)
{
	return WIFSTOPPED(s->status) && WSTOPSIG(s->status) == SIGTRAP &&
	       s->info.si_code == SI_USER && s->info.si_pid == t->tid &&
	       s->ip == (unsigned long)next &&
	       (s->dr6 == dr6_encode(1, false) || s->dr6 == dr6_encode(0, true));
}

#define MISREPORTED	"a step over an instruction with a uprobe is reported as SI_USER"
/* One step to @next by @request, as it must be or as it is known to be: *@misreported */
static int step_probed(struct tracee *t, int request, const char *next,
		       bool *misreported)
{
	struct trap trap = { .ip = next, .step = true, .progress = 1 };
	struct stop s;

	if (tracee_resume(t, request, 0) || tracee_wait(t, &s))
		return -1;
	if (!sent_by_itself(t, &s, next))
		return tracee_check_trap(t, &s, &trap);
	*misreported = true;
	return 0;
}

#define LATE		"a step over an instruction with a uprobe ends late if SIGTRAP is blocked"

/* No step, and a breakpoint at the next instruction */
static void runs_over_probe(struct __test_metadata *_metadata, struct tracee *t,
			    const struct probe *probe)
{
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, probe->next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 2, probe->next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	ASSERT_EQ(0, tracee_disarm(t, 1));
}

/* From the breakpoint at the instruction, in every other run without it */
static void steps_over_probe(struct __test_metadata *_metadata, struct tracee *t,
			     const struct probe *probe, int request,
			     bool *misreported)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, probe->at));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->at, 1));
		if (i % 2)
			ASSERT_EQ(0, tracee_disarm(t, 0));
		ASSERT_EQ(0, step_probed(t, request, probe->next, misreported));
		ASSERT_EQ(0, expect_step(t, probe->next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* By the program's own TF, which is still there afterwards */
static void own_tf_over_probe(struct __test_metadata *_metadata, struct tracee *t,
			      const struct probe *probe, bool *misreported)
{
	struct trap trap = { .ip = probe->next + 1, .step = true, .progress = 1 };
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, probe->at));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->at, 1));
		ASSERT_EQ(0, set_trap_flag(t, true));
		ASSERT_EQ(0, step_probed(t, PTRACE_CONT, probe->next, misreported));
		ASSERT_EQ(TF, trap_flag(t));
		ASSERT_EQ(0, tracee_expect_trap(t, &trap));
		ASSERT_EQ(TF, trap_flag(t));
		ASSERT_EQ(0, set_trap_flag(t, false));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* With SIGTRAP blocked: a step is reported all the same (force_sig_fault()) */
static void blocked_step_over_probe(struct __test_metadata *_metadata, struct tracee *t,
				    const struct probe *probe, bool *late)
{
	struct trap trap = { .ip = probe->next, .step = true, .progress = 1 };
	unsigned long long blocked = 1ULL << (SIGTRAP - 1);
	unsigned int i;
	struct stop s;

	for (i = 0; i < 4 && !*late; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->at, 1));
		ASSERT_EQ(0, ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(blocked),
				    &blocked));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		*late = s.ip == (unsigned long)probe->next + 1 &&
			s.info.si_code == SI_USER && s.dr6 == dr6_encode(0, true);
		if (!*late)
			ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/*
 * At once, by single steps, by blocks, by its own TF.  A block ends after the instruction, a
 * branch or not: arch_uprobe_pre_xol() switches block-stepping off for it, and "we can
 * get an extra SIGTRAP" (arch_uprobe_post_xol()).  All in one test, since each end of a
 * uprobe waits for RCU: some 85 ms.
 */
TEST_F(uprobe_step, every_way_over_it)
{
	const struct probe *probe = &variant->probe;
	bool misreported = false, late = false;
	struct tracee *t = &self->t;

	runs_over_probe(_metadata, t, probe);
	ASSERT_EQ(4, perf_count(self->fd));
	steps_over_probe(_metadata, t, probe, PTRACE_SINGLESTEP, &misreported);
	steps_over_probe(_metadata, t, probe, PTRACE_SINGLEBLOCK, &misreported);
	own_tf_over_probe(_metadata, t, probe, &misreported);
	blocked_step_over_probe(_metadata, t, probe, &late);
	if (late)
		KNOWN_ISSUE(return, LATE);
	if (misreported)
		KNOWN_ISSUE(return, MISREPORTED);
}

/* The step is reported first, then the breakpoint */
TEST_F(uprobe_step, single_step_onto_breakpoint)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct tracee *t = &self->t;
	bool misreported = false;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, at));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, step_probed(t, PTRACE_SINGLESTEP, next, &misreported));
		ASSERT_EQ(0, expect_hit_by(t, i % 2 ? PTRACE_SINGLESTEP :
						      PTRACE_CONT, 8, next, 1));
		ASSERT_EQ(0, expect_step(t, next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	if (misreported)
		KNOWN_ISSUE(return, MISREPORTED);
}

/*
 * A nop of five or ten bytes, which kernels since 6.18 turn into a call after the first
 * hit (ba2bfc97b462; is_optimizable_nop10() since 7.2), and the return from a function,
 * whose address the kernel replaces: steps that lead through code of the kernel's own,
 * and come back to the instruction after it.  No breakpoint of the program is hit there.
 */
DECLARE_PROBE(probed_nop5);
DEFINE_PROBE(probed_nop5, "", ".byte 0x0f, 0x1f, 0x44, 0, 0", "nop\n\tnop");
DECLARE_PROBE(probed_nop10);
DEFINE_PROBE(probed_nop10, "", ".byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0",
	     "nop\n\tnop");
DECLARE_PROBE(probed_return);
DEFINE_PROBE(probed_return, "", "call probed_function", "nop\n\tnop");
DECLARE_PROBE(probed_function);
DEFINE_PROBE(probed_function, "", "nop", "");

FIXTURE(uprobe_detour) {
	struct tracee t;
	int fd;
};

/* @probed: where the uprobe is; @ret: on the return from there */
FIXTURE_VARIANT(uprobe_detour) {
	struct probe probe;
	const char *probed;
	bool ret;
};

FIXTURE_VARIANT_ADD(uprobe_detour, nop5) {
	.probe = PROBE_ENTRY(probed_nop5, 0, false), .probed = probed_nop5_at,
};

FIXTURE_VARIANT_ADD(uprobe_detour, nop10) {
	.probe = PROBE_ENTRY(probed_nop10, 0, false), .probed = probed_nop10_at,
};

FIXTURE_VARIANT_ADD(uprobe_detour, function_return) {
	.probe = PROBE_ENTRY(probed_return, 0, false),
	.probed = (const char *)probed_function, .ret = true,
};

FIXTURE_SETUP(uprobe_detour)
{
	start_probe_job(_metadata, &self->t, variant->probe.fn, NULL);
	self->fd = start_uprobe(_metadata, variant->probed, self->t.tid, variant->ret);
}

FIXTURE_TEARDOWN(uprobe_detour)
{
	tracee_stop(&self->t);
}

#define RUNS		8
#define MAX_STEPS	40	/* of the detour */

TEST_F(uprobe_detour, breakpoints_around)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, next));
	for (i = 0; i < RUNS; i++) {
		ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, at));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		if (i % 2)
			ASSERT_EQ(0, tracee_disarm(t, 0));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	ASSERT_EQ(RUNS, perf_count(self->fd));
}

#define LATE_RETURN	"a step over the trampoline of a return probe ends late"

/* Step by step, each reported as one, as far as the next instruction */
TEST_F(uprobe_detour, single_steps)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct tracee *t = &self->t;
	bool misreported = false;
	unsigned int i, n;
	struct stop s;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, at));
	for (i = 0; i < RUNS; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		for (n = 0; n < MAX_STEPS; n++) {
			ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
			ASSERT_EQ(0, tracee_wait(t, &s));
			if (variant->ret && s.ip == (unsigned long)next + 1 &&
			    s.dr6 == dr6_encode(0, true))
				KNOWN_ISSUE(return, LATE_RETURN);
			ASSERT_TRUE(s.status == (SIGTRAP << 8 | 0x7f) &&
				    s.progress == 1 &&
				    s.ip != (unsigned long)next + 1) {
				tracee_report(t, &s, "step %u to %#lx expected", n,
					      (unsigned long)next);
			}
			if (s.info.si_code == SI_USER)
				misreported = true;
			if (s.ip == (unsigned long)next)
				break;
		}
		ASSERT_GT(MAX_STEPS, n);
		ASSERT_EQ(0, expect_step(t, next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	ASSERT_EQ(RUNS, perf_count(self->fd));
	if (misreported)
		KNOWN_ISSUE(return, MISREPORTED);
}

#define CALL		0xe8	/* and a displacement of four bytes */
#define CALL_SIZE	5
#define LEA		0x48	/* of the stack pointer, before that call */
#define RED_ZONE	128
#ifdef __x86_64__
#define STACK_POINTER	offsetof(struct user, regs.rsp)
#else
#define STACK_POINTER	offsetof(struct user, regs.esp)
#endif

/* The call that such a nop has become */
FIXTURE(uprobe_call) {
	struct tracee t;
};

/* @first: what the instruction begins with then; @below: the stack that is left free */
FIXTURE_VARIANT(uprobe_call) {
	struct probe probe;
	unsigned char first;
	unsigned int below;
};

FIXTURE_VARIANT_ADD(uprobe_call, nop5) {
	.probe = PROBE_ENTRY(probed_nop5, 0, false), .first = CALL,
};

FIXTURE_VARIANT_ADD(uprobe_call, nop10) {
	.probe = PROBE_ENTRY(probed_nop10, 0, false), .first = LEA, .below = RED_ZONE,
};

FIXTURE_SETUP(uprobe_call)
{
	start_probe_job(_metadata, &self->t, variant->probe.fn, NULL);
	start_uprobe(_metadata, variant->probe.at, self->t.tid, false);
}

FIXTURE_TEARDOWN(uprobe_call)
{
	tracee_stop(&self->t);
}

/* Where the call leads that ends at @next, if the code at @at begins with @first */
static const char *call_target(struct tracee *t, const char *at, const char *next,
			       unsigned char first)
{
	unsigned char begin = ptrace(PTRACE_PEEKTEXT, t->tid, at, NULL);
	unsigned char call = ptrace(PTRACE_PEEKTEXT, t->tid, next - CALL_SIZE, NULL);
	int displacement = ptrace(PTRACE_PEEKTEXT, t->tid, next - 4, NULL);

	return begin == first && call == CALL ? next + displacement : NULL;
}

/*
 * A watchpoint on the return address that the call pushes: a hit of the program's own.
 * What the kernel writes and reads there up to the next instruction is not reported.
 */
TEST_F(uprobe_call, return_address_watched)
{
	const char *at = variant->probe.at, *next = variant->probe.next, *target = NULL;
	struct tracee *t = &self->t;
	unsigned int i, n;
	unsigned long sp;
	struct stop s;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, at));
	for (i = 0; i < RUNS; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		target = call_target(t, at, next, variant->first);
		if (target) {
			sp = ptrace(PTRACE_PEEKUSER, t->tid, STACK_POINTER, NULL);
			sp -= variant->below + sizeof(sp);
			ASSERT_EQ(0, tracee_arm(t, 1, BP_WRITE, sizeof(sp), (void *)sp));
			ASSERT_EQ(0, tracee_expect_hit(t, 2, target, 1));
		}
		s.ip = 0;
		for (n = 0; target && n < MAX_STEPS && s.ip != (unsigned long)next; n++) {
			ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
			ASSERT_EQ(0, tracee_wait(t, &s));
			/* TRAP_TRACE, or TRAP_BRKPT after the system call */
			ASSERT_TRUE(s.status == (SIGTRAP << 8 | 0x7f) &&
				    s.dr6 == dr6_encode(0, true) && s.progress == 1) {
				tracee_report(t, &s, "step %u to %#lx expected", n,
					      (unsigned long)next);
			}
		}
		ASSERT_GT(MAX_STEPS, n);
		ASSERT_EQ(0, tracee_disarm(t, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	if (!target)
		SKIP(return, SKIP_NOT_USED);
}

TEST_HARNESS_MAIN
