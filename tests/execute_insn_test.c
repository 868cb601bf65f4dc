// SPDX-License-Identifier: GPL-2.0
/*
 * Execute breakpoints on all kinds of instructions, reached in all ways, in all
 * kinds of memory, and the effect of RF.
 *
 * SDM vol. 3, "Instruction-Breakpoint Exception Condition": a fault, before the
 * instruction and with priority over any other exception of it, fetching
 * included. RF in EFLAGS inhibits it for one instruction.  The CPU sets RF in
 * the flags that it saves for any other fault, and for an event between two
 * iterations of a repeated string instruction, so that resuming does not trap
 * again.  The kernel sets RF after the breakpoint itself
 * (hw_breakpoint_handler()), and shows it to the tracer like any other flag
 * (get_flags() and set_flags() in arch/x86/kernel/ptrace.c).
 */
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "probe_job.h"
#include "probes.h"

#define EFLAGS_RF	0x10000UL

#ifdef __x86_64__
#define AX	"%rax"
#define BX	"%rbx"
#define CX	"%rcx"
#define DI	"%rdi"
#define REG(name) offsetof(struct user, regs.r ## name)
#else
#define AX	"%eax"
#define BX	"%ebx"
#define CX	"%ecx"
#define DI	"%edi"
#define REG(name) offsetof(struct user, regs.e ## name)
#endif
#define REG_FLAGS offsetof(struct user, regs.eflags)

/* Registers that are callee-saved in both calling conventions */
#define SAVE	"push " BX "\n\tpush " DI "\n\t"
#define RESTORE	"pop " DI "\n\tpop " BX

/* Instructions of every kind; the first argument is memory that they may use */
DECLARE_PROBE(kind_nop);
DEFINE_PROBE(kind_nop, "", "nop", "nop");
DECLARE_PROBE(kind_push);
DEFINE_PROBE(kind_push, "", "push " PROBE_VAL, "pop " PROBE_VAL);
DECLARE_PROBE(kind_call);
DEFINE_PROBE(kind_call, "", "call kind_call_next", "pop " PROBE_VAL);
DECLARE_PROBE(kind_jump);
DEFINE_PROBE(kind_jump, "", "jmp kind_jump_next", "nop");
DECLARE_PROBE(kind_load);
DEFINE_PROBE(kind_load, "", "mov (" PROBE_PTR "), " PROBE_VAL, "nop");
DECLARE_PROBE(kind_lock);
DEFINE_PROBE(kind_lock, "", "lock incl (" PROBE_PTR ")", "nop");
DECLARE_PROBE(kind_fpu);
DEFINE_PROBE(kind_fpu, "", "fld1", "fstp %st(0)");
DECLARE_PROBE(kind_sse);
DEFINE_PROBE(kind_sse, "", "movups (" PROBE_PTR "), %xmm0", "nop");
DECLARE_PROBE(kind_flags);
DEFINE_PROBE(kind_flags, "pushf", "popf", "nop");
DECLARE_PROBE(kind_rdtsc);
DEFINE_PROBE(kind_rdtsc, "", "rdtsc", "nop");
DECLARE_PROBE(kind_pause);
DEFINE_PROBE(kind_pause, "", "pause", "nop");
/* Intercepted by hypervisors, which may lose RF or keep it too long */
DECLARE_PROBE(kind_cpuid);
DEFINE_PROBE(kind_cpuid, SAVE "xor %eax, %eax\n\txor %ecx, %ecx", "cpuid",
	     "nop\n\t" RESTORE);
DECLARE_PROBE(kind_stos);
DEFINE_PROBE(kind_stos, SAVE "mov " PROBE_PTR ", " DI, "stosb", RESTORE);
/* getpid() */
DECLARE_PROBE(kind_syscall);
#ifdef __x86_64__
DEFINE_PROBE(kind_syscall, "movl $39, %eax", "syscall", "nop");
#else
DEFINE_PROBE(kind_syscall, "movl $20, %eax", "int $0x80", "nop");
#endif

/* As many bytes as the second argument */
DECLARE_PROBE(rep_stos);
DEFINE_PROBE(rep_stos, SAVE "mov " PROBE_PTR ", " DI "\n\tmov " PROBE_VAL ", "
	     CX, "rep stosb", RESTORE);

