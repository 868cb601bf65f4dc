// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions with several memory operands, with masked operands, or with
 * several iterations.
 *
 * SDM vol. 3, "Data Memory and I/O Breakpoint Exception Conditions": a trap,
 * after the access; without an access no trap is expected.  Where the manuals
 * leave it open, a table has MAY, and at most one trap is accepted:
 *
 * - elements that a mask excludes: APM vol. 4, MASKMOVDQU and VMASKMOVPS: an
 *   implementation may signal a data breakpoint for them;
 * - clflush and the like: SDM vol. 2, CLFLUSH: checked like a byte load, but
 *   breakpoints are not mentioned.
 *
 * For simple accesses see access_test.c.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "probes.h"
#include "insn.h"

/* The stack is in watched memory: nothing else may be called meanwhile */
DECLARE_PROBE(do_ret);
DEFINE_PROBE(do_ret, SAVE "mov " P ", " SP, "ret\n\tud2", RESTORE);
DECLARE_PROBE(do_call_mem);
DEFINE_PROBE(do_call_mem, SAVE "lea " WORD "(" P "), " SP,
	     "call *64(" P ")\n\tud2", RESTORE);
DECLARE_PROBE(do_jump_mem);
DEFINE_PROBE(do_jump_mem, SAVE, "jmp *(" P ")\n\tud2", RESTORE);
DECLARE_PROBE(do_push_mem);
DEFINE_PROBE(do_push_mem, SAVE "lea " WORD "(" P "), " SP,
	     "push" SUFFIX " 64(" P ")", RESTORE);
DECLARE_PROBE(do_pop_mem);
DEFINE_PROBE(do_pop_mem, SAVE "mov " P ", " SP, "pop" SUFFIX " 64(" P ")",
	     RESTORE);
DECLARE_PROBE(do_enter);
DEFINE_PROBE(do_enter, SAVE "lea " WORD "(" P "), " SP, "enter $64, $0",
	     RESTORE);
DECLARE_PROBE(do_leave);
DEFINE_PROBE(do_leave, SAVE "mov " P ", " BP, "leave", RESTORE);
DECLARE_PROBE(do_pushf);
DEFINE_PROBE(do_pushf, SAVE "lea " WORD "(" P "), " SP, "pushf", RESTORE);
#ifndef __x86_64__
DECLARE_PROBE(do_pusha);
DEFINE_PROBE(do_pusha, SAVE "lea 32(" P "), " SP, "pusha", RESTORE);
#endif

/* Read, possibly modified, and written back */
DECLARE_PROBE(do_cmpxchg);
DEFINE_PROBE(do_cmpxchg, "mov $0x5a5a5a5a, %eax\n\tmov $1, %ecx",
	     "cmpxchgl %ecx, (" P ")", "");
DECLARE_PROBE(do_cmpxchg_fails);
DEFINE_PROBE(do_cmpxchg_fails, "mov $1, %eax\n\tmov $1, %ecx",
	     "cmpxchgl %ecx, (" P ")", "");
DECLARE_PROBE(do_cmpxchg8b);
DEFINE_PROBE(do_cmpxchg8b, SAVE "mov " P ", " SI "\n\tmov " BX ", " DI
	     "\n\tmov $0x5a5a5a5a, %eax\n\tmov %eax, %edx\n\tmov $1, %ebx\n\t"
	     "mov $1, %ecx", "lock cmpxchg8b (" SI ")",
	     "mov " DI ", " BX "\n\t" RESTORE);
#ifdef __x86_64__
DECLARE_PROBE(do_cmpxchg16b);
DEFINE_PROBE(do_cmpxchg16b, SAVE "mov %rdx, %rsi\n\tmov %rbx, %rdi\n\t"
	     "movabs $0x5a5a5a5a5a5a5a5a, %rax\n\tmov %rax, %rdx\n\t"
	     "mov $1, %ebx\n\tmov $1, %ecx", "lock cmpxchg16b (%rsi)",
	     "mov %rdi, %rbx\n\t" RESTORE);
