// SPDX-License-Identifier: GPL-2.0
/*
 * Instruction forms: whatever touches watched memory traps once, behind the
 * instruction, with the memory as the instruction leaves it.
 *
 * SDM vol. 3, "Data Memory and I/O Breakpoint Exception Conditions": a trap,
 * after the instruction; APM vol. 2, 13.1.4.2.  Each form is made twice, under
 * a write and under a read/write watchpoint, with the watched bytes under the
 * access and right beside it.
 */
#include <cpuid.h>
#include <sys/mman.h>

#include "harness.h"
#include "probes.h"

#define P	PROBE_PTR
#define V	PROBE_VAL

#ifdef __x86_64__
#define BX	"%rbx"
#define SI	"%rsi"
#define DI	"%rdi"
#define SP	"%rsp"
#define CX	"%rcx"
#else
#define BX	"%ebx"
#define SI	"%esi"
#define DI	"%edi"
#define SP	"%esp"
#define CX	"%ecx"
#endif

/* What both calling conventions want back */
#define SAVE	"push " BX "\n\tpush " SI "\n\tpush " DI "\n\t"
#define RESTORE	"pop " DI "\n\tpop " SI "\n\tpop " BX

DECLARE_PROBE(inc_mem);
DEFINE_PROBE(inc_mem, "", "incl (" P ")", "");
DECLARE_PROBE(lock_inc);
DEFINE_PROBE(lock_inc, "", "lock incl (" P ")", "");
DECLARE_PROBE(xchg_mem);
DEFINE_PROBE(xchg_mem, "", "xchgl %eax, (" P ")", "");
DECLARE_PROBE(xadd_mem);
DEFINE_PROBE(xadd_mem, "", "lock xaddl %eax, (" P ")", "");
DECLARE_PROBE(cmp_mem);
DEFINE_PROBE(cmp_mem, "", "cmpl $0, (" P ")", "");
DECLARE_PROBE(test_mem);
DEFINE_PROBE(test_mem, "", "testl $1, (" P ")", "");
/* It compares, fails and writes back what was there: a write all the same */
DECLARE_PROBE(cmpxchg_fails);
DEFINE_PROBE(cmpxchg_fails, "movl $0x12345678, %eax\n\tmovl $1, %ecx",
	     "lock cmpxchgl %ecx, (" P ")", "");
DECLARE_PROBE(cmpxchg8b_fails);
DEFINE_PROBE(cmpxchg8b_fails,
	     SAVE "mov " P ", " SI "\n\tmovl $-1, %eax\n\tmovl $-1, %edx",
	     "lock cmpxchg8b (" SI ")", RESTORE);
DECLARE_PROBE(bts_far);
DEFINE_PROBE(bts_far, "movl $-32, %ecx", "btsl %ecx, 4(" P ")", "");
DECLARE_PROBE(sete_mem);
DEFINE_PROBE(sete_mem, "xorl %eax, %eax", "sete (" P ")", "");
DECLARE_PROBE(movnti_mem);
DEFINE_PROBE(movnti_mem, "", "movntil %eax, (" P ")", "");
DECLARE_PROBE(movups_store);
DEFINE_PROBE(movups_store, "xorps %xmm0, %xmm0", "movups %xmm0, (" P ")", "");
DECLARE_PROBE(movups_load);
DEFINE_PROBE(movups_load, "", "movups (" P "), %xmm0", "");
DECLARE_PROBE(movaps_store);
DEFINE_PROBE(movaps_store, "xorps %xmm0, %xmm0", "movaps %xmm0, (" P ")", "");
DECLARE_PROBE(movaps_load);
DEFINE_PROBE(movaps_load, "", "movaps (" P "), %xmm0", "");
DECLARE_PROBE(movntps_store);
DEFINE_PROBE(movntps_store, "xorps %xmm0, %xmm0", "movntps %xmm0, (" P ")", "sfence");
DECLARE_PROBE(fxsave_mem);
DEFINE_PROBE(fxsave_mem, "", "fxsave (" P ")", "");
DECLARE_PROBE(fstps_mem);
DEFINE_PROBE(fstps_mem, "fld1", "fstps (" P ")", "");
DECLARE_PROBE(flds_mem);
DEFINE_PROBE(flds_mem, "", "flds (" P ")", "fstp %st(0)");
DECLARE_PROBE(avx_store);
DEFINE_PROBE(avx_store, "vxorps %ymm0, %ymm0, %ymm0", "vmovups %ymm0, (" P ")",
	     "vzeroupper");