FIXTURE(execute_insn) {
	struct tracee t;
	unsigned char *memory;
};

FIXTURE_VARIANT(execute_insn) {
	struct probe probe;
};

FIXTURE_VARIANT_ADD(execute_insn, nop) { .probe = PROBE_ENTRY(kind_nop, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, push) { .probe = PROBE_ENTRY(kind_push, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, call) { .probe = PROBE_ENTRY(kind_call, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, jump) { .probe = PROBE_ENTRY(kind_jump, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, load) { .probe = PROBE_ENTRY(kind_load, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, lock) { .probe = PROBE_ENTRY(kind_lock, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, fpu) { .probe = PROBE_ENTRY(kind_fpu, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, sse) { .probe = PROBE_ENTRY(kind_sse, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, popf) { .probe = PROBE_ENTRY(kind_flags, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, rdtsc) { .probe = PROBE_ENTRY(kind_rdtsc, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, pause) { .probe = PROBE_ENTRY(kind_pause, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, cpuid) { .probe = PROBE_ENTRY(kind_cpuid, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, stos) { .probe = PROBE_ENTRY(kind_stos, 0, false) };
FIXTURE_VARIANT_ADD(execute_insn, syscall) {
	.probe = PROBE_ENTRY(kind_syscall, 0, false)
};

FIXTURE_SETUP(execute_insn)
{
	self->memory = shared_alloc(2 * 4096);
}

FIXTURE_TEARDOWN(execute_insn)
{
	tracee_stop(&self->t);
}

/*
 * RF must be cleared after the instruction, by the CPU, the kernel or a
 * hypervisor: the next instruction traps, and so does the next execution.
 */
TEST_F(execute_insn, traps_once_and_next_insn_traps)
{
	const struct probe *probe = &variant->probe;
	struct tracee *t = &self->t;
	unsigned int i;

	start_probe_job(_metadata, t, probe->fn, self->memory);
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, probe->at));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 2, probe->at, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, probe->next));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 2, probe->at, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, probe->next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	ASSERT_EQ(0, tracee_disarm(t, 1));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 4, probe->next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* Instructions that raise another exception: the breakpoint has priority */
DECLARE_PROBE(raise_int3);
DEFINE_PROBE(raise_int3, "", "int3", "nop");
DECLARE_PROBE(raise_ill);
DEFINE_PROBE(raise_ill, "", "ud2", "nop");
DECLARE_PROBE(raise_segv);
DEFINE_PROBE(raise_segv, "", "hlt", "nop");

FIXTURE(execute_exception) {
	struct tracee t;
};

FIXTURE_VARIANT(execute_exception) {
	struct probe probe;
	int sig;
	bool after;
};

FIXTURE_VARIANT_ADD(execute_exception, int3) {
	.probe = PROBE_ENTRY(raise_int3, 0, false), .sig = SIGTRAP,
	.after = true,
};

FIXTURE_VARIANT_ADD(execute_exception, ud2) {
	.probe = PROBE_ENTRY(raise_ill, 0, false), .sig = SIGILL,
};

FIXTURE_VARIANT_ADD(execute_exception, hlt) {
	.probe = PROBE_ENTRY(raise_segv, 0, false), .sig = SIGSEGV,
};

FIXTURE_SETUP(execute_exception)
{
}

FIXTURE_TEARDOWN(execute_exception)
{
	tracee_stop(&self->t);
}

TEST_F(execute_exception, breakpoint_has_priority)
{
	const struct probe *probe = &variant->probe;
	const char *ip = variant->after ? probe->next : probe->at;
	struct tracee *t = &self->t;
	struct stop s;

	start_probe_job(_metadata, t, probe->fn, NULL);
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, probe->at));
	ASSERT_EQ(0, tracee_expect_hit(t, 8, probe->at, 1));
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_TRUE(WIFSTOPPED(s.status));
	EXPECT_EQ(variant->sig, WSTOPSIG(s.status));
	EXPECT_NE(TRAP_HWBKPT, s.info.si_code);
	EXPECT_EQ((unsigned long)ip, s.ip);
	EXPECT_EQ(1, s.progress);
	ASSERT_EQ(0, ptrace(PTRACE_POKEUSER, t->tid, REG(ip), probe->next));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	ASSERT_EQ(0, tracee_expect_hit(t, 8, probe->at, 1));
}

/* All ways to reach the label after: they make no difference */
#ifdef __x86_64__
#define ADDRESS_AFTER(name)	"lea " #name "_next(%rip), " PROBE_VAL
#else
#define ADDRESS_AFTER(name)	"call 1f\n1:\tpop " PROBE_VAL "\n\t"	\
				"add $(" #name "_next - 1b), " PROBE_VAL
#endif
#define JUMPED_OVER		"\n\tud2"

DECLARE_PROBE(way_fall);
DEFINE_PROBE(way_fall, "", "nop", "nop");
DECLARE_PROBE(way_jump);
DEFINE_PROBE(way_jump, "", "jmp way_jump_next" JUMPED_OVER, "nop");
DECLARE_PROBE(way_branch);
DEFINE_PROBE(way_branch, "cmp " AX ", " AX, "je way_branch_next" JUMPED_OVER,
	     "nop");
DECLARE_PROBE(way_indirect);
DEFINE_PROBE(way_indirect, ADDRESS_AFTER(way_indirect),
	     "jmp *" PROBE_VAL JUMPED_OVER, "nop");
DECLARE_PROBE(way_call);
DEFINE_PROBE(way_call, "", "call way_call_next" JUMPED_OVER,
	     "pop " PROBE_VAL);
DECLARE_PROBE(way_ret);
DEFINE_PROBE(way_ret, ADDRESS_AFTER(way_ret) "\n\tpush " PROBE_VAL,
	     "ret" JUMPED_OVER, "nop");
DECLARE_PROBE(way_ret_n);
DEFINE_PROBE(way_ret_n, "push " PROBE_VAL "\n\t" ADDRESS_AFTER(way_ret_n)
	     "\n\tpush " PROBE_VAL,
	     "ret $" PROBE_STR(__SIZEOF_LONG__) JUMPED_OVER, "nop");

FIXTURE(execute_path) {
	struct tracee t;
};

FIXTURE_VARIANT(execute_path) {
	struct probe probe;
};

FIXTURE_VARIANT_ADD(execute_path, fall_through) { .probe = PROBE_ENTRY(way_fall, 0, false) };
FIXTURE_VARIANT_ADD(execute_path, jump) { .probe = PROBE_ENTRY(way_jump, 0, false) };
FIXTURE_VARIANT_ADD(execute_path, branch) { .probe = PROBE_ENTRY(way_branch, 0, false) };
FIXTURE_VARIANT_ADD(execute_path, indirect_jump) { .probe = PROBE_ENTRY(way_indirect, 0, false) };
FIXTURE_VARIANT_ADD(execute_path, call) { .probe = PROBE_ENTRY(way_call, 0, false) };
FIXTURE_VARIANT_ADD(execute_path, ret) { .probe = PROBE_ENTRY(way_ret, 0, false) };
FIXTURE_VARIANT_ADD(execute_path, ret_imm) { .probe = PROBE_ENTRY(way_ret_n, 0, false) };

FIXTURE_SETUP(execute_path)
{
}

FIXTURE_TEARDOWN(execute_path)
{
	tracee_stop(&self->t);
}

TEST_F(execute_path, target_traps_once)
{
	const struct probe *probe = &variant->probe;
	struct tracee *t = &self->t;
	unsigned int i;

	start_probe_job(_metadata, t, probe->fn, NULL);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, probe->next));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	/* And from an instruction that is armed as well: RF ends with it */
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, probe->at));
	ASSERT_EQ(0, tracee_expect_hit(t, 8, probe->at, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->next, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
}

/*
 * Repeated string instructions: once, before the first iteration.  An iteration
 * that faults, or trips a watchpoint, is resumed with RF set and does not trap
 * again (SDM as above; QEMU 7.2's emulation traps before every iteration).
 */
FIXTURE(execute_rep) {
	struct tracee t;
	unsigned char *memory;
	struct probe_job job;
};

FIXTURE_SETUP(execute_rep)
{
	self->memory = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(-1, (long)self->memory);
	self->job.fn = rep_stos;
	self->job.memory = self->memory + 4096 - 8;
	self->job.val = 16;
	self->t.arg = &self->job;
	self->t.body = run_probe_job;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(execute_rep)
{
	tracee_stop(&self->t);
	munmap(self->memory, 2 * 4096);
}

static unsigned long remaining_count(struct tracee *t)
{
	return ptrace(PTRACE_PEEKUSER, t->tid, REG(cx), NULL);
}

/* Both pages are unmapped in the first run, and mapped in the second */
TEST_F(execute_rep, traps_once_before_first_iteration)
{
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, rep_stos_at));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, rep_stos_at, 1));
		EXPECT_EQ(16, remaining_count(t));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* It traps even if the count is 0 */
TEST_F(execute_rep, traps_once_with_count_0)
{
	struct tracee *t = &self->t;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, rep_stos_at));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rep_stos_at, 1));
	ASSERT_EQ(0, ptrace(PTRACE_POKEUSER, t->tid, REG(cx), 0));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rep_stos_at, 1));
	EXPECT_EQ(16, remaining_count(t));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
}

