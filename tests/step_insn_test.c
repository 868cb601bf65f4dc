// SPDX-License-Identifier: GPL-2.0
/*
 * Steps over instructions that a hypervisor intercepts, or that the kernel emulates,
 * as any program can execute them.
 */
#include <sys/wait.h>

#include "step_over.h"

DECLARE_PROBE(over_nop);
DEFINE_PROBE(over_nop, BEFORE, "nop", AFTER);
DECLARE_PROBE(over_cpuid);
DEFINE_PROBE(over_cpuid, BEFORE "xor %eax, %eax\n\txor %ecx, %ecx", "cpuid",
	     AFTER);
DECLARE_PROBE(over_rdtsc);
DEFINE_PROBE(over_rdtsc, BEFORE, "rdtsc", AFTER);
DECLARE_PROBE(over_rdtscp);
DEFINE_PROBE(over_rdtscp, BEFORE, "rdtscp", AFTER);
DECLARE_PROBE(over_rdrand);
DEFINE_PROBE(over_rdrand, BEFORE, "rdrand %eax", AFTER);
DECLARE_PROBE(over_rdseed);
DEFINE_PROBE(over_rdseed, BEFORE, "rdseed %eax", AFTER);
DECLARE_PROBE(over_xgetbv);
DEFINE_PROBE(over_xgetbv, BEFORE "xor %ecx, %ecx", "xgetbv", AFTER);
DECLARE_PROBE(over_pause);
DEFINE_PROBE(over_pause, BEFORE, "pause", AFTER);
DECLARE_PROBE(over_sgdt);
DEFINE_PROBE(over_sgdt, BEFORE, "sgdt 64(" DI ")", AFTER);
DECLARE_PROBE(over_sidt);
DEFINE_PROBE(over_sidt, BEFORE, "sidt 64(" DI ")", AFTER);
DECLARE_PROBE(over_sldt);
DEFINE_PROBE(over_sldt, BEFORE, "sldt 64(" DI ")", AFTER);
DECLARE_PROBE(over_smsw);
DEFINE_PROBE(over_smsw, BEFORE, "smsw 64(" DI ")", AFTER);
DECLARE_PROBE(over_str);
DEFINE_PROBE(over_str, BEFORE, "str 64(" DI ")", AFTER);

#define INSN(name, needed)						\
	{ .probe = PROBE_ENTRY(over_##name, 0, false), .needs = needed }

FIXTURE_VARIANT_ADD(step_over, nop) INSN(nop, ANY);
FIXTURE_VARIANT_ADD(step_over, cpuid) INSN(cpuid, ANY);
FIXTURE_VARIANT_ADD(step_over, rdtsc) INSN(rdtsc, ANY);
FIXTURE_VARIANT_ADD(step_over, rdtscp) INSN(rdtscp, RDTSCP);
FIXTURE_VARIANT_ADD(step_over, rdrand) INSN(rdrand, RDRAND);
FIXTURE_VARIANT_ADD(step_over, rdseed) INSN(rdseed, RDSEED);
FIXTURE_VARIANT_ADD(step_over, xgetbv) INSN(xgetbv, XSAVE);
FIXTURE_VARIANT_ADD(step_over, pause) INSN(pause, ANY);

/* See arch/x86/kernel/umip.c; without UMIP the CPU performs them */
static bool has_umip(void)
{
	return !environment_cpu_lacks("umip");
}

#define UMIP_INSN(name)							\
	{ .probe = PROBE_ENTRY(over_##name, 0, false), .emulated = has_umip }

FIXTURE_VARIANT_ADD(step_over, sgdt) UMIP_INSN(sgdt);
FIXTURE_VARIANT_ADD(step_over, sidt) UMIP_INSN(sidt);
FIXTURE_VARIANT_ADD(step_over, sldt) UMIP_INSN(sldt);
FIXTURE_VARIANT_ADD(step_over, smsw) UMIP_INSN(smsw);
FIXTURE_VARIANT_ADD(step_over, str) UMIP_INSN(str);

#ifdef __x86_64__
/*
 * time() by its legacy vsyscall: unless vsyscall=none, the kernel emulates it,
 * including the return, when it is called (arch/x86/entry/vsyscall/vsyscall_64.c).
 */
#define VSYSCALL_TIME	0xffffffffff600400

DECLARE_PROBE(over_vsyscall);
DEFINE_PROBE(over_vsyscall, "push " BX "\n\tmov " P ", " BX "\n\txor %edi, %edi\n\t"
	     "mov $" PROBE_STR(VSYSCALL_TIME) ", %rax", "call *%rax",
	     "movb $1, (" BX ")\n\tpop " BX);

FIXTURE(vsyscall) {
	struct tracee t;
};

static bool has_vsyscall(void)
{
	unsigned char byte;
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		over_vsyscall(&byte, 0);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return !status;
}

FIXTURE_SETUP(vsyscall)
{
	static const struct probe probe = PROBE_ENTRY(over_vsyscall, 0, false);

	if (!has_vsyscall())
		SKIP(_exit(EXIT_SKIPPED), SKIP_NOT_BUILT_IN);
	start_over(_metadata, &self->t, &probe, shared_alloc(4096));
}

FIXTURE_TEARDOWN(vsyscall)
{
	tracee_stop(&self->t);
}

/* The call of the vsyscall, then all of it */
TEST_F(vsyscall, single_step)
{
	struct tracee *t = &self->t;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, over_vsyscall_at, 1));
		ASSERT_EQ(0, expect_step(t, (void *)VSYSCALL_TIME, 1));
		ASSERT_STEP_TO(t, PTRACE_SINGLESTEP, over_vsyscall_next, 0, return);
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_F(vsyscall, breakpoint_after)
{
	struct trap trap = { .ip = over_vsyscall_next, .slots = 4, .progress = 1 };
	struct tracee *t = &self->t;
	unsigned int i;
	struct stop s;

	skip_if_dead(_metadata, BY_PTRACE, NEEDS_EXECUTE);
	ASSERT_EQ(0, tracee_disarm(t, 0));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, over_vsyscall_next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (ran_on(&s))
			KNOWN_ISSUE(return, LOST_AFTER);
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}
#endif

TEST_HARNESS_MAIN
