// SPDX-License-Identifier: GPL-2.0
/*
 * Execute breakpoints by kind of instruction, by the way the instruction is
 * come to, by where it lies, and by what becomes of RF.
 *
 * SDM vol. 3, "Instruction-Breakpoint Exception Condition": a fault, before
 * the instruction and ahead of whatever else it may raise, fetching included.
 * RF in EFLAGS holds it back for one instruction.  The CPU sets RF in what it
 * saves for any other fault, and for what comes between two turns of a
 * repeated string instruction, so that going on is not a second visit; the
 * kernel sets it after the breakpoint itself (hw_breakpoint_handler()), and
 * shows it to the tracer like any other flag (get_flags() and set_flags() in
 * arch/x86/kernel/ptrace.c).
 */
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
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

/* What both calling conventions want back */
#define SAVE	"push " BX "\n\tpush " DI "\n\t"
#define RESTORE	"pop " DI "\n\tpop " BX

/* Instructions of every kind; the first argument is memory they may use */
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
/* A hypervisor takes this one over, and may lose RF or keep it too long */
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

/* As many bytes as the second argument says */
DECLARE_PROBE(rep_stos);
DEFINE_PROBE(rep_stos, SAVE "mov " PROBE_PTR ", " DI "\n\tmov " PROBE_VAL ", "
	     CX, "rep stosb", RESTORE);

FIXTURE(kind) {
	struct tracee t;
	unsigned char *memory;
};

FIXTURE_VARIANT(kind) {
	struct probe probe;
};

FIXTURE_VARIANT_ADD(kind, nop) { .probe = PROBE_ENTRY(kind_nop, 0, false) };
FIXTURE_VARIANT_ADD(kind, push) { .probe = PROBE_ENTRY(kind_push, 0, false) };
FIXTURE_VARIANT_ADD(kind, call) { .probe = PROBE_ENTRY(kind_call, 0, false) };
FIXTURE_VARIANT_ADD(kind, jump) { .probe = PROBE_ENTRY(kind_jump, 0, false) };
FIXTURE_VARIANT_ADD(kind, load) { .probe = PROBE_ENTRY(kind_load, 0, false) };
FIXTURE_VARIANT_ADD(kind, lock) { .probe = PROBE_ENTRY(kind_lock, 0, false) };
FIXTURE_VARIANT_ADD(kind, fpu) { .probe = PROBE_ENTRY(kind_fpu, 0, false) };
FIXTURE_VARIANT_ADD(kind, sse) { .probe = PROBE_ENTRY(kind_sse, 0, false) };
FIXTURE_VARIANT_ADD(kind, popf) { .probe = PROBE_ENTRY(kind_flags, 0, false) };
FIXTURE_VARIANT_ADD(kind, rdtsc) { .probe = PROBE_ENTRY(kind_rdtsc, 0, false) };
FIXTURE_VARIANT_ADD(kind, pause) { .probe = PROBE_ENTRY(kind_pause, 0, false) };
FIXTURE_VARIANT_ADD(kind, cpuid) { .probe = PROBE_ENTRY(kind_cpuid, 0, false) };
FIXTURE_VARIANT_ADD(kind, stos) { .probe = PROBE_ENTRY(kind_stos, 0, false) };
FIXTURE_VARIANT_ADD(kind, syscall) {
	.probe = PROBE_ENTRY(kind_syscall, 0, false)
};

struct job {
	void (*fn)(void *addr, unsigned long val);
	void *memory;
	unsigned long val;
};

static void run_job(struct tracee *t)
{
	const struct job *job = t->arg;

	for (;;) {
		*t->progress = 1;
		job->fn(job->memory, job->val);
		*t->progress = 2;
		tracee_sync();
	}
}

FIXTURE_SETUP(kind)
{
	self->memory = shared_alloc(2 * 4096);
}

FIXTURE_TEARDOWN(kind)
{
	tracee_stop(&self->t);
}

/*
 * RF must have gone with the instruction that it was for, whether that was
 * done by the CPU, the kernel or a hypervisor: the one right behind it traps,
 * and so does the next visit.
 */
