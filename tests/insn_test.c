// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions that touch watched memory in more than one place, or in part,
 * or turn by turn; and pages that are not there, or not as before.
 *
 * SDM vol. 3, "Data Memory and I/O Breakpoint Exception Conditions": a trap,
 * after the access is made; whatever is not accessed owes none.  Where the
 * manuals leave it open, a table says MAY and one trap at most is accepted:
 *
 * - elements that a mask leaves out: APM vol. 4, MASKMOVDQU and VMASKMOVPS:
 *   an implementation may signal a data breakpoint for them;
 * - clflush and its kind: SDM vol. 2, CLFLUSH: checked like a byte load, but
 *   nothing is said of breakpoints.
 *
 * The plain forms are in forms_test.c.
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

#ifdef __x86_64__
#define AX	"%rax"
#define BX	"%rbx"
#define CX	"%rcx"
#define SI	"%rsi"
#define DI	"%rdi"
#define BP	"%rbp"
#define SP	"%rsp"
#define SUFFIX	"q"
#define REG_CX	offsetof(struct user, regs.rcx)
#else
#define AX	"%eax"
#define BX	"%ebx"
#define CX	"%ecx"
#define SI	"%esi"
#define DI	"%edi"
#define BP	"%ebp"
#define SP	"%esp"
#define SUFFIX	"l"
#define REG_CX	offsetof(struct user, regs.ecx)
#endif
#define P	PROBE_PTR
#define V	PROBE_VAL
#define WORD	PROBE_STR(__SIZEOF_LONG__)
#define PAGE	4096

/* What both calling conventions want back; the stack pointer goes to BX */
#define SAVE	"push " BX "\n\tpush " SI "\n\tpush " DI "\n\tpush " BP	\
		"\n\tmov " SP ", " BX "\n\t"
#define RESTORE	"mov " BX ", " SP "\n\tpop " BP "\n\tpop " DI "\n\tpop " \
		SI "\n\tpop " BX

/* The stack in watched memory.  Nothing else may be called with it there. */
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

/* Read, perhaps changed, and written back */
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
/* A bit 1024 bytes further up; the word it is in may be accessed as a whole */
DECLARE_PROBE(do_bts);
DEFINE_PROBE(do_bts, "mov $8 * 1024 + 5, %ecx", "btsl %ecx, (" P ")", "");
DECLARE_PROBE(do_bt);
DEFINE_PROBE(do_bt, "mov $8 * 1024 + 5, %ecx", "btl %ecx, (" P ")", "");

/* Ten bytes, and areas of which parts are left alone */
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

/* Vectors, in part: of four elements, or of sixteen bytes, 0 and 2 */
#define MASK_BYTES	"mov $0x00800080, %eax\n\tmovd %eax, %xmm1\n\t"
#define MASK_WORDS	"mov $0x00800080, %eax\n\tvmovd %eax, %xmm1\n\t" \
			"vpmovsxbd %xmm1, %xmm1\n\t"
DECLARE_PROBE(do_maskmov);
DEFINE_PROBE(do_maskmov, SAVE MASK_BYTES "pxor %xmm0, %xmm0\n\tmov " P ", " DI,
	     "maskmovdqu %xmm1, %xmm0", RESTORE);
DECLARE_PROBE(do_vmaskmov_store);
DEFINE_PROBE(do_vmaskmov_store, MASK_WORDS "vpxor %xmm0, %xmm0, %xmm0",
	     "vmaskmovps %xmm0, %xmm1, (" P ")", "");
DECLARE_PROBE(do_vmaskmov_load);
DEFINE_PROBE(do_vmaskmov_load, MASK_WORDS, "vmaskmovps (" P "), %xmm1, %xmm0",
	     "");
DECLARE_PROBE(do_vmovaps_store);
DEFINE_PROBE(do_vmovaps_store, "vxorps %ymm0, %ymm0, %ymm0",
	     "vmovaps %ymm0, (" P ")", "vzeroupper");