/*
 * A data trap between two iterations is reported at the same ip, for its slot
 */
TEST_F(execute_rep, no_second_trap_after_watchpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, rep_stos_at));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_WRITE, 1, self->memory + 4096 - 4));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_WRITE, 1, self->memory + 4096 + 2));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, rep_stos_at, 1));
		EXPECT_EQ(16, remaining_count(t));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, rep_stos_at, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, rep_stos_at, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/*
 * Where the instruction is: in the vdso, across the end of a page, in memory
 * that was just written.  A file in memory is mapped twice, so that no mapping
 * has to be writable and executable at once.
 */
FIXTURE(execute_location) {
	struct tracee t;
	unsigned char *write;
	unsigned char *execute;
	int fd;
};

FIXTURE_SETUP(execute_location)
{
	self->fd = syscall(SYS_memfd_create, "hw_breakpoint", 0);
	if (self->fd < 0)
		SKIP(return, SKIP_NOT_BUILT_IN);
	ASSERT_EQ(0, ftruncate(self->fd, 2 * 4096));
	self->write = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
			   self->fd, 0);
	ASSERT_NE(-1, (long)self->write);
	self->execute = mmap(NULL, 2 * 4096, PROT_READ | PROT_EXEC, MAP_SHARED,
			     self->fd, 0);
	if (self->execute == MAP_FAILED)
		SKIP(return, SKIP_REFUSED, "executable memory");
}