TEST_F(kind, once_a_visit_and_the_next_one_too)
{
	const struct probe *probe = &variant->probe;
	struct job job = { .fn = probe->fn, .memory = self->memory };
	struct tracee *t = &self->t;
	unsigned int i;

	t->body = run_job;
	t->arg = &job;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
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

/* Instructions that raise something else: the breakpoint comes first */
DECLARE_PROBE(raise_int3);
DEFINE_PROBE(raise_int3, "", "int3", "nop");
DECLARE_PROBE(raise_ill);
DEFINE_PROBE(raise_ill, "", "ud2", "nop");
DECLARE_PROBE(raise_segv);
DEFINE_PROBE(raise_segv, "", "hlt", "nop");

FIXTURE(raising) {
	struct tracee t;
};

FIXTURE_VARIANT(raising) {
	struct probe probe;
	int sig;
	bool behind;
};

FIXTURE_VARIANT_ADD(raising, int3) {
	.probe = PROBE_ENTRY(raise_int3, 0, false), .sig = SIGTRAP,
	.behind = true,
};

FIXTURE_VARIANT_ADD(raising, ud2) {
	.probe = PROBE_ENTRY(raise_ill, 0, false), .sig = SIGILL,
};

FIXTURE_VARIANT_ADD(raising, hlt) {
	.probe = PROBE_ENTRY(raise_segv, 0, false), .sig = SIGSEGV,
};

FIXTURE_SETUP(raising)
{
}

FIXTURE_TEARDOWN(raising)
{
	tracee_stop(&self->t);
}

TEST_F(raising, breakpoint_first)
{
	const struct probe *probe = &variant->probe;
	const char *ip = variant->behind ? probe->next : probe->at;
	struct job job = { .fn = probe->fn };
	struct tracee *t = &self->t;
	struct stop s;

	t->body = run_job;
	t->arg = &job;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
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

/* Ways to come to the label behind: it makes no difference */
#ifdef __x86_64__
#define ADDRESS_BEHIND(name)	"lea " #name "_next(%rip), " PROBE_VAL
#else
#define ADDRESS_BEHIND(name)	"call 1f\n1:\tpop " PROBE_VAL "\n\t"	\
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
DEFINE_PROBE(way_indirect, ADDRESS_BEHIND(way_indirect),
	     "jmp *" PROBE_VAL JUMPED_OVER, "nop");
DECLARE_PROBE(way_call);
DEFINE_PROBE(way_call, "", "call way_call_next" JUMPED_OVER,
	     "pop " PROBE_VAL);
DECLARE_PROBE(way_ret);
DEFINE_PROBE(way_ret, ADDRESS_BEHIND(way_ret) "\n\tpush " PROBE_VAL,
	     "ret" JUMPED_OVER, "nop");
DECLARE_PROBE(way_ret_n);
DEFINE_PROBE(way_ret_n, "push " PROBE_VAL "\n\t" ADDRESS_BEHIND(way_ret_n)
	     "\n\tpush " PROBE_VAL,
	     "ret $" PROBE_STR(__SIZEOF_LONG__) JUMPED_OVER, "nop");

FIXTURE(way) {
	struct tracee t;
};

FIXTURE_VARIANT(way) {
	struct probe probe;
};

FIXTURE_VARIANT_ADD(way, fall_through) { .probe = PROBE_ENTRY(way_fall, 0, false) };
FIXTURE_VARIANT_ADD(way, jump) { .probe = PROBE_ENTRY(way_jump, 0, false) };
FIXTURE_VARIANT_ADD(way, branch) { .probe = PROBE_ENTRY(way_branch, 0, false) };
FIXTURE_VARIANT_ADD(way, indirect_jump) { .probe = PROBE_ENTRY(way_indirect, 0, false) };
FIXTURE_VARIANT_ADD(way, call) { .probe = PROBE_ENTRY(way_call, 0, false) };
FIXTURE_VARIANT_ADD(way, ret) { .probe = PROBE_ENTRY(way_ret, 0, false) };
FIXTURE_VARIANT_ADD(way, ret_that_pops) { .probe = PROBE_ENTRY(way_ret_n, 0, false) };

FIXTURE_SETUP(way)
{
}

FIXTURE_TEARDOWN(way)
{
	tracee_stop(&self->t);
}

TEST_F(way, one_trap_at_the_target)
{
	const struct probe *probe = &variant->probe;
	struct job job = { .fn = probe->fn };
	struct tracee *t = &self->t;
	unsigned int i;

	t->body = run_job;
	t->arg = &job;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, probe->next));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	/* And from an instruction that is armed too: RF ends with it */
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, probe->at));
	ASSERT_EQ(0, tracee_expect_hit(t, 8, probe->at, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->next, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
}

/*
 * Repeated string instructions: once, before the first turn.  A turn that
 * faults, or trips a watchpoint, is gone on with under RF and is no new visit
 * (SDM as above; QEMU 7.2's emulation traps before every turn).
 */
FIXTURE(rep) {
	struct tracee t;
	unsigned char *memory;
	struct job job;
};

FIXTURE_SETUP(rep)
{
	self->memory = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(-1, (long)self->memory);
	self->job.fn = rep_stos;
	self->job.memory = self->memory + 4096 - 8;
	self->job.val = 16;
	self->t.arg = &self->job;
	self->t.body = run_job;
	if (!start(_metadata, &self->t, TRACEE_TRACEME))
		return;
}

FIXTURE_TEARDOWN(rep)
{
	tracee_stop(&self->t);
	munmap(self->memory, 2 * 4096);
}

static unsigned long left_to_do(struct tracee *t)
{
	return ptrace(PTRACE_PEEKUSER, t->tid, REG(cx), NULL);
}

/* Both pages are fresh at the first run, and there at the second */
TEST_F(rep, once_before_the_first_turn)
{
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, rep_stos_at));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, rep_stos_at, 1));
		EXPECT_EQ(16, left_to_do(t));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* It is visited even where it does nothing */
