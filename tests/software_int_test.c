// SPDX-License-Identifier: GPL-2.0
/*
 * Steps over, and breakpoints on and after, instructions that raise an exception or
 * an interrupt themselves: int3, int $n and ud2.
 *
 * The gates of #BP, #OF and int $0x80 may be used from user space, and are traps: ip is
 * after the instruction.  For any other n, int $n is a fault, #GP (SDM vol. 3,
 * "Protection of Exception- and Interrupt-Handler Procedures").  None of them ends
 * with the #DB of TF: entering the handler clears TF.  With FRED the kernel itself
 * decides which n is permitted (arch/x86/entry/entry_fred.c), and the return from
 * int $n raises that #DB (f287822688ee tests it).
 */
#include <signal.h>

#include "environment.h"
#include "harness.h"
#include "probe_job.h"
#include "step.h"

#define EFLAGS_RF	0x10000

DECLARE_PROBE(raise_int3);
DEFINE_PROBE(raise_int3, "", "int3", "nop\n\tnop");
DECLARE_PROBE(raise_int_3);
DEFINE_PROBE(raise_int_3, "", ".byte 0xcd, 3", "nop\n\tnop");
DECLARE_PROBE(raise_int_4);
DEFINE_PROBE(raise_int_4, "", "int $4", "nop\n\tnop");
DECLARE_PROBE(raise_int_1);
DEFINE_PROBE(raise_int_1, "", ".byte 0xcd, 1", "nop\n\tnop");
DECLARE_PROBE(raise_int_2d);
DEFINE_PROBE(raise_int_2d, "", "int $0x2d", "nop\n\tnop");
DECLARE_PROBE(raise_ud2);
DEFINE_PROBE(raise_ud2, "", "ud2", "nop\n\tnop");

FIXTURE(software_int) {
	struct tracee t;
};

/* @fault: ip is on the instruction, and RF is saved, so that it can be repeated */
FIXTURE_VARIANT(software_int) {
	struct probe probe;
	int sig;
	bool fault;
};

#define RAISES(name, signal, faults)					\
	{								\
		.probe = PROBE_ENTRY(raise_##name, 0, false),		\
		.sig = signal, .fault = faults,				\
	}

FIXTURE_VARIANT_ADD(software_int, int3) RAISES(int3, SIGTRAP, false);
FIXTURE_VARIANT_ADD(software_int, int_3) RAISES(int_3, SIGTRAP, false);
FIXTURE_VARIANT_ADD(software_int, int_4) RAISES(int_4, SIGSEGV, false);
FIXTURE_VARIANT_ADD(software_int, int_1) RAISES(int_1, SIGSEGV, true);
FIXTURE_VARIANT_ADD(software_int, int_2d) RAISES(int_2d, SIGSEGV, true);
FIXTURE_VARIANT_ADD(software_int, ud2) RAISES(ud2, SIGILL, true);

FIXTURE_SETUP(software_int)
{
	start_probe_job(_metadata, &self->t, variant->probe.fn, NULL);
}

FIXTURE_TEARDOWN(software_int)
{
	tracee_stop(&self->t);
}

/* The next event is the instruction's signal, which is no debug exception */
static int expect_raised(struct tracee *t, int request, int sig, const void *ip)
{
	struct stop s;

	if (tracee_resume(t, request, 0) || tracee_wait(t, &s))
		return -1;
	if (s.status == (sig << 8 | 0x7f) && s.ip == (unsigned long)ip &&
	    (sig != SIGTRAP || s.info.si_code == SI_KERNEL) && s.progress == 1)
		return 0;
	tracee_report(t, &s, "expected signal %d of the instruction, ip %#lx", sig,
		      (unsigned long)ip);
	return -1;
}

/* As a debugger that emulates the instruction: ip after it, RF clear */
static long skip_insn(struct tracee *t, const void *next)
{
	long flags = ptrace(PTRACE_PEEKUSER, t->tid, FLAGS, NULL);

	if (!(flags & EFLAGS_RF))
		test_err("a fault has not saved RF");
	return !(flags & EFLAGS_RF) ||
	       ptrace(PTRACE_POKEUSER, t->tid, FLAGS, flags & ~EFLAGS_RF) ||
	       ptrace(PTRACE_POKEUSER, t->tid, REG_IP, next);
}

TEST_F(software_int, single_step)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	const char *ip = variant->fault ? at : next;
	struct tracee *t = &self->t;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, at));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		if (i % 2)
			ASSERT_EQ(0, tracee_disarm(t, 0));
		ASSERT_EQ(0, expect_raised(t, PTRACE_SINGLESTEP, variant->sig, ip));
		/* The fault repeats itself, and is not hit by the breakpoint again */
		if (variant->fault) {
			ASSERT_EQ(0, expect_raised(t, PTRACE_SINGLESTEP,
						   variant->sig, ip));
			ASSERT_EQ(0, skip_insn(t, next));
		}
		ASSERT_EQ(0, expect_step(t, next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_F(software_int, breakpoint_after)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	const char *ip = variant->fault ? at : next;
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, next));
	for (i = 0; i < 4; i++) {
		if (i % 2)
			ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, expect_raised(t, PTRACE_CONT, variant->sig, ip));
		if (variant->fault)
			ASSERT_EQ(0, skip_insn(t, next));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, i % 2 ? tracee_disarm(t, 0) :
				     tracee_arm(t, 0, BP_EXECUTE, 1, at));
	}
}

/* The signal, and the program's TF is still set */
TEST_F(software_int, own_tf)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	const char *ip = variant->fault ? at : next;
	struct trap trap = { .ip = next + 1, .step = true, .progress = 1 };
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, at));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, set_trap_flag(t, true));
		ASSERT_EQ(0, expect_raised(t, PTRACE_CONT, variant->sig, ip));
		ASSERT_EQ(TF, trap_flag(t));
		if (variant->fault)
			ASSERT_EQ(0, skip_insn(t, next));
		ASSERT_EQ(0, tracee_expect_hit(t, 8, next, 1));
		ASSERT_EQ(0, tracee_expect_trap(t, &trap));
		ASSERT_EQ(TF, trap_flag(t));
		ASSERT_EQ(0, set_trap_flag(t, false));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_HARNESS_MAIN