DECLARE_PROBE(do_vmovntps);
DEFINE_PROBE(do_vmovntps, "vxorps %ymm0, %ymm0, %ymm0",
	     "vmovntps %ymm0, (" P ")", "vzeroupper\n\tsfence");
DECLARE_PROBE(do_avx512_bytes);
DEFINE_PROBE(do_avx512_bytes, "mov $5, %eax\n\tkmovd %eax, %k1\n\t"
	     "vpxor %xmm0, %xmm0, %xmm0", "vmovdqu8 %xmm0, (" P "){%k1}", "");
/* Elements at 0, 8, 16 and 24 */
#define INDEXES		"mov $0x06040200, %eax\n\tvmovd %eax, %xmm2\n\t" \
			"vpmovzxbd %xmm2, %xmm2\n\t"
DECLARE_PROBE(do_gather);
DEFINE_PROBE(do_gather, INDEXES "vpcmpeqd %xmm1, %xmm1, %xmm1\n\t"
	     "vpxor %xmm0, %xmm0, %xmm0",
	     "vpgatherdd %xmm1, (" P ", %xmm2, 4), %xmm0", "");
DECLARE_PROBE(do_gather_masked);
DEFINE_PROBE(do_gather_masked, INDEXES MASK_WORDS "vpxor %xmm0, %xmm0, %xmm0",
	     "vpgatherdd %xmm1, (" P ", %xmm2, 4), %xmm0", "");
DECLARE_PROBE(do_scatter);
DEFINE_PROBE(do_scatter, INDEXES "mov $15, %eax\n\tkmovw %eax, %k1\n\t"
	     "vpxor %xmm0, %xmm0, %xmm0",
	     "vpscatterdd %xmm0, (" P ", %xmm2, 4){%k1}", "");

/* About the cache, not about memory */
DECLARE_PROBE(do_clflush);
DEFINE_PROBE(do_clflush, "", "clflush (" P ")", "");
DECLARE_PROBE(do_clflushopt);
DEFINE_PROBE(do_clflushopt, "", "clflushopt (" P ")", "sfence");
DECLARE_PROBE(do_prefetchnta);
DEFINE_PROBE(do_prefetchnta, "", "prefetchnta (" P ")", "");
DECLARE_PROBE(do_prefetchw);
DEFINE_PROBE(do_prefetchw, "", "prefetchw (" P ")", "");

enum feature {
	ANY, CX16, XSAVE, AVX, AVX2, AVX512, CLFLUSHOPT, PREFETCHW, LONG_MODE
};

/*
 * Whether CPU and kernel have it: SDM vol. 1, "Detection of AVX Instructions"
 * and its like for AVX2 and AVX-512; vol. 2, CPUID.
 */
static bool cpu_has(enum feature feature)
{
	unsigned int a, b, c = 0, d, b7 = 0, xcr0 = 0, high;

	__get_cpuid(1, &a, &b, &c, &d);
	if (c & 1U << 27)
		asm volatile("xgetbv" : "=a" (xcr0), "=d" (high) : "c" (0));
	if (feature == CX16)
		return c & 1U << 13;
	if (feature == XSAVE)
		return c & 1U << 27;
	if (feature == AVX)
		return (xcr0 & 6) == 6 && c & 1U << 28;
	__get_cpuid_count(7, 0, &a, &b7, &c, &d);
	if (feature == AVX2)
		return (xcr0 & 6) == 6 && b7 & 1U << 5;
	/* F, BW and VL */
	if (feature == AVX512)
		return (xcr0 & 0xe6) == 0xe6 && b7 & 1U << 16 &&
		       b7 & 1U << 30 && b7 & 1U << 31;
	if (feature == CLFLUSHOPT)
		return b7 & 1U << 23;
	if (feature == PREFETCHW)
		return __get_cpuid(0x80000001, &a, &b, &c, &d) && c & 1U << 8;
	if (feature == LONG_MODE)
		return __get_cpuid(0x80000001, &a, &b, &c, &d) && d & 1U << 29;
	return true;
}

/* What an instruction does to a byte; MAY is one trap at most, see above */
enum touch { NOT, READS, WRITES, MAY };

