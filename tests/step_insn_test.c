// SPDX-License-Identifier: GPL-2.0
/*
 * Steps over instructions that a hypervisor intercepts, or that the kernel emulates.
 *
 * Whoever performs an instruction in place of the CPU has to do what the CPU does
 * after it: raise the #DB of TF, clear RF, and look at the breakpoints of the next
 * instruction (SDM vol. 3, "Single-Step Exception Condition" and "Instruction-
 * Breakpoint Exception Condition").  KVM does so in kvm_skip_emulated_instruction();
 * a hypervisor that forgets it ends the step one instruction late, or loses the
 * breakpoint after the instruction.
 *
 * The instruction is followed by a store, which is watched, and by a jump, where a
 * block-step ends.
 */
#include <sys/wait.h>

#include "harness.h"
#include "insn.h"
#include "probe_job.h"
#include "step.h"

#define BEFORE	"push " BX "\n\tpush " DI "\n\tmov " P ", " DI "\n\t"
#define AFTER	"movb $1, (" DI ")\n\tjmp 1f\n\tnop\n1:\tpop " DI "\n\tpop " BX

/* From the instruction after the one stepped over */
#define AFTER_STORE	3
#define AFTER_JUMP	6

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
/* See arch/x86/kernel/umip.c */
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

FIXTURE(step_over) {
	struct tracee t;
	unsigned char *memory;
};

FIXTURE_VARIANT(step_over) {
	struct probe probe;
	enum feature needs;
};

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

/* Run @probe repeatedly, with slot 0 on it */
static void start(struct __test_metadata *_metadata, struct tracee *t,
		  const struct probe *probe, unsigned char *memory)
{
	struct probe_job *job = shared_alloc(sizeof(*job));

	*job = (struct probe_job){ .fn = probe->fn, .memory = memory };
	t->body = run_probe_job;
	t->arg = job;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, probe->at));
}

FIXTURE_SETUP(step_over)
{
	if (!cpu_has(variant->needs))
		SKIP(_exit(EXIT_SKIPPED), "this CPU does not have it");
	self->memory = shared_alloc(4096);
	start(_metadata, &self->t, &variant->probe, self->memory);
}

FIXTURE_TEARDOWN(step_over)
{
	tracee_stop(&self->t);
}

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
		ASSERT_EQ(0, expect_step(t, next, 1));
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
		ASSERT_EQ(0, expect_step(t, next, 1));
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
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, next));
	for (i = 0; i < 4; i++) {
		if (i % 2 == 0)
			ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, next, 1));
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
		SKIP(return, "QEMU's software emulation would hang");
	for (i = 1; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_WRITE, 1, self->memory));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, expect_step(t, next, 1));
		ASSERT_EQ(0, expect_step_and_hit(t, next + AFTER_STORE, 1U << i, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		ASSERT_EQ(0, tracee_disarm(t, i));
	}
}

/* The program's own TF, from the instruction up to the end of the store */
TEST_F(step_over, own_tf)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct trap trap = { .step = true, .progress = 1 };
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, set_trap_flag(t, true));
		trap.ip = next;
		ASSERT_EQ(0, tracee_expect_trap(t, &trap));
		ASSERT_EQ(TF, trap_flag(t));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, next, 1));
		trap.ip = next + AFTER_STORE;
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
	struct trap trap = { .step = true, .progress = 1 };
	struct tracee *t = &self->t;
	unsigned int i;
	struct stop s;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLEBLOCK, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		trap.ip = next;
		if (s.ip == (unsigned long)next + AFTER_JUMP)
			trap.ip += AFTER_JUMP;
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/*
 * With UMIP the kernel emulates these.  The #GP has saved RF, which suppresses a
 * breakpoint on the next instruction unless it is cleared, and TF is honoured by
 * nobody but the kernel.
 */
FIXTURE(emulated) {
	struct tracee t;
};

FIXTURE_VARIANT(emulated) {
	struct probe probe;
	enum feature needs;
};