#endif
/* A bit 1024 bytes up; the word that contains it may be accessed as a whole */
DECLARE_PROBE(do_bts);
DEFINE_PROBE(do_bts, "mov $8 * 1024 + 5, %ecx", "btsl %ecx, (" P ")", "");
DECLARE_PROBE(do_bt);
DEFINE_PROBE(do_bt, "mov $8 * 1024 + 5, %ecx", "btl %ecx, (" P ")", "");

/* Ten bytes, and areas that are accessed in parts */
DECLARE_PROBE(do_fstpt);
DEFINE_PROBE(do_fstpt, "fldz", "fstpt (" P ")", "");
DECLARE_PROBE(do_fxsave);
DEFINE_PROBE(do_fxsave, "", "fxsave (" P ")", "");
DECLARE_PROBE(do_fxrstor);
DEFINE_PROBE(do_fxrstor, "", "fxrstor (" P ")", "");
DECLARE_PROBE(do_xsave);
DEFINE_PROBE(do_xsave, SAVE "mov " P ", " SI "\n\tmov $3, %eax\n\t"
	     "xor %edx, %edx", "xsave (" SI ")", RESTORE);
DECLARE_PROBE(do_xrstor);
DEFINE_PROBE(do_xrstor, SAVE "mov " P ", " SI "\n\tmov $3, %eax\n\t"
	     "xor %edx, %edx", "xrstor (" SI ")", RESTORE);

/* Cache control: no access to the data */
DECLARE_PROBE(do_clflush);
DEFINE_PROBE(do_clflush, "", "clflush (" P ")", "");
DECLARE_PROBE(do_clflushopt);
DEFINE_PROBE(do_clflushopt, "", "clflushopt (" P ")", "sfence");
DECLARE_PROBE(do_prefetchnta);
DEFINE_PROBE(do_prefetchnta, "", "prefetchnta (" P ")", "");
DECLARE_PROBE(do_prefetchw);
DEFINE_PROBE(do_prefetchw, "", "prefetchw (" P ")", "");

/* What an instruction does to a byte; MAY: at most one trap, see above */
enum byte_access { NOT, READS, WRITES, MAY };

struct operand {
	int at;
	enum byte_access byte_access;
};

struct insn_case {
	struct probe probe;
	enum feature needs;
	void (*fill)(unsigned char *base);
	struct operand operands[8];
};

static void fill_return(unsigned char *base)
{
	*(const char **)base = do_ret_next;
}

static void fill_call(unsigned char *base)
{
	*(const char **)(base + 64) = do_call_mem_next;
}

static void fill_jump(unsigned char *base)
{
	*(const char **)base = do_jump_mem_next;
}

static void fill_fxrstor(unsigned char *base)
{
	asm volatile("fxsave (%0)" : : "r" (base) : "memory");
}

static void fill_zero(unsigned char *base)
{
	memset(base, 0, PAGE);
}

/* An XSAVE area with x87 and SSE, in the standard format */
static void fill_xrstor(unsigned char *base)
{
	fill_zero(base);
	asm volatile("fxsave (%0)" : : "r" (base) : "memory");
	memset(base + 416, 0, 512 - 416);
	base[512] = 3;
}

#define FORM(name, feature, init, ...)					\
	{								\
		.insn_case.probe = PROBE_ENTRY(name, 0, false),		\
		.insn_case.needs = (feature), .insn_case.fill = (init),		\
		.insn_case.operands = { __VA_ARGS__ },				\
	}

FIXTURE(insn) {
	struct tracee t;
	unsigned char *memory;
};

FIXTURE_VARIANT(insn) {
	struct insn_case insn_case;
};

#define LAST	(__SIZEOF_LONG__ - 1)
FIXTURE_VARIANT_ADD(insn, ret)
	FORM(do_ret, ANY, fill_return, { -1, NOT }, { 0, READS },
	     { LAST, READS }, { LAST + 1, NOT });
FIXTURE_VARIANT_ADD(insn, call_through_memory)
	FORM(do_call_mem, ANY, fill_call, { -1, NOT }, { 0, WRITES },
	     { LAST, WRITES }, { LAST + 1, NOT }, { 63, NOT }, { 64, READS },
	     { 64 + LAST, READS }, { 64 + LAST + 1, NOT });