DECLARE_PROBE(avx_load);
DEFINE_PROBE(avx_load, "", "vmovups (" P "), %ymm0", "vzeroupper");
DECLARE_PROBE(prefetch_mem);
DEFINE_PROBE(prefetch_mem, "", "prefetcht0 (" P ")", "");
DECLARE_PROBE(lea_mem);
DEFINE_PROBE(lea_mem, "", "lea (" P "), " V, "");
DECLARE_PROBE(nop_mem);
DEFINE_PROBE(nop_mem, "", "nopl (" P ")", "");

/* The stack in watched memory: the word below, or at, the stack pointer */
DECLARE_PROBE(push_mem);
DEFINE_PROBE(push_mem, SAVE "mov " SP ", " BX "\n\tlea 2*(" PROBE_STR(__SIZEOF_LONG__)
	     ")(" P "), " SP "\n\tlea -" PROBE_STR(__SIZEOF_LONG__) "(" SP "), " SP,
	     "push " BX, "mov " BX ", " SP "\n\t" RESTORE);
DECLARE_PROBE(pop_mem);
DEFINE_PROBE(pop_mem, SAVE "mov " SP ", " BX "\n\tmov " P ", " SP,
	     "pop " CX, "mov " BX ", " SP "\n\t" RESTORE);
DECLARE_PROBE(call_mem);
DEFINE_PROBE(call_mem, SAVE "mov " SP ", " BX "\n\tlea " PROBE_STR(__SIZEOF_LONG__)
	     "(" P "), " SP, "call call_mem_next", "mov " BX ", " SP "\n\t" RESTORE);

/* String instructions, one element, either direction */
DECLARE_PROBE(movs_store);
DEFINE_PROBE(movs_store, SAVE "mov " P ", " DI "\n\tlea 64(" P "), " SI, "movsl", RESTORE);
DECLARE_PROBE(movs_load);
DEFINE_PROBE(movs_load, SAVE "mov " P ", " SI "\n\tlea 64(" P "), " DI, "movsl", RESTORE);
DECLARE_PROBE(movs_down);
DEFINE_PROBE(movs_down, SAVE "mov " P ", " DI "\n\tlea 64(" P "), " SI "\n\tstd",
	     "movsl", "cld\n\t" RESTORE);
DECLARE_PROBE(stos_mem);
DEFINE_PROBE(stos_mem, SAVE "mov " P ", " DI, "stosl", RESTORE);
DECLARE_PROBE(lods_mem);
DEFINE_PROBE(lods_mem, SAVE "mov " P ", " SI, "lodsl", RESTORE);
DECLARE_PROBE(scas_mem);
DEFINE_PROBE(scas_mem, SAVE "mov " P ", " DI, "scasl", RESTORE);
DECLARE_PROBE(cmps_mem);
DEFINE_PROBE(cmps_mem, SAVE "mov " P ", " SI "\n\tlea 64(" P "), " DI, "cmpsl", RESTORE);
/* rep with a count of one, and of none */
DECLARE_PROBE(rep_stos_1);
DEFINE_PROBE(rep_stos_1, SAVE "mov " P ", " DI "\n\tmov $1, %ecx", "rep stosl", RESTORE);
DECLARE_PROBE(rep_stos_0);
DEFINE_PROBE(rep_stos_0, SAVE "mov " P ", " DI "\n\txor %ecx, %ecx", "rep stosl",
	     RESTORE);
DECLARE_PROBE(rep_movs_0);
DEFINE_PROBE(rep_movs_0, SAVE "mov " P ", " DI "\n\tmov " P ", " SI
	     "\n\txor %ecx, %ecx", "rep movsl", RESTORE);

#ifdef __x86_64__
DECLARE_PROBE(cmpxchg16b_fails);
DEFINE_PROBE(cmpxchg16b_fails,
	     SAVE "mov %rdx, %rsi\n\tmov $-1, %rax\n\tmov $-1, %rdx",
	     "lock cmpxchg16b (%rsi)", RESTORE);
#endif

enum feature { ANY, AVX, CX16 };

struct form {
	struct probe probe;
	bool loads;
	enum feature needs;
};

#define FORM_OF(name, bytes, does_load, does_store, feature)		\
	{								\
		.form.probe = PROBE_ENTRY(name, bytes, does_store),	\
		.form.loads = (does_load), .form.needs = (feature),	\
	}

FIXTURE(form) {
	struct tracee t;
	unsigned char *memory;
};

FIXTURE_VARIANT(form) {
	struct form form;
};