struct place {
	int at;
	enum touch touch;
};

struct form {
	struct probe probe;
	enum feature needs;
	void (*fill)(unsigned char *base);
	struct place places[8];
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

/* An area that says it has x87 and SSE, in the standard form */
static void fill_xrstor(unsigned char *base)
{
	fill_zero(base);
	asm volatile("fxsave (%0)" : : "r" (base) : "memory");
	memset(base + 416, 0, 512 - 416);
	base[512] = 3;
}

#define FORM(name, feature, init, ...)					\
	{								\
		.form.probe = PROBE_ENTRY(name, 0, false),		\
		.form.needs = (feature), .form.fill = (init),		\
		.form.places = { __VA_ARGS__ },				\
	}

FIXTURE(insn) {
	struct tracee t;
	unsigned char *memory;
};

FIXTURE_VARIANT(insn) {
	struct form form;
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
FIXTURE_VARIANT_ADD(insn, cmpxchg_that_fails_unlocked)
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
/* 464 to 511 are software's (SDM vol. 2, FXSAVE) */
FIXTURE_VARIANT_ADD(insn, fxsave)
	FORM(do_fxsave, ANY, NULL, { -1, NOT }, { 0, WRITES }, { 24, WRITES },
	     { 160, WRITES }, { 287, WRITES }, { 464, NOT }, { 511, NOT },
	     { 512, NOT });
FIXTURE_VARIANT_ADD(insn, fxrstor)
	FORM(do_fxrstor, ANY, fill_fxrstor, { -1, NOT }, { 0, READS },
	     { 24, READS }, { 160, READS }, { 287, READS }, { 512, NOT });
/* The header at 512 is read and written; AVX at 576 was not asked for */
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

/* A plain store follows, so that a hit that was lost or late is seen */
static void run_form(struct tracee *t)
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
	if (!cpu_has(variant->form.needs))
		SKIP(return, "this CPU does not have it");
	self->memory = shared_alloc(4 * PAGE);
}

FIXTURE_TEARDOWN(insn)
{
	tracee_stop(&self->t);
}

TEST_F(insn, traps_for_what_it_touches)
{
	const struct form *form = &variant->form;
	struct job job = {
		.fn = form->probe.fn, .at = self->memory + PAGE,
	};
	static const enum bp_type types[] = { BP_WRITE, BP_RW };
	struct tracee *t = &self->t;
	const struct trap sentinel = {
		.ip = probe_store4_next, .slots = 8, .progress = 2,
	};
	unsigned char then[3 * PAGE];
	unsigned int i;
	struct stop s;

	t->body = run_form;
	t->arg = &job;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 3, BP_WRITE, 4, job.at + 2 * PAGE));
	for (i = 0; i < 2 * ARRAY_SIZE(form->places); i++) {
		const struct place *place = &form->places[i / 2];
		const unsigned char *addr = job.at + place->at;
		enum bp_type type = types[i % 2];
		const struct trap hit = {
			.ip = form->probe.next, .slots = 1, .progress = 1,
		};
		bool owed = place->touch == WRITES ||
			    (place->touch == READS && type == BP_RW);

		/* The end of the table */
		if (i > 1 && !place->at && !place->touch)
			break;
		memset(self->memory, 0x5a, 4 * PAGE);
		if (form->fill)
			form->fill(job.at);
		ASSERT_EQ(0, tracee_arm(t, 0, type, 1, addr));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (owed || (place->touch == MAY && s.progress == 1)) {
			ASSERT_EQ(0, tracee_check_trap(t, &s, &hit)) {
				TH_LOG("byte %d watched", place->at);
			}
			/* Nothing of the instruction is still to come */
			memcpy(then, self->memory, sizeof(then));
			ASSERT_EQ(0, tracee_cont(t));
			ASSERT_EQ(0, tracee_wait(t, &s));
			ASSERT_EQ(0, memcmp(then, self->memory, sizeof(then)));
		}
		ASSERT_EQ(0, tracee_check_trap(t, &s, &sentinel)) {
			TH_LOG("byte %d watched", place->at);
		}
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
}