FIXTURE_VARIANT_ADD(insn, jump_through_memory)
	FORM(do_jump_mem, ANY, fill_jump, { -1, NOT }, { 0, READS },
	     { LAST, READS }, { LAST + 1, NOT });
FIXTURE_VARIANT_ADD(insn, push_from_memory)
	FORM(do_push_mem, ANY, NULL, { -1, NOT }, { 0, WRITES },
	     { LAST, WRITES }, { LAST + 1, NOT }, { 63, NOT }, { 64, READS },
	     { 64 + LAST, READS }, { 64 + LAST + 1, NOT });
FIXTURE_VARIANT_ADD(insn, pop_to_memory)
	FORM(do_pop_mem, ANY, NULL, { -1, NOT }, { 0, READS },
	     { LAST, READS }, { LAST + 1, NOT }, { 63, NOT }, { 64, WRITES },
	     { 64 + LAST, WRITES }, { 64 + LAST + 1, NOT });
FIXTURE_VARIANT_ADD(insn, enter)
	FORM(do_enter, ANY, NULL, { 0, WRITES }, { LAST, WRITES },
	     { LAST + 1, NOT });
FIXTURE_VARIANT_ADD(insn, leave)
	FORM(do_leave, ANY, NULL, { -1, NOT }, { 0, READS }, { LAST, READS },
	     { LAST + 1, NOT });
FIXTURE_VARIANT_ADD(insn, pushf)
	FORM(do_pushf, ANY, NULL, { -1, NOT }, { 0, WRITES }, { LAST, WRITES },
	     { LAST + 1, NOT });
#ifndef __x86_64__
FIXTURE_VARIANT_ADD(insn, pusha)
	FORM(do_pusha, ANY, NULL, { -1, NOT }, { 0, WRITES }, { 15, WRITES },
	     { 31, WRITES }, { 32, NOT });
#endif
FIXTURE_VARIANT_ADD(insn, cmpxchg)
	FORM(do_cmpxchg, ANY, NULL, { -1, NOT }, { 0, WRITES }, { 3, WRITES },
	     { 4, NOT });
FIXTURE_VARIANT_ADD(insn, failing_cmpxchg_unlocked)
	FORM(do_cmpxchg_fails, ANY, NULL, { -1, NOT }, { 0, WRITES },
	     { 3, WRITES }, { 4, NOT });
FIXTURE_VARIANT_ADD(insn, cmpxchg8b)
	FORM(do_cmpxchg8b, ANY, NULL, { -1, NOT }, { 0, WRITES },
	     { 7, WRITES }, { 8, NOT });
#ifdef __x86_64__
FIXTURE_VARIANT_ADD(insn, cmpxchg16b)
	FORM(do_cmpxchg16b, CX16, NULL, { -1, NOT }, { 0, WRITES },
	     { 15, WRITES }, { 16, NOT });
#endif
FIXTURE_VARIANT_ADD(insn, bts_far_up)
	FORM(do_bts, ANY, NULL, { 0, NOT }, { 1023, NOT }, { 1024, WRITES },
	     { 1028, NOT });
FIXTURE_VARIANT_ADD(insn, bt_far_up)
	FORM(do_bt, ANY, NULL, { 0, NOT }, { 1023, NOT }, { 1024, READS },
	     { 1028, NOT });
FIXTURE_VARIANT_ADD(insn, fst_of_ten_bytes)
	FORM(do_fstpt, ANY, NULL, { -1, NOT }, { 0, WRITES }, { 9, WRITES },
	     { 10, NOT });
/* 464 to 511 are available to software (SDM vol. 2, FXSAVE) */
FIXTURE_VARIANT_ADD(insn, fxsave)
	FORM(do_fxsave, ANY, NULL, { -1, NOT }, { 0, WRITES }, { 24, WRITES },
	     { 160, WRITES }, { 287, WRITES }, { 464, NOT }, { 511, NOT },
	     { 512, NOT });
FIXTURE_VARIANT_ADD(insn, fxrstor)
	FORM(do_fxrstor, ANY, fill_fxrstor, { -1, NOT }, { 0, READS },
	     { 24, READS }, { 160, READS }, { 287, READS }, { 512, NOT });