FIXTURE_VARIANT_ADD(form, inc) FORM_OF(inc_mem, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(form, lock_inc) FORM_OF(lock_inc, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(form, xchg) FORM_OF(xchg_mem, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(form, lock_xadd) FORM_OF(xadd_mem, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(form, cmp) FORM_OF(cmp_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(form, test) FORM_OF(test_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(form, cmpxchg_that_fails)
	FORM_OF(cmpxchg_fails, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(form, cmpxchg8b_that_fails)
	FORM_OF(cmpxchg8b_fails, 8, true, true, ANY);
FIXTURE_VARIANT_ADD(form, bts_with_far_offset)
	FORM_OF(bts_far, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(form, sete) FORM_OF(sete_mem, 1, false, true, ANY);
FIXTURE_VARIANT_ADD(form, movnti) FORM_OF(movnti_mem, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(form, movups_store)
	FORM_OF(movups_store, 16, false, true, ANY);
FIXTURE_VARIANT_ADD(form, movups_load)
	FORM_OF(movups_load, 16, true, false, ANY);
FIXTURE_VARIANT_ADD(form, movaps_store)
	FORM_OF(movaps_store, 16, false, true, ANY);
FIXTURE_VARIANT_ADD(form, movaps_load)
	FORM_OF(movaps_load, 16, true, false, ANY);
FIXTURE_VARIANT_ADD(form, movntps) FORM_OF(movntps_store, 16, false, true, ANY);
FIXTURE_VARIANT_ADD(form, fst) FORM_OF(fstps_mem, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(form, fld) FORM_OF(flds_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(form, fxsave) FORM_OF(fxsave_mem, 16, false, true, ANY);
FIXTURE_VARIANT_ADD(form, avx_store) FORM_OF(avx_store, 32, false, true, AVX);
FIXTURE_VARIANT_ADD(form, avx_load) FORM_OF(avx_load, 32, true, false, AVX);
FIXTURE_VARIANT_ADD(form, prefetch)
	FORM_OF(prefetch_mem, 4, false, false, ANY);
FIXTURE_VARIANT_ADD(form, lea) FORM_OF(lea_mem, 4, false, false, ANY);
FIXTURE_VARIANT_ADD(form, long_nop) FORM_OF(nop_mem, 4, false, false, ANY);
FIXTURE_VARIANT_ADD(form, push)
	FORM_OF(push_mem, sizeof(long), false, true, ANY);
FIXTURE_VARIANT_ADD(form, pop) FORM_OF(pop_mem, sizeof(long), true, false, ANY);
FIXTURE_VARIANT_ADD(form, call)
	FORM_OF(call_mem, sizeof(long), false, true, ANY);
FIXTURE_VARIANT_ADD(form, movs_store) FORM_OF(movs_store, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(form, movs_load) FORM_OF(movs_load, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(form, movs_down) FORM_OF(movs_down, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(form, stos) FORM_OF(stos_mem, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(form, lods) FORM_OF(lods_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(form, scas) FORM_OF(scas_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(form, cmps) FORM_OF(cmps_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(form, rep_stos_of_one)
	FORM_OF(rep_stos_1, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(form, rep_stos_of_none)
	FORM_OF(rep_stos_0, 4, false, false, ANY);
FIXTURE_VARIANT_ADD(form, rep_movs_of_none)
	FORM_OF(rep_movs_0, 4, false, false, ANY);
#ifdef __x86_64__
FIXTURE_VARIANT_ADD(form, cmpxchg16b_that_fails)
	FORM_OF(cmpxchg16b_fails, 16, true, true, CX16);
#endif

/* CPUID.1:ECX[28] and XCR0[2:1], as SDM vol. 1 "Detection of Intel AVX" wants */
static bool cpu_has(enum feature needs)
{
	unsigned int a, b, c, d;

	if (needs == ANY || !__get_cpuid(1, &a, &b, &c, &d))
		return needs == ANY;
	if (needs == CX16)
		return c & 1U << 13;
	if (!(c & 1U << 27) || !(c & 1U << 28))
		return false;
	asm volatile("xgetbv" : "=a" (a), "=d" (d) : "c" (0));
	return (a & 6) == 6;
}

struct job {
	const struct probe *probe;
	unsigned char *at;
};

static void run_form(struct tracee *t)
{
	const struct job *job = t->arg;

	for (;;) {
		*t->progress = 1;
		job->probe->fn(job->at, 1);
		*t->progress = 2;
		tracee_sync();
	}
}

FIXTURE_SETUP(form)
{
	if (!cpu_has(variant->form.needs))
		SKIP(return, "this CPU does not have it");
	self->memory = shared_alloc(4096);
}

FIXTURE_TEARDOWN(form)
{
	tracee_stop(&self->t);
}

TEST_F(form, traps_once_behind_it)
{
	const struct probe *probe = &variant->form.probe;
	struct job job = { .probe = probe, .at = self->memory + 2048 };
	struct tracee *t = &self->t;
	unsigned int i, last = probe->size - 1;
	const struct {
		const unsigned char *addr;
		bool under;
	} places[] = {
		{ job.at, true },
		{ job.at + last, true },
		{ job.at - 1, false },
		{ job.at + probe->size, false },
	};

	/* The harness of 6.1 goes on where the set-up has skipped */
	if (!self->memory)
		return;
	t->body = run_form;
	t->arg = &job;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		/* fxsave writes 512 bytes, of which the first are looked at */
		if (probe->fn == fxsave_mem && i == 3)
			continue;
		ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 1, places[i].addr));
		if (places[i].under && probe->store)
			ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));

		ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 1, places[i].addr));
		if (places[i].under && (probe->store || variant->form.loads))
			ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/*
 * Accesses that cross a cache line or a page are two accesses for the memory,
 * and one instruction for the breakpoint: one trap, whichever half is watched.
 */
FIXTURE(places) {
	struct tracee t;
};

FIXTURE_SETUP(places)
{
}

FIXTURE_TEARDOWN(places)
{
	tracee_stop(&self->t);
}

TEST_F(places, across_a_line_or_a_page)
{
	unsigned char *memory = shared_alloc(2 * 4096);
	static const unsigned int borders[] = { 2048, 4096 };
	struct tracee *t = &self->t;
	unsigned int i, b;
	int off;

	for (i = 0; i < PROBE_ACCESSES; i++) {
		const struct probe *probe = &probe_access[i];
		struct job job = { .probe = probe };

		if (probe->size == 1)
			continue;
		for (b = 0; b < ARRAY_SIZE(borders); b++) {
			job.at = memory + borders[b] - probe->size / 2;
			t->body = run_form;
			t->arg = &job;
			if (!start(_metadata, t, TRACEE_TRACEME))
				return;
			for (off = 0; off < (int)probe->size; off++) {
				ASSERT_EQ(0, tracee_arm(t, 3, BP_RW, 1,
							job.at + off));
				ASSERT_EQ(0, tracee_expect_hit(t, 8,
							       probe->next, 1));
				ASSERT_EQ(0, tracee_expect_sync(t, 2));
			}
			tracee_stop(t);
		}
	}
}

struct touch {
	unsigned char *page;
	bool read_first;
};

static void touch_page(struct tracee *t)
{
	const struct touch *touch = t->arg;

	*t->progress = 1;
	if (touch->read_first)
		probe_load4(touch->page, 0);
	*t->progress = 2;
	probe_store4(touch->page, 2);
	*t->progress = 3;
	probe_store4(touch->page, 3);
	*t->progress = 4;
	tracee_sync();
}

/*
 * The first touch of a page faults, and the instruction is made again: the
 * fault is no access, the retry is, once.  So it is where fork() has left a
 * page to be copied, and where a read has mapped the zero page before.
 */
static void first_touch(struct __test_metadata *_metadata, struct tracee *t,
			bool read_first, bool touched_before_fork)
{
	unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct touch touch = { .page = page, .read_first = read_first };

	ASSERT_NE(-1, (long)page);
	if (touched_before_fork)
		page[0] = 1;
	t->body = touch_page;
	t->arg = &touch;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 2, BP_RW, 4, page));
	if (read_first)
		ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_load4_next, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 2));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 3));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
}

TEST_F(places, fresh_page_written)
{
	first_touch(_metadata, &self->t, false, false);
}

TEST_F(places, fresh_page_read_then_written)
{
	first_touch(_metadata, &self->t, true, false);
}

TEST_F(places, page_copied_on_write_after_fork)
{
	first_touch(_metadata, &self->t, true, true);
}

/* The watchpoint is on an address, not on memory: another mapping owes none */
TEST_F(places, written_through_another_address)
{
	unsigned char *page = shared_alloc(4096);
	unsigned char *other = mremap(page, 0, 4096, MREMAP_MAYMOVE);
	struct job job = { .probe = &probe_access[2], .at = other };
	struct tracee *t = &self->t;

	ASSERT_NE(-1, (long)other);
	ASSERT_NE((long)page, (long)other);
	t->body = run_form;
	t->arg = &job;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, page));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, other));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_access[2].next, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
}

TEST_HARNESS_MAIN