/* Several slots under one instruction: one trap with all their bits */
TEST_F(insn, one_trap_for_all_its_places)
{
	const struct form *form = &variant->form;
	struct job job = {
		.fn = form->probe.fn, .at = self->memory + PAGE,
	};
	struct tracee *t = &self->t;
	unsigned int i, slot = 0;

	t->body = run_form;
	t->arg = &job;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	memset(self->memory, 0x5a, 4 * PAGE);
	if (form->fill)
		form->fill(job.at);
	for (i = 0; i < ARRAY_SIZE(form->places) && slot < DR_SLOTS; i++)
		if (form->places[i].touch == READS ||
		    form->places[i].touch == WRITES)
			ASSERT_EQ(0, tracee_arm(t, slot++, BP_RW, 1, job.at +
						form->places[i].at));
	if (slot < DR_SLOTS)
		ASSERT_EQ(0, tracee_arm(t, slot, BP_WRITE, 4,
					job.at + 2 * PAGE));
	if (slot)
		ASSERT_EQ(0, tracee_expect_hit(t, (1U << slot) - 1,
					       form->probe.next, 1));
	if (slot < DR_SLOTS)
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << slot,
					       probe_store4_next, 2));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

/*
 * Repeated string instructions: one trap for each turn that touches, at the
 * instruction itself while there are turns to come and behind it after the
 * last.  P6 family processors may be one turn late with movs and stos (SDM
 * vol. 3, as above), and none of that family has long mode: there, and only
 * there, one turn more may have been done at the trap.
 */
#define TURNS	8

/* Memory and eax are alike everywhere, so that scas and cmps go on */
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

FIXTURE(rep) {
	struct tracee t;
	unsigned char *memory;
	bool late;
};

/* What is at the first pointer, and 512 bytes further */
FIXTURE_VARIANT(rep) {
	struct probe probe;
	int step;
	enum touch to;
	enum touch from;
	bool late;
};

#define REP(name, by, at_di, at_si, may_be_late)			\
	{								\
		.probe = PROBE_ENTRY(name, 0, false), .step = (by),	\
		.to = (at_di), .from = (at_si), .late = (may_be_late),	\
	}

FIXTURE_VARIANT_ADD(rep, movsb) REP(rep_movsb, 1, WRITES, READS, true);
FIXTURE_VARIANT_ADD(rep, movsl) REP(rep_movsl, 4, WRITES, READS, true);
FIXTURE_VARIANT_ADD(rep, movsl_down)
	REP(rep_movsl_down, -4, WRITES, READS, true);
FIXTURE_VARIANT_ADD(rep, stosb) REP(rep_stosb, 1, WRITES, NOT, true);
FIXTURE_VARIANT_ADD(rep, stosl) REP(rep_stosl, 4, WRITES, NOT, true);
FIXTURE_VARIANT_ADD(rep, stosl_down)
	REP(rep_stosl_down, -4, WRITES, NOT, true);
FIXTURE_VARIANT_ADD(rep, lodsl) REP(rep_lodsl, 4, NOT, READS, false);
FIXTURE_VARIANT_ADD(rep, lodsl_down)
	REP(rep_lodsl_down, -4, NOT, READS, false);
FIXTURE_VARIANT_ADD(rep, scasl) REP(rep_scasl, 4, READS, NOT, false);
FIXTURE_VARIANT_ADD(rep, scasl_down)
	REP(rep_scasl_down, -4, READS, NOT, false);
FIXTURE_VARIANT_ADD(rep, cmpsb) REP(rep_cmpsb, 1, READS, READS, false);
FIXTURE_VARIANT_ADD(rep, cmpsl_down)
	REP(rep_cmpsl_down, -4, READS, READS, false);

FIXTURE_SETUP(rep)
{
	self->memory = shared_alloc(4 * PAGE);
	memset(self->memory, 0x5a, 4 * PAGE);
	self->late = variant->late && !cpu_has(LONG_MODE);
}

FIXTURE_TEARDOWN(rep)
{
	tracee_stop(&self->t);
}