TEST_F(rep, once_with_no_turn)
{
	struct tracee *t = &self->t;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, rep_stos_at));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rep_stos_at, 1));
	ASSERT_EQ(0, ptrace(PTRACE_POKEUSER, t->tid, REG(cx), 0));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, rep_stos_at, 1));
	EXPECT_EQ(16, left_to_do(t));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
}

/* A data trap between two turns is reported at the same ip, and by its slot */
TEST_F(rep, not_again_after_a_watchpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, rep_stos_at));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_WRITE, 1, self->memory + 4096 - 4));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_WRITE, 1, self->memory + 4096 + 2));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, rep_stos_at, 1));
		EXPECT_EQ(16, left_to_do(t));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, rep_stos_at, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, rep_stos_at, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/*
 * Where the instruction lies: in the vdso, across the end of a page, in
 * memory that was written just before.  A file in memory is mapped twice, so
 * that nothing needs to be writable and executable at once.
 */
FIXTURE(code) {
	struct tracee t;
	unsigned char *write;
	unsigned char *execute;
	int fd;
};

FIXTURE_SETUP(code)
{
	self->fd = syscall(SYS_memfd_create, "hw_breakpoint", 0);
	if (self->fd < 0)
		SKIP(return, "memfd_create: %s", strerror(errno));
	ASSERT_EQ(0, ftruncate(self->fd, 2 * 4096));
	self->write = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
			   self->fd, 0);
	ASSERT_NE(-1, (long)self->write);
	self->execute = mmap(NULL, 2 * 4096, PROT_READ | PROT_EXEC, MAP_SHARED,
			     self->fd, 0);
	if (self->execute == MAP_FAILED)
		SKIP(return, "no executable memory: %s", strerror(errno));
}

FIXTURE_TEARDOWN(code)
{
	tracee_stop(&self->t);
	if (self->fd >= 0)
		close(self->fd);
}

/* movl $0x90909090, %eax; ret */
static const unsigned char five_bytes[] = {
	0xb8, 0x90, 0x90, 0x90, 0x90, 0xc3,
};