/* The header at 512 is read and written; AVX at 576 was not requested */
FIXTURE_VARIANT_ADD(insn, xsave)
	FORM(do_xsave, XSAVE, fill_zero, { -1, NOT }, { 0, WRITES },
	     { 24, WRITES }, { 160, WRITES }, { 287, WRITES }, { 464, NOT },
	     { 512, WRITES }, { 576, NOT });
FIXTURE_VARIANT_ADD(insn, xrstor)
	FORM(do_xrstor, XSAVE, fill_xrstor, { -1, NOT }, { 0, READS },
	     { 24, READS }, { 160, READS }, { 287, READS }, { 512, READS },
	     { 576, NOT });
FIXTURE_VARIANT_ADD(insn, maskmovdqu)
	FORM(do_maskmov, ANY, NULL, { -1, NOT }, { 0, WRITES }, { 1, MAY },
	     { 2, WRITES }, { 3, MAY }, { 16, NOT });
FIXTURE_VARIANT_ADD(insn, vmaskmov_store)
	FORM(do_vmaskmov_store, AVX, NULL, { -1, NOT }, { 0, WRITES },
	     { 3, WRITES }, { 4, MAY }, { 8, WRITES }, { 12, MAY },
	     { 16, NOT });
FIXTURE_VARIANT_ADD(insn, vmaskmov_load)
	FORM(do_vmaskmov_load, AVX, NULL, { -1, NOT }, { 0, READS },
	     { 3, READS }, { 4, MAY }, { 8, READS }, { 12, MAY }, { 16, NOT });
FIXTURE_VARIANT_ADD(insn, vmovaps_store)
	FORM(do_vmovaps_store, AVX, NULL, { -1, NOT }, { 0, WRITES },
	     { 16, WRITES }, { 31, WRITES }, { 32, NOT });
FIXTURE_VARIANT_ADD(insn, vmovntps)
	FORM(do_vmovntps, AVX, NULL, { -1, NOT }, { 0, WRITES },
	     { 16, WRITES }, { 31, WRITES }, { 32, NOT });
FIXTURE_VARIANT_ADD(insn, avx512_masked_bytes)
	FORM(do_avx512_bytes, AVX512, NULL, { -1, NOT }, { 0, WRITES },
	     { 1, MAY }, { 2, WRITES }, { 3, MAY }, { 15, MAY }, { 16, NOT });
FIXTURE_VARIANT_ADD(insn, gather)
	FORM(do_gather, AVX2, NULL, { -1, NOT }, { 0, READS }, { 4, NOT },
	     { 8, READS }, { 16, READS }, { 20, NOT }, { 27, READS },
	     { 28, NOT });
FIXTURE_VARIANT_ADD(insn, gather_masked)
	FORM(do_gather_masked, AVX2, NULL, { -1, NOT }, { 0, READS },
	     { 4, NOT }, { 8, MAY }, { 16, READS }, { 20, NOT }, { 24, MAY },
	     { 28, NOT });
FIXTURE_VARIANT_ADD(insn, scatter)
	FORM(do_scatter, AVX512, NULL, { -1, NOT }, { 0, WRITES }, { 4, NOT },
	     { 8, WRITES }, { 16, WRITES }, { 20, NOT }, { 27, WRITES },
	     { 28, NOT });
FIXTURE_VARIANT_ADD(insn, clflush)
	FORM(do_clflush, ANY, NULL, { 0, MAY }, { 64, NOT });
FIXTURE_VARIANT_ADD(insn, clflushopt)
	FORM(do_clflushopt, CLFLUSHOPT, NULL, { 0, MAY }, { 64, NOT });
FIXTURE_VARIANT_ADD(insn, prefetchnta)
	FORM(do_prefetchnta, ANY, NULL, { 0, NOT }, { 64, NOT });
FIXTURE_VARIANT_ADD(insn, prefetchw)
	FORM(do_prefetchw, PREFETCHW, NULL, { 0, NOT }, { 64, NOT });

struct job {
	void (*fn)(void *addr, unsigned long val);
	unsigned char *at;
};