/* Continue to the trap of turn @turn, the first being 0 */
static int expect_turn(struct tracee *t, const struct probe *probe,
		       unsigned int slots, unsigned long turn, bool late)
{
	unsigned long done;
	struct trap hit = { .slots = slots, .progress = 1 };
	struct stop s;

	if (tracee_cont(t) || tracee_wait(t, &s))
		return 1;
	done = TURNS - ptrace(PTRACE_PEEKUSER, t->tid, REG_CX, NULL);
	hit.ip = turn + 1 < TURNS ? probe->at : probe->next;
	if (late && turn + 2 == TURNS && done == TURNS)
		hit.ip = probe->next;
	if (tracee_check_trap(t, &s, &hit))
		return 1;
	if (done == turn + 1 || (late && done == turn + 2))
		return 0;
	tracee_report(t, &s, "%lu turns done at the trap of turn %lu", done,
		      turn + 1);
	return 1;
}

static void watch_turns(struct __test_metadata *_metadata,
			struct _test_data_rep *self,
			const struct _fixture_variant_rep *variant,
			const unsigned int *turns, unsigned int n)
{
	struct job job = {
		.fn = variant->probe.fn, .at = self->memory + PAGE,
	};
	unsigned int i, size = abs(variant->step);
	struct tracee *t = &self->t;

	t->body = run_form;
	t->arg = &job;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	for (i = 0; i < 2 * n; i++) {
		enum touch touch = i % 2 ? variant->from : variant->to;
		unsigned char *first = job.at + (i % 2 ? 512 : 0);
		unsigned char *addr = first + (int)turns[i / 2] * variant->step;

		ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 1, addr + size - 1));
		if (touch == WRITES)
			ASSERT_EQ(0, expect_turn(t, &variant->probe, 1,
						 turns[i / 2], self->late));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 1, addr));
		if (touch)
			ASSERT_EQ(0, expect_turn(t, &variant->probe, 1,
						 turns[i / 2], self->late));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		/* Before the first turn, and behind the last */
		ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 1, first - variant->step));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 1,
					first + TURNS * variant->step));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
}

TEST_F(rep, traps_for_each_turn_that_touches)
{
	static const unsigned int turns[] = { 0, 3, TURNS - 2 };

	watch_turns(_metadata, self, variant, turns, ARRAY_SIZE(turns));
}

TEST_F(rep, stands_behind_it_after_the_last_turn)
{
	static const unsigned int turns[] = { TURNS - 1 };

	watch_turns(_metadata, self, variant, turns, ARRAY_SIZE(turns));
}

/* Two watchpoints apart from each other: a trap for each, in their order */
TEST_F(rep, traps_for_each_watchpoint)
{
	struct job job = {
		.fn = variant->probe.fn, .at = self->memory + PAGE,
	};
	unsigned char *first = job.at + (variant->to ? 0 : 512);
	struct tracee *t = &self->t;

	t->body = run_form;
	t->arg = &job;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 1, first + 5 * variant->step));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_RW, 1, first + variant->step));
	ASSERT_EQ(0, expect_turn(t, &variant->probe, 4, 1, self->late));
	ASSERT_EQ(0, expect_turn(t, &variant->probe, 2, 5, self->late));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
}

/* Pages that are not there, or not as before */
FIXTURE(page) {
	struct tracee t;
	unsigned char *page;
	size_t size;
};

FIXTURE_SETUP(page)
{
	self->size = 4 * PAGE;
	self->page = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(-1, (long)self->page);
}

FIXTURE_TEARDOWN(page)
{
	tracee_stop(&self->t);
	munmap(self->page, self->size);
}

/* A store over the border of two pages that are both not there */
static void store_over_border(struct tracee *t)
{
	unsigned char *page = t->arg;

	for (;;) {
		madvise(page, 2 * PAGE, MADV_DONTNEED);
		*t->progress = 1;
		probe_store4(page + PAGE - 2, 1);
		*t->progress = 2;
		tracee_sync();
	}
}