FIXTURE_TEARDOWN(execute_location)
{
	tracee_stop(&self->t);
	if (self->fd >= 0)
		close(self->fd);
}

/* movl $0x90909090, %eax; ret */
static const unsigned char five_bytes[] = {
	0xb8, 0x90, 0x90, 0x90, 0x90, 0xc3,
};

struct page_crossing {
	unsigned char *execute;
	unsigned char *at;
	int prot;
};

static struct page_crossing *page_crossing;

static void allow_execution(int sig)
{
	(void)sig;
	mprotect(page_crossing->execute + 4096, 4096, PROT_READ | PROT_EXEC);
}

/* The second page is unmapped, or forbidden, before every execution */
static void run_crossing(struct tracee *t)
{
	struct sigaction action = { .sa_handler = allow_execution };

	page_crossing = t->arg;
	sigaction(SIGSEGV, &action, NULL);
	for (;;) {
		madvise(page_crossing->execute + 4096, 4096, MADV_DONTNEED);
		mprotect(page_crossing->execute + 4096, 4096, page_crossing->prot);
		*t->progress = 1;
		((void (*)(void))(unsigned long)page_crossing->at)();
		*t->progress = 2;
		tracee_sync();
	}
}

TEST_F(execute_location, across_page_end)
{
	struct tracee *t = &self->t;
	unsigned int before;
	unsigned int i;

	for (before = 1; before < 5; before++) {
		struct page_crossing c = {
			.execute = self->execute,
			.at = self->execute + 4096 - before,
			.prot = PROT_READ | PROT_EXEC,
		};

		memcpy(self->write + 4096 - before, five_bytes,
		       sizeof(five_bytes));
		t->body = run_crossing;
		t->arg = &c;
		start_tracee(_metadata, t, TRACEE_TRACEME);
		ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, c.at));
		/* Not in the middle of the instruction */
		ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1,
					self->execute + 4096));
		for (i = 0; i < 3; i++) {
			ASSERT_EQ(0, tracee_expect_hit(t, 1, c.at, 1));
			ASSERT_EQ(0, tracee_expect_sync(t, 2));
		}
		tracee_stop(t);
	}
}