/* A plain store follows, at which a lost or late hit is detected */
static void run_insn(struct tracee *t)
{
	const struct job *job = t->arg;

	for (;;) {
		*t->progress = 1;
		job->fn(job->at, 0);
		*t->progress = 2;
		probe_store4(job->at + 2 * PAGE, 0);
		*t->progress = 3;
		tracee_sync();
	}
}

FIXTURE_SETUP(insn)
{
	if (!cpu_has(variant->insn_case.needs))
		SKIP(return, SKIP_NO_INSN);
	self->memory = shared_alloc(4 * PAGE);
}

FIXTURE_TEARDOWN(insn)
{
	tracee_stop(&self->t);
}

TEST_F(insn, traps_for_each_accessed_byte)
{
	const struct insn_case *insn_case = &variant->insn_case;
	struct job job = {
		.fn = insn_case->probe.fn, .at = self->memory + PAGE,
	};
	static const enum bp_type types[] = { BP_WRITE, BP_RW };
	struct tracee *t = &self->t;
	const struct trap sentinel = {
		.ip = probe_store4_next, .slots = 8, .progress = 2,
	};
	unsigned char then[3 * PAGE];
	unsigned int i;
	struct stop s;

	t->body = run_insn;
	t->arg = &job;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 3, BP_WRITE, 4, job.at + 2 * PAGE));
	for (i = 0; i < 2 * ARRAY_SIZE(insn_case->operands); i++) {
		const struct operand *operand = &insn_case->operands[i / 2];
		const unsigned char *addr = job.at + operand->at;
		enum bp_type type = types[i % 2];
		const struct trap hit = {
			.ip = insn_case->probe.next, .slots = 1, .progress = 1,
		};
		bool expected = operand->byte_access == WRITES ||
			    (operand->byte_access == READS && type == BP_RW);

		/* End of the table */
		if (i > 1 && !operand->at && !operand->byte_access)
			break;
		memset(self->memory, 0x5a, 4 * PAGE);
		if (insn_case->fill)
			insn_case->fill(job.at);
		ASSERT_EQ(0, tracee_arm(t, 0, type, 1, addr));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (expected || (operand->byte_access == MAY && s.progress == 1)) {
			ASSERT_EQ(0, tracee_check_trap(t, &s, &hit)) {
				TH_LOG("byte %d watched", operand->at);
			}
			/* No trap of the instruction is left */
			memcpy(then, self->memory, sizeof(then));
			ASSERT_EQ(0, tracee_cont(t));
			ASSERT_EQ(0, tracee_wait(t, &s));
			ASSERT_EQ(0, memcmp(then, self->memory, sizeof(then)));
		}
		ASSERT_EQ(0, tracee_check_trap(t, &s, &sentinel)) {
			TH_LOG("byte %d watched", operand->at);
		}
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
}

/* Several slots hit by one instruction: one trap with all bits */
TEST_F(insn, one_trap_for_all_operands)
{
	const struct insn_case *insn_case = &variant->insn_case;
	struct job job = {
		.fn = insn_case->probe.fn, .at = self->memory + PAGE,
	};
	struct tracee *t = &self->t;
	unsigned int i, slot = 0;

	t->body = run_insn;
	t->arg = &job;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	memset(self->memory, 0x5a, 4 * PAGE);
	if (insn_case->fill)
		insn_case->fill(job.at);
	for (i = 0; i < ARRAY_SIZE(insn_case->operands) && slot < DR_SLOTS; i++)
		if (insn_case->operands[i].byte_access == READS ||
		    insn_case->operands[i].byte_access == WRITES)
			ASSERT_EQ(0, tracee_arm(t, slot++, BP_RW, 1, job.at +
						insn_case->operands[i].at));
	if (slot < DR_SLOTS)
		ASSERT_EQ(0, tracee_arm(t, slot, BP_WRITE, 4,
					job.at + 2 * PAGE));
	if (slot)
		ASSERT_EQ(0, tracee_expect_hit(t, (1U << slot) - 1,
					       insn_case->probe.next, 1));
	if (slot < DR_SLOTS)
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << slot,
					       probe_store4_next, 2));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

/*
 * Repeated string instructions: one trap for each iteration that accesses a
 * watched byte, at the instruction itself while iterations remain and after it
 * after the last. P6 family processors may report movs and stos one iteration
 * late (SDM vol. 3, as above), and none of them has long mode: only there one
 * more iteration may have been done at the trap.
 */