TEST_F(page, store_over_two_fresh_ones)
{
	struct tracee *t = &self->t;
	int off;

	t->body = store_over_border;
	t->arg = self->page;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	for (off = -2; off < 2; off++) {
		ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 1,
					self->page + PAGE + off));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	/* Both halves under one slot each: still one trap */
	ASSERT_EQ(0, tracee_disarm(t, 0));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_WRITE, 1, self->page + PAGE - 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
}

/* Gathers whose elements fault one after the other, the page border between */
static void gather_over_border(struct tracee *t)
{
	unsigned char *page = t->arg;

	for (;;) {
		madvise(page, 2 * PAGE, MADV_DONTNEED);
		*t->progress = 1;
		do_gather(page + PAGE - 16, 0);
		*t->progress = 2;
		tracee_sync();
	}
}

/*
 * A gather may stop in the middle, at its own ip, to deliver the trap of an
 * element before the fault of the next (SDM vol. 2, VPGATHERDD): one trap for
 * the element, at the instruction or behind it.
 */
TEST_F(page, gather_over_two_fresh_ones)
{
	struct tracee *t = &self->t;
	static const int at[] = { -16, -8, 0, 8 };
	struct stop s;
	unsigned int i;

	if (!cpu_has(AVX2))
		SKIP(return, "this CPU does not have AVX2");
	t->body = gather_over_border;
	t->arg = self->page;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		struct trap hit = {
			.ip = do_gather_next, .slots = 2, .progress = 1,
		};

		ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 1,
					self->page + PAGE + at[i]));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (s.ip == (unsigned long)do_gather_at)
			hit.ip = do_gather_at;
		ASSERT_EQ(0, tracee_check_trap(t, &s, &hit));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

static unsigned char *forbidden;

static void allow(int sig)
{
	(void)sig;
	mprotect(forbidden, PAGE, PROT_READ | PROT_WRITE);
}

/* Of the page's protections, in turn: none at all, and no writing */
static void touch_forbidden(struct tracee *t)
{
	struct sigaction action = { .sa_handler = allow };
	unsigned int i;

	forbidden = t->arg;
	sigaction(SIGSEGV, &action, NULL);
	forbidden[0] = 1;
	for (i = 0;; i++) {
		mprotect(forbidden, PAGE, i % 2 ? PROT_READ : PROT_NONE);
		*t->progress = 1;
		probe_store4(forbidden, i);
		*t->progress = 2;
		tracee_sync();
	}
}

/* An access that is refused is none; the one made after the handler is */
TEST_F(page, forbidden_then_allowed)
{
	struct tracee *t = &self->t;
	const struct trap hit = {
		.ip = probe_store4_next, .slots = 8, .progress = 1,
	};
	struct stop s;
	unsigned int i;

	t->body = touch_forbidden;
	t->arg = self->page;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 3, BP_RW, 4, self->page));
	skip_if_dead(_metadata, BY_PTRACE, NEEDS_RW);
	/* Its own first store, at no label */
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_EQ(TRAP_HWBKPT, s.info.si_code);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_TRUE(WIFSTOPPED(s.status));
		ASSERT_EQ(SIGSEGV, WSTOPSIG(s.status));
		ASSERT_EQ((unsigned long)probe_store4_at, s.ip);
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, SIGSEGV));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(0, tracee_check_trap(t, &s, &hit));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* The watched page goes elsewhere, and another one comes to its address */
static void move_page(struct tracee *t)
{
	unsigned char *page = t->arg, *other = page + 2 * PAGE;

	*t->progress = 1;
	probe_store4(page, 1);
	mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other);
	*t->progress = 2;
	probe_store4(other, 2);
	*t->progress = 3;
	if (mmap(page, PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
		return;
	probe_store4(page, 3);
	*t->progress = 4;
	munmap(page, PAGE);
	if (mmap(page, PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
		return;
	probe_load4(page, 0);
	*t->progress = 5;
	tracee_sync();
}

/* The slot watches the address, whatever is mapped there */
TEST_F(page, moved_and_replaced)
{
	struct tracee *t = &self->t;

	t->body = move_page;
	t->arg = self->page;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 4, self->page));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, 3));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_load4_next, 4));
	ASSERT_EQ(0, tracee_expect_sync(t, 5));
}