/*
 * The breakpoint has priority over the fault of fetching the rest.  The handler
 * of that fault returns to the instruction with the RF that the CPU saved: no
 * second trap.
 */
TEST_F(execute_location, into_forbidden_page)
{
	struct page_crossing c = {
		.execute = self->execute, .at = self->execute + 4096 - 1,
		.prot = PROT_NONE,
	};
	struct tracee *t = &self->t;
	struct stop s;
	unsigned int i;

	memcpy(self->write + 4096 - 1, five_bytes, sizeof(five_bytes));
	t->body = run_crossing;
	t->arg = &c;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, c.at));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 4, c.at, 1));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_TRUE(WIFSTOPPED(s.status));
		ASSERT_EQ(SIGSEGV, WSTOPSIG(s.status));
		ASSERT_EQ((unsigned long)c.at, s.ip);
		ASSERT_EQ((long)c.execute + 4096, (long)s.info.si_addr);
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, SIGSEGV));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(0, tracee_check_sync(t, &s, 2));
	}
}

struct new_code {
	unsigned char *write;
	unsigned char *execute;
};

/* New code at the same address each time, just written */
static void write_and_run(struct tracee *t)
{
	const struct new_code *new_code = t->arg;
	unsigned long i;

	for (i = 1;; i++) {
		*t->progress = 2 * i - 1;
		memset(new_code->write, 0x90, 16);
		memcpy(new_code->write + i % 4, five_bytes, sizeof(five_bytes));
		*t->progress = 2 * i;
		((void (*)(void))(unsigned long)new_code->execute)();
		tracee_sync();
	}
}

/*
 * The breakpoint is on an address: it may be armed before there is an
 * instruction, and stays when that is overwritten.  Unlike an int3 it is not
 * overwritten by user space.
 */
TEST_F(execute_location, just_written)
{
	struct new_code new_code = {
		.write = self->write, .execute = self->execute,
	};
	struct tracee *t = &self->t;
	unsigned int i;

	t->body = write_and_run;
	t->arg = &new_code;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, self->execute));
	/*
	 * At an instruction of the second version, but within one of the first
	 */
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, self->execute + 2));
	for (i = 1; i <= 8; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 2, self->execute, 2 * i));
		if (i % 4 >= 2)
			ASSERT_EQ(0, tracee_expect_hit(t, 4, self->execute + 2,
						       2 * i));
		ASSERT_EQ(0, tracee_expect_sync(t, 2 * i));
	}
}

/* The first call may involve the dynamic linker */
static void call_clock_gettime(struct tracee *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	for (;;) {
		*t->progress = 1;
		clock_gettime(CLOCK_MONOTONIC, &now);
		*t->progress = 2;
		tracee_sync();
	}
}

/*
 * Kernel-provided code at a user address is like any other.  The ip at which
 * the C library enters the vdso is found by single-stepping.
 */
TEST_F(execute_location, in_vdso)
{
	unsigned long vdso = getauxval(AT_SYSINFO_EHDR), entry = 0;
	struct tracee *t = &self->t;
	struct stop s;
	unsigned int i;

	t->body = call_clock_gettime;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	for (i = 0; i < 2000 && !entry && vdso; i++) {
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_TRUE(WIFSTOPPED(s.status));
		if (WSTOPSIG(s.status) == SIGSTOP)
			break;
		if (s.progress == 1 && s.ip - vdso < 4 * 4096)
			entry = s.ip;
	}
	if (!entry)
		SKIP(return, SKIP_NOT_USED);
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, (void *)entry));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 8, (void *)entry, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* RF as written by the tracer, and across restarts of system calls */
DECLARE_PROBE(rf_first);
DEFINE_PROBE(rf_first, "", "nop", "nop");
DECLARE_PROBE(rf_second);
DEFINE_PROBE(rf_second, "", "nop", "nop");