struct crossing {
	unsigned char *execute;
	unsigned char *at;
	int prot;
};

static struct crossing *crossing;

static void let_it_be_executed(int sig)
{
	(void)sig;
	mprotect(crossing->execute + 4096, 4096, PROT_READ | PROT_EXEC);
}

/* The second page is gone, or forbidden, before every visit */
static void cross(struct tracee *t)
{
	struct sigaction action = { .sa_handler = let_it_be_executed };

	crossing = t->arg;
	sigaction(SIGSEGV, &action, NULL);
	for (;;) {
		madvise(crossing->execute + 4096, 4096, MADV_DONTNEED);
		mprotect(crossing->execute + 4096, 4096, crossing->prot);
		*t->progress = 1;
		((void (*)(void))(unsigned long)crossing->at)();
		*t->progress = 2;
		tracee_sync();
	}
}

TEST_F(code, across_the_end_of_a_page)
{
	struct tracee *t = &self->t;
	unsigned int before;
	unsigned int i;

	for (before = 1; before < 5; before++) {
		struct crossing c = {
			.execute = self->execute,
			.at = self->execute + 4096 - before,
			.prot = PROT_READ | PROT_EXEC,
		};

		memcpy(self->write + 4096 - before, five_bytes,
		       sizeof(five_bytes));
		t->body = cross;
		t->arg = &c;
		if (!start(_metadata, t, TRACEE_TRACEME))
			return;
		ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, c.at));
		/* The middle of the instruction: none */
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
 * The breakpoint is ahead of the fault in fetching the rest.  The handler of
 * that fault returns to the instruction with the RF that the CPU saved: the
 * same visit still, no second trap.
 */
TEST_F(code, into_a_forbidden_page)
{
	struct crossing c = {
		.execute = self->execute, .at = self->execute + 4096 - 1,
		.prot = PROT_NONE,
	};
	struct tracee *t = &self->t;
	struct stop s;
	unsigned int i;

	memcpy(self->write + 4096 - 1, five_bytes, sizeof(five_bytes));
	t->body = cross;
	t->arg = &c;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
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

struct fresh {
	unsigned char *write;
	unsigned char *execute;
};

/* Other code at the same place each time, and each time just written */
static void write_and_run(struct tracee *t)
{
	const struct fresh *fresh = t->arg;
	unsigned long i;

	for (i = 1;; i++) {
		*t->progress = 2 * i - 1;
		memset(fresh->write, 0x90, 16);
		memcpy(fresh->write + i % 4, five_bytes, sizeof(five_bytes));
		*t->progress = 2 * i;
		((void (*)(void))(unsigned long)fresh->execute)();
		tracee_sync();
	}
}

/*
 * The breakpoint is on an address: armed before there is an instruction, and
 * staying when that is written over.  Written by user space, it is no int3
 * that would be overwritten.
 */
TEST_F(code, written_just_before)
{
	struct fresh fresh = {
		.write = self->write, .execute = self->execute,
	};
	struct tracee *t = &self->t;
	unsigned int i;

	t->body = write_and_run;
	t->arg = &fresh;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, self->execute));
	/* Where the second run has an instruction begin, and the first not */
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, self->execute + 2));
	for (i = 1; i <= 8; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 2, self->execute, 2 * i));
		if (i % 4 >= 2)
			ASSERT_EQ(0, tracee_expect_hit(t, 4, self->execute + 2,
						       2 * i));
		ASSERT_EQ(0, tracee_expect_sync(t, 2 * i));
	}
}

/* The first call also has a dynamic linker's work in it */
static void ask_for_time(struct tracee *t)
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
 * Code of the kernel's at an address of the user's: a breakpoint like any.
 * Where the C library enters the vdso is found by stepping there.
 */