#define TURNS	8

/* Memory and eax are equal everywhere, so that scas and cmps continue */
#define REP_SETUP	SAVE "mov " P ", " DI "\n\tlea 512(" P "), " SI	\
			"\n\tmov $" PROBE_STR(TURNS) ", %ecx\n\t"	\
			"mov $0x5a5a5a5a, %eax\n\tcmp %eax, %eax\n\t"
#define REP_AFTER	"cld\n\t" RESTORE

DECLARE_PROBE(rep_movsb);
DEFINE_PROBE(rep_movsb, REP_SETUP, "rep movsb", REP_AFTER);
DECLARE_PROBE(rep_movsl);
DEFINE_PROBE(rep_movsl, REP_SETUP, "rep movsl", REP_AFTER);
DECLARE_PROBE(rep_movsl_down);
DEFINE_PROBE(rep_movsl_down, REP_SETUP "std", "rep movsl", REP_AFTER);
DECLARE_PROBE(rep_stosb);
DEFINE_PROBE(rep_stosb, REP_SETUP, "rep stosb", REP_AFTER);
DECLARE_PROBE(rep_stosl);
DEFINE_PROBE(rep_stosl, REP_SETUP, "rep stosl", REP_AFTER);
DECLARE_PROBE(rep_stosl_down);
DEFINE_PROBE(rep_stosl_down, REP_SETUP "std", "rep stosl", REP_AFTER);
DECLARE_PROBE(rep_lodsl);
DEFINE_PROBE(rep_lodsl, REP_SETUP, "rep lodsl", REP_AFTER);
DECLARE_PROBE(rep_lodsl_down);
DEFINE_PROBE(rep_lodsl_down, REP_SETUP "std", "rep lodsl", REP_AFTER);
DECLARE_PROBE(rep_scasl);
DEFINE_PROBE(rep_scasl, REP_SETUP, "repe scasl", REP_AFTER);
DECLARE_PROBE(rep_scasl_down);
DEFINE_PROBE(rep_scasl_down, REP_SETUP "std", "repe scasl", REP_AFTER);
DECLARE_PROBE(rep_cmpsb);
DEFINE_PROBE(rep_cmpsb, REP_SETUP, "repe cmpsb", REP_AFTER);
DECLARE_PROBE(rep_cmpsl_down);
DEFINE_PROBE(rep_cmpsl_down, REP_SETUP "std", "repe cmpsl", REP_AFTER);

FIXTURE(rep_string) {
	struct tracee t;
	unsigned char *memory;
	bool late;
};

/* What is at the first pointer, and 512 bytes after it */
FIXTURE_VARIANT(rep_string) {
	struct probe probe;
	int step;
	enum byte_access to;
	enum byte_access from;
	bool late;
};

#define REP(name, by, at_di, at_si, may_be_late)			\
	{								\
		.probe = PROBE_ENTRY(name, 0, false), .step = (by),	\
		.to = (at_di), .from = (at_si), .late = (may_be_late),	\
	}

FIXTURE_VARIANT_ADD(rep_string, movsb) REP(rep_movsb, 1, WRITES, READS, true);
FIXTURE_VARIANT_ADD(rep_string, movsl) REP(rep_movsl, 4, WRITES, READS, true);
FIXTURE_VARIANT_ADD(rep_string, movsl_down)
	REP(rep_movsl_down, -4, WRITES, READS, true);
FIXTURE_VARIANT_ADD(rep_string, stosb) REP(rep_stosb, 1, WRITES, NOT, true);
FIXTURE_VARIANT_ADD(rep_string, stosl) REP(rep_stosl, 4, WRITES, NOT, true);
FIXTURE_VARIANT_ADD(rep_string, stosl_down)
	REP(rep_stosl_down, -4, WRITES, NOT, true);
FIXTURE_VARIANT_ADD(rep_string, lodsl) REP(rep_lodsl, 4, NOT, READS, false);
FIXTURE_VARIANT_ADD(rep_string, lodsl_down)
	REP(rep_lodsl_down, -4, NOT, READS, false);