static void run_both(struct tracee *t)
{
	for (;;) {
		*t->progress = 1;
		rf_first(NULL, 0);
		*t->progress = 2;
		rf_second(NULL, 0);
		*t->progress = 3;
		tracee_sync();
	}
}

FIXTURE(rf) {
	struct tracee t;
};

FIXTURE_SETUP(rf)
{
	self->t.body = run_both;
}

FIXTURE_TEARDOWN(rf)
{
	tracee_stop(&self->t);
}

static int set_rf(struct tracee *t, bool on)
{
	unsigned long flags = ptrace(PTRACE_PEEKUSER, t->tid, REG_FLAGS, NULL);

	return ptrace(PTRACE_POKEUSER, t->tid, REG_FLAGS,
		      on ? flags | EFLAGS_RF : flags & ~EFLAGS_RF);
}

/*
 * The kernel has set RF at the trap, and a tracer sees it.  Each time the
 * tracer clears it the instruction traps again, and it is executed only when
 * the tracer does not. Regression test for 0c4519e825c9.
 */
TEST_F(rf, cleared_by_tracer)
{
	struct tracee *t = &self->t;
	unsigned int i;

	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, rf_first_at));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, rf_first_at, 1));
		ASSERT_NE(0, EFLAGS_RF & ptrace(PTRACE_PEEKUSER, t->tid,
						REG_FLAGS, NULL));
		ASSERT_EQ(0, set_rf(t, false));
	}
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rf_first_at, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

/* One instruction does not trap; other breakpoints and the next execution do */
TEST_F(rf, set_by_tracer)
{
	struct tracee *t = &self->t;
	unsigned int i;

	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, rf_first_at));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, rf_first_next));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, rf_second_at));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, rf_first_at, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, rf_first_next, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, rf_second_at, 2));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rf_first_at, 1));
	ASSERT_EQ(0, set_rf(t, false));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rf_first_at, 1));
	ASSERT_EQ(0, tracee_disarm(t, 0));
	ASSERT_EQ(0, set_rf(t, true));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, rf_first_next, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, rf_second_at, 2));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

static void make_syscall(struct tracee *t)
{
	for (;;) {
		*t->progress = 1;
		kind_syscall(NULL, 0);
		*t->progress = 2;
		tracee_sync();
	}
}

/*
 * At the exit from a system call, before an armed instruction.  sysret clears
 * RF: the kernel must not return by it, even if all else fits (do_syscall_64(),
 * formerly entry_64.S, checks RF in r11's flags).
 */
TEST_F(rf, set_by_tracer_in_syscall)
{
	struct tracee *t = &self->t;
	struct stop s;
	unsigned int i;

	t->body = make_syscall;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, kind_syscall_at));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, kind_syscall_next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, kind_syscall_at, 1));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SYSCALL, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP | 0x80, WSTOPSIG(s.status));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SYSCALL, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP | 0x80, WSTOPSIG(s.status));
		ASSERT_EQ((unsigned long)kind_syscall_next, s.ip);
		ASSERT_EQ(0, set_rf(t, i % 2));
#ifdef __x86_64__
		/* Where sysret takes the flags from */
		ASSERT_EQ(0, ptrace(PTRACE_POKEUSER, t->tid,
				    offsetof(struct user, regs.r11),
				    ptrace(PTRACE_PEEKUSER, t->tid, REG_FLAGS,
					   NULL)));