TEST_F(code, in_the_vdso)
{
	unsigned long vdso = getauxval(AT_SYSINFO_EHDR), entry = 0;
	struct tracee *t = &self->t;
	struct stop s;
	unsigned int i;

	t->body = ask_for_time;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
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
		SKIP(return, "clock_gettime() does not use the vdso");
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, (void *)entry));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 8, (void *)entry, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* RF in the hands of the tracer, and over restarts of system calls */
DECLARE_PROBE(rf_first);
DEFINE_PROBE(rf_first, "", "nop", "nop");
DECLARE_PROBE(rf_second);
DEFINE_PROBE(rf_second, "", "nop", "nop");

static void visit_both(struct tracee *t)
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
	self->t.body = visit_both;
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
 * The kernel has set RF at the trap, and a tracer sees it.  Without it the
 * instruction traps again, as often as the tracer takes it away, and is done
 * only when it does not.  Regression test for 0c4519e825c9.
 */
TEST_F(rf, cleared_by_the_tracer)
{
	struct tracee *t = &self->t;
	unsigned int i;

	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
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

/* One instruction goes by, the breakpoint on another and the next visit stay */
TEST_F(rf, set_by_the_tracer)
{
	struct tracee *t = &self->t;
	unsigned int i;

	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
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

static void call_the_kernel(struct tracee *t)
{
	for (;;) {
		*t->progress = 1;
		kind_syscall(NULL, 0);
		*t->progress = 2;
		tracee_sync();
	}
}

/*
 * At the exit from a system call, in front of an armed instruction.  sysret
 * drops RF: the kernel must not go back that way, even where all else fits
 * (do_syscall_64() and, before, entry_64.S look for RF in r11's flags).
 */
TEST_F(rf, set_by_the_tracer_in_a_system_call)
{
	struct tracee *t = &self->t;
	struct stop s;
	unsigned int i;

	t->body = call_the_kernel;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
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
		/* What sysret would take the flags from */
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
 * The tracer sets ip.  That is no new visit by itself: RF says, which comes
 * and goes with the flags and not with ip.  So the same address traps again
 * with RF off, another one does with RF off and does not with RF on, once.
 */
TEST_F(rf, decides_when_the_tracer_sets_ip)
{
	struct tracee *t = &self->t;
	struct user_regs_struct regs;

	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, rf_first_at));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, rf_first_next));

	/* As it was */
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

	/* On to the other one, without RF and back with it */
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
 * A system call that a signal interrupts is made again from its instruction.
 * The breakpoint on that instruction is hit again: the first visit was over
 * with the entry, and RF with it.
 */
struct reader {
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

static void read_a_byte(struct tracee *t)
{
	const struct reader *reader = t->arg;
	struct sigaction action = {
		.sa_handler = on_signal, .sa_flags = SA_RESTART,
	};
	char c = 0;

	sigaction(SIGUSR1, &action, NULL);
	*t->progress = 1;
	do_read(&c, reader->pipe[0]);
	*t->progress = c == 'x' ? 2 : 3;
	tracee_sync();
}

static void restart(struct __test_metadata *_metadata, struct tracee *t,
		    int sig)
{
	const struct trap again = {
		.ip = do_read_at, .slots = 2, .progress = 1,
	};
	struct reader reader;
	unsigned int i;
	struct stop s;
	char c;

	ASSERT_EQ(0, pipe(reader.pipe));
	t->body = read_a_byte;
	t->arg = &reader;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, do_read_at));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, do_read_at, 1));
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
		/* Where the trap is missed, the tracee is not to wait for ever */
		ASSERT_EQ(1, write(reader.pipe[1], "x", 1));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, sig));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(0, tracee_check_trap(t, &s, &again));
		ASSERT_EQ(1, read(reader.pipe[0], &c, 1));
	}
	ASSERT_EQ(1, write(reader.pipe[1], "x", 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	close(reader.pipe[0]);
	close(reader.pipe[1]);
}

TEST_F(rf, not_kept_over_a_restarted_system_call)
{
	restart(_metadata, &self->t, 0);
}

TEST_F(rf, not_kept_over_a_handler_and_a_restart)
{
	restart(_metadata, &self->t, SIGUSR1);
}

TEST_HARNESS_MAIN