FIXTURE_VARIANT_ADD(emulated, sgdt) INSN(sgdt, ANY);
FIXTURE_VARIANT_ADD(emulated, sidt) INSN(sidt, ANY);
FIXTURE_VARIANT_ADD(emulated, sldt) INSN(sldt, ANY);
FIXTURE_VARIANT_ADD(emulated, smsw) INSN(smsw, ANY);
FIXTURE_VARIANT_ADD(emulated, str) INSN(str, ANY);

FIXTURE_SETUP(emulated)
{
	start(_metadata, &self->t, &variant->probe, shared_alloc(4096));
}

FIXTURE_TEARDOWN(emulated)
{
	tracee_stop(&self->t);
}

/* The step has ended after the next instruction instead of before it */
static bool ends_late(const struct stop *s, const char *next)
{
	return WIFSTOPPED(s->status) && WSTOPSIG(s->status) == SIGTRAP &&
	       s->info.si_code == TRAP_TRACE && s->dr6 == dr6_encode(0, true) &&
	       s->ip == (unsigned long)next + AFTER_STORE;
}

/* The tracee is at its tracee_sync(), and no breakpoint was hit */
static bool missed(const struct stop *s)
{
	return WIFSTOPPED(s->status) && WSTOPSIG(s->status) == SIGSTOP &&
	       s->progress == 2 && s->dr6 == DR6_NONE;
}

#define LATE_STEP	"a step over an instruction that the kernel emulates ends late"
#define LOST_AFTER	"a breakpoint after an instruction that the kernel emulates is lost"

TEST_F(emulated, single_step)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct trap trap = { .ip = next, .step = true, .progress = 1 };
	struct tracee *t = &self->t;
	unsigned int i;
	struct stop s;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, at));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		if (i % 2)
			ASSERT_EQ(0, tracee_disarm(t, 0));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (!environment_cpu_lacks("umip") && ends_late(&s, next))
			KNOWN_ISSUE(return, LATE_STEP);
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, expect_step(t, next + AFTER_STORE, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_F(emulated, own_tf)
{
	const char *at = variant->probe.at, *next = variant->probe.next;
	struct trap trap = { .ip = next, .step = true, .progress = 1 };
	struct tracee *t = &self->t;
	unsigned int i;
	struct stop s;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, at, 1));
		ASSERT_EQ(0, set_trap_flag(t, true));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (!environment_cpu_lacks("umip") && ends_late(&s, next))
			KNOWN_ISSUE(return, LATE_STEP);
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, set_trap_flag(t, false));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* A breakpoint on the next instruction; @emulated: losing it is the known bug */
static void expect_breakpoint_after(struct __test_metadata *_metadata,
				    struct tracee *t, const char *next,
				    bool emulated)
{
	struct trap trap = { .ip = next, .slots = 4, .progress = 1 };
	unsigned int i;
	struct stop s;

	ASSERT_EQ(0, tracee_disarm(t, 0));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (emulated && missed(&s))
			KNOWN_ISSUE(return, LOST_AFTER);
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_F(emulated, breakpoint_after)
{
	expect_breakpoint_after(_metadata, &self->t, variant->probe.next,
				!environment_cpu_lacks("umip"));
}

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
		SKIP(_exit(EXIT_SKIPPED), "no vsyscall page");
	start(_metadata, &self->t, &probe, shared_alloc(4096));
}

FIXTURE_TEARDOWN(vsyscall)
{
	tracee_stop(&self->t);
}

TEST_F(vsyscall, single_step)
{
	const char *next = over_vsyscall_next;
	struct trap trap = { .ip = next, .step = true, .progress = 1 };
	struct tracee *t = &self->t;
	unsigned int i;
	struct stop s;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, over_vsyscall_at, 1));
		ASSERT_EQ(0, expect_step(t, (void *)VSYSCALL_TIME, 1));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (ends_late(&s, next))
			KNOWN_ISSUE(return, LATE_STEP);
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_F(vsyscall, breakpoint_after)
{
	expect_breakpoint_after(_metadata, &self->t, over_vsyscall_next, true);
}
#endif

TEST_HARNESS_MAIN