#endif
		if (!(i % 2))
			ASSERT_EQ(0, tracee_expect_hit(t, 8, kind_syscall_next,
						       1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/*
 * The tracer sets ip.  Only RF decides whether that traps; it is saved with the
 * flags and not with ip.  So the same address traps again with RF clear,
 * another one traps with RF clear, and does not with RF set, once.
 */
TEST_F(rf, decides_when_tracer_sets_ip)
{
	struct tracee *t = &self->t;
	struct user_regs_struct regs;

	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, rf_first_at));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, rf_first_next));

	/* Unchanged */
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rf_first_at, 1));
	ASSERT_EQ(0, ptrace(PTRACE_GETREGS, t->tid, NULL, &regs));
	ASSERT_EQ(0, ptrace(PTRACE_SETREGS, t->tid, NULL, &regs));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, rf_first_next, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));

	/* The same address, without RF */
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rf_first_at, 1));
	ASSERT_EQ(0, ptrace(PTRACE_GETREGS, t->tid, NULL, &regs));
	regs.eflags &= ~EFLAGS_RF;
	ASSERT_EQ(0, ptrace(PTRACE_SETREGS, t->tid, NULL, &regs));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rf_first_at, 1));

	/* To the other one, without RF, and back with RF */
	ASSERT_EQ(0, set_rf(t, false));
	ASSERT_EQ(0, ptrace(PTRACE_POKEUSER, t->tid, REG(ip), rf_first_next));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, rf_first_next, 1));
	ASSERT_EQ(0, ptrace(PTRACE_POKEUSER, t->tid, REG(ip), rf_first_at));
	ASSERT_EQ(0, set_rf(t, true));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, rf_first_next, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rf_first_at, 1));
}

/*
 * A system call that a signal interrupts is restarted at its instruction. The
 * breakpoint on that instruction is hit again: RF was cleared when the call was
 * entered.
 */
struct read_job {
	int pipe[2];
};

DECLARE_PROBE(do_read);
#ifdef __x86_64__
DEFINE_PROBE(do_read, "mov %rax, %rdi\n\tmov %rdx, %rsi\n\tmov $1, %edx\n\t"
	     "xor %eax, %eax", "syscall", "nop");
#else
DEFINE_PROBE(do_read, SAVE "mov %eax, %ebx\n\tmov %edx, %ecx\n\t"
	     "mov $1, %edx\n\tmov $3, %eax", "int $0x80", RESTORE);
#endif

static void on_signal(int sig)
{
	(void)sig;
}

static void read_byte(struct tracee *t)
{
	const struct read_job *job = t->arg;
	struct sigaction action = {
		.sa_handler = on_signal, .sa_flags = SA_RESTART,
	};
	char c = 0;

	sigaction(SIGUSR1, &action, NULL);
	*t->progress = 1;
	do_read(&c, job->pipe[0]);
	*t->progress = c == 'x' ? 2 : 3;
	tracee_sync();
}

static void restart(struct __test_metadata *_metadata, struct tracee *t,
		    int sig)
{
	const struct trap again = {
		.ip = do_read_at, .slots = 2, .progress = 1,
	};
	struct read_job job;
	unsigned int i;
	struct stop s;
	char c;

	ASSERT_EQ(0, pipe(job.pipe));
	t->body = read_byte;
	t->arg = &job;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, do_read_at));
	/* If the trap is missed, the tracee must not wait for ever */
	ASSERT_EQ(1, write(job.pipe[1], "x", 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, do_read_at, 1));
	ASSERT_EQ(1, read(job.pipe[0], &c, 1));
	for (i = 0; i < 3; i++) {
		/* The entry, with the signal pending; the exit; the signal */
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SYSCALL, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP | 0x80, WSTOPSIG(s.status));
		ASSERT_EQ(0, syscall(SYS_tgkill, t->tid, t->tid, SIGUSR1));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SYSCALL, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP | 0x80, WSTOPSIG(s.status));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGUSR1, WSTOPSIG(s.status));
		ASSERT_EQ(1, write(job.pipe[1], "x", 1));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, sig));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(0, tracee_check_trap(t, &s, &again));
		ASSERT_EQ(1, read(job.pipe[0], &c, 1));
	}
	ASSERT_EQ(1, write(job.pipe[1], "x", 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	close(job.pipe[0]);
	close(job.pipe[1]);
}

TEST_F(rf, cleared_by_syscall_restart)
{
	restart(_metadata, &self->t, 0);
}

TEST_F(rf, cleared_by_handler_and_syscall_restart)
{
	restart(_metadata, &self->t, SIGUSR1);
}

TEST_HARNESS_MAIN