/* A huge page, and the bytes at its ends and in its middle */
#define HUGE	(2UL << 20)

static void touch_huge(struct tracee *t)
{
	unsigned char *huge = t->arg;

	*t->progress = 1;
	probe_store4(huge + HUGE / 2, 1);
	*t->progress = 2;
	probe_load4(huge, 0);
	*t->progress = 3;
	probe_store4(huge + HUGE - 4, 1);
	*t->progress = 4;
	tracee_sync();
}

static bool is_huge(pid_t pid, unsigned char *addr)
{
	unsigned long from, to, kilobytes = 0;
	bool inside = false;
	char line[512];
	FILE *f;

	snprintf(line, sizeof(line), "/proc/%d/smaps", pid);
	f = fopen(line, "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f) && !kilobytes) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= (unsigned long)addr &&
				 (unsigned long)addr < to;
		else if (inside)
			sscanf(line, "AnonHugePages: %lu", &kilobytes);
	}
	fclose(f);
	return kilobytes;
}

TEST_F(page, huge)
{
	struct tracee *t = &self->t;
	unsigned char *huge;
	bool is;

	munmap(self->page, self->size);
	self->size = 2 * HUGE;
	self->page = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(-1, (long)self->page);
	huge = (void *)(((unsigned long)self->page + HUGE - 1) & ~(HUGE - 1));
	madvise(huge, HUGE, MADV_HUGEPAGE);
	t->body = touch_huge;
	t->arg = huge;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, huge + HUGE / 2));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 1, huge + 3));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_WRITE, 1, huge + HUGE - 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	is = is_huge(t->tid, huge);
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_load4_next, 2));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 3));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
	if (!is)
		SKIP(return, "no huge page was to be had");
}

/* A page that another thread of the tracee fills in, at the first touch */
static int open_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd;

	/* UFFD_USER_MODE_ONLY, of 5.11: the unprivileged may have that */
	fd = syscall(SYS_userfaultfd, O_CLOEXEC | 1);
	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

struct server {
	unsigned char *page;
	int fd;
};

static void *serve(void *arg)
{
	struct server *server = arg;
	unsigned char content[PAGE] __attribute__((aligned(PAGE)));
	struct uffdio_copy copy = {
		.dst = (unsigned long)server->page,
		.src = (unsigned long)content,
		.len = PAGE,
	};
	struct pollfd ready = { .fd = server->fd, .events = POLLIN };
	struct uffd_msg msg;

	memset(content, 0x5a, sizeof(content));
	for (;;) {
		poll(&ready, 1, -1);
		if (read(server->fd, &msg, sizeof(msg)) == sizeof(msg))
			ioctl(server->fd, UFFDIO_COPY, &copy);
	}
	return NULL;
}

static void touch_served(struct tracee *t)
{
	struct server server = { .page = t->arg, .fd = open_userfaultfd() };
	struct uffdio_register where = {
		.range.start = (unsigned long)server.page, .range.len = PAGE,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	pthread_t thread;
	unsigned int i;

	if (ioctl(server.fd, UFFDIO_REGISTER, &where) ||
	    pthread_create(&thread, NULL, serve, &server))
		return;
	for (i = 0;; i++) {
		madvise(server.page, PAGE, MADV_DONTNEED);
		*t->progress = 2 * i + 1;
		if (i % 2)
			probe_load4(server.page, 0);
		else
			probe_store4(server.page, 1);
		*t->progress = 2 * i + 2;
		tracee_sync();
	}
}

TEST_F(page, served_by_userfaultfd)
{
	struct tracee *t = &self->t;
	int fd = open_userfaultfd();
	unsigned int i;

	skip_without_futex(_metadata);
	if (fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	close(fd);
	t->body = touch_served;
	t->arg = self->page;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 2, BP_RW, 4, self->page));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 4, i % 2 ? probe_load4_next :
					       probe_store4_next, 2 * i + 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2 * i + 2));
	}
}

TEST_HARNESS_MAIN