FIXTURE_VARIANT_ADD(rep_string, scasl) REP(rep_scasl, 4, READS, NOT, false);
FIXTURE_VARIANT_ADD(rep_string, scasl_down)
	REP(rep_scasl_down, -4, READS, NOT, false);
FIXTURE_VARIANT_ADD(rep_string, cmpsb) REP(rep_cmpsb, 1, READS, READS, false);
FIXTURE_VARIANT_ADD(rep_string, cmpsl_down)
	REP(rep_cmpsl_down, -4, READS, READS, false);

FIXTURE_SETUP(rep_string)
{
	self->memory = shared_alloc(4 * PAGE);
	memset(self->memory, 0x5a, 4 * PAGE);
	self->late = variant->late && !cpu_has(LONG_MODE);
}

FIXTURE_TEARDOWN(rep_string)
{
	tracee_stop(&self->t);
}

/* Continue to the trap of iteration @turn, the first being 0 */
static int expect_iteration(struct tracee *t, const struct probe *probe,
			    unsigned int slots, unsigned long iteration, bool late)
{
	unsigned long done;
	struct trap hit = { .slots = slots, .progress = 1 };
	struct stop s;

	if (tracee_cont(t) || tracee_wait(t, &s))
		return 1;
	done = TURNS - ptrace(PTRACE_PEEKUSER, t->tid, REG_CX, NULL);
	hit.ip = iteration + 1 < TURNS ? probe->at : probe->next;
	if (late && iteration + 2 == TURNS && done == TURNS)
		hit.ip = probe->next;
	if (tracee_check_trap(t, &s, &hit))
		return 1;
	if (done == iteration + 1 || (late && done == iteration + 2))
		return 0;
	tracee_report(t, &s, "%lu iterations done at the trap of iteration %lu", done,
		      iteration + 1);
	return 1;
}

static void expect_iterations(struct __test_metadata *_metadata,
			      struct _test_data_rep_string *self,
			const struct _fixture_variant_rep_string *variant,
			const unsigned int *iterations, unsigned int n)
{
	struct job job = {
		.fn = variant->probe.fn, .at = self->memory + PAGE,
	};
	unsigned int i, size = abs(variant->step);
	struct tracee *t = &self->t;

	t->body = run_insn;
	t->arg = &job;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	for (i = 0; i < 2 * n; i++) {
		enum byte_access byte_access = i % 2 ? variant->from : variant->to;
		unsigned char *first = job.at + (i % 2 ? 512 : 0);
		unsigned char *addr = first + (int)iterations[i / 2] * variant->step;

		ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 1, addr + size - 1));
		if (byte_access == WRITES)
			ASSERT_EQ(0, expect_iteration(t, &variant->probe, 1,
						      iterations[i / 2], self->late));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 1, addr));
		if (byte_access)
			ASSERT_EQ(0, expect_iteration(t, &variant->probe, 1,
						      iterations[i / 2], self->late));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		/* Before the first iteration, and after the last */
		ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 1, first - variant->step));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 1,
					first + TURNS * variant->step));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
}

TEST_F(rep_string, traps_in_each_accessing_iteration)
{
	static const unsigned int iterations[] = { 0, 3, TURNS - 2 };

	expect_iterations(_metadata, self, variant, iterations, ARRAY_SIZE(iterations));
}

TEST_F(rep_string, ip_after_last_iteration)
{
	static const unsigned int iterations[] = { TURNS - 1 };

	expect_iterations(_metadata, self, variant, iterations, ARRAY_SIZE(iterations));
}

/* Two watchpoints at different addresses: a trap for each, in order */
TEST_F(rep_string, traps_for_each_watchpoint)
{
	struct job job = {
		.fn = variant->probe.fn, .at = self->memory + PAGE,
	};
	unsigned char *first = job.at + (variant->to ? 0 : 512);
	struct tracee *t = &self->t;

	t->body = run_insn;
	t->arg = &job;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 1, first + 5 * variant->step));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_RW, 1, first + variant->step));
	ASSERT_EQ(0, expect_iteration(t, &variant->probe, 4, 1, self->late));
	ASSERT_EQ(0, expect_iteration(t, &variant->probe, 2, 5, self->late));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

TEST_HARNESS_MAIN
