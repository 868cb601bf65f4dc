// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions that access watched memory trap once, after the instruction,
 * with the memory as the instruction leaves it.
 *
 * SDM vol. 3, "Data Memory and I/O Breakpoint Exception Conditions": a trap,
 * after the instruction; APM vol. 2, 13.1.4.2.  Each instruction is executed
 * under a write and under a read/write watchpoint, with the watched bytes
 * within the access and right beside it.
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

/* Registers that are callee-saved in both calling conventions */
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
/* The comparison fails, and the old value is written back: that is a write */
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

/* The stack is in watched memory: the word below, or at, the stack pointer */
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

/* String instructions, one element, both directions */
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
/* rep with a count of one, and of zero */
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

struct access_insn {
	struct probe probe;
	bool loads;
	enum feature needs;
};

#define FORM_OF(name, bytes, does_load, does_store, feature)		\
	{								\
		.access_insn.probe = PROBE_ENTRY(name, bytes, does_store),	\
		.access_insn.loads = (does_load), .access_insn.needs = (feature),	\
	}

FIXTURE(access) {
	struct tracee t;
	unsigned char *memory;
};

FIXTURE_VARIANT(access) {
	struct access_insn access_insn;
};

FIXTURE_VARIANT_ADD(access, inc) FORM_OF(inc_mem, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(access, lock_inc) FORM_OF(lock_inc, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(access, xchg) FORM_OF(xchg_mem, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(access, lock_xadd) FORM_OF(xadd_mem, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(access, cmp) FORM_OF(cmp_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(access, test) FORM_OF(test_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(access, failing_cmpxchg)
	FORM_OF(cmpxchg_fails, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(access, failing_cmpxchg8b)
	FORM_OF(cmpxchg8b_fails, 8, true, true, ANY);
FIXTURE_VARIANT_ADD(access, bts_far)
	FORM_OF(bts_far, 4, true, true, ANY);
FIXTURE_VARIANT_ADD(access, sete) FORM_OF(sete_mem, 1, false, true, ANY);
FIXTURE_VARIANT_ADD(access, movnti) FORM_OF(movnti_mem, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(access, movups_store)
	FORM_OF(movups_store, 16, false, true, ANY);
FIXTURE_VARIANT_ADD(access, movups_load)
	FORM_OF(movups_load, 16, true, false, ANY);
FIXTURE_VARIANT_ADD(access, movaps_store)
	FORM_OF(movaps_store, 16, false, true, ANY);
FIXTURE_VARIANT_ADD(access, movaps_load)
	FORM_OF(movaps_load, 16, true, false, ANY);
FIXTURE_VARIANT_ADD(access, movntps) FORM_OF(movntps_store, 16, false, true, ANY);
FIXTURE_VARIANT_ADD(access, fst) FORM_OF(fstps_mem, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(access, fld) FORM_OF(flds_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(access, fxsave) FORM_OF(fxsave_mem, 16, false, true, ANY);
FIXTURE_VARIANT_ADD(access, avx_store) FORM_OF(avx_store, 32, false, true, AVX);
FIXTURE_VARIANT_ADD(access, avx_load) FORM_OF(avx_load, 32, true, false, AVX);
FIXTURE_VARIANT_ADD(access, prefetch)
	FORM_OF(prefetch_mem, 4, false, false, ANY);
FIXTURE_VARIANT_ADD(access, lea) FORM_OF(lea_mem, 4, false, false, ANY);
FIXTURE_VARIANT_ADD(access, long_nop) FORM_OF(nop_mem, 4, false, false, ANY);
FIXTURE_VARIANT_ADD(access, push)
	FORM_OF(push_mem, sizeof(long), false, true, ANY);
FIXTURE_VARIANT_ADD(access, pop) FORM_OF(pop_mem, sizeof(long), true, false, ANY);
FIXTURE_VARIANT_ADD(access, call)
	FORM_OF(call_mem, sizeof(long), false, true, ANY);
FIXTURE_VARIANT_ADD(access, movs_store) FORM_OF(movs_store, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(access, movs_load) FORM_OF(movs_load, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(access, movs_down) FORM_OF(movs_down, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(access, stos) FORM_OF(stos_mem, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(access, lods) FORM_OF(lods_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(access, scas) FORM_OF(scas_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(access, cmps) FORM_OF(cmps_mem, 4, true, false, ANY);
FIXTURE_VARIANT_ADD(access, rep_stos_count_1)
	FORM_OF(rep_stos_1, 4, false, true, ANY);
FIXTURE_VARIANT_ADD(access, rep_stos_count_0)
	FORM_OF(rep_stos_0, 4, false, false, ANY);
FIXTURE_VARIANT_ADD(access, rep_movs_count_0)
	FORM_OF(rep_movs_0, 4, false, false, ANY);
#ifdef __x86_64__
FIXTURE_VARIANT_ADD(access, failing_cmpxchg16b)
	FORM_OF(cmpxchg16b_fails, 16, true, true, CX16);
#endif

/* CPUID.1:ECX[28] and XCR0[2:1], see SDM vol. 1 "Detection of Intel AVX" */
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

struct access_job {
	const struct probe *probe;
	unsigned char *at;
};

static void run_access(struct tracee *t)
{
	const struct access_job *access_job = t->arg;

	for (;;) {
		*t->progress = 1;
		access_job->probe->fn(access_job->at, 1);
		*t->progress = 2;
		tracee_sync();
	}
}

FIXTURE_SETUP(access)
{
	if (!cpu_has(variant->access_insn.needs))
		SKIP(return, SKIP_NO_INSN);
	self->memory = shared_alloc(4096);
}

FIXTURE_TEARDOWN(access)
{
	tracee_stop(&self->t);
}

TEST_F(access, traps_once_after_insn)
{
	const struct probe *probe = &variant->access_insn.probe;
	struct access_job access_job = { .probe = probe, .at = self->memory + 2048 };
	struct tracee *t = &self->t;
	unsigned int i, last = probe->size - 1;
	const struct {
		const unsigned char *addr;
		bool under;
	} places[] = {
		{ access_job.at, true },
		{ access_job.at + last, true },
		{ access_job.at - 1, false },
		{ access_job.at + probe->size, false },
	};

	/* The harness of 6.1 runs the test even if the setup has skipped it */
	if (!self->memory)
		return;
	t->body = run_access;
	t->arg = &access_job;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		/* fxsave writes 512 bytes, of which the first are checked */
		if (probe->fn == fxsave_mem && i == 3)
			continue;
		ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 1, places[i].addr));
		if (places[i].under && probe->store)
			ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));

		ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 1, places[i].addr));
		if (places[i].under && (probe->store || variant->access_insn.loads))
			ASSERT_EQ(0, tracee_expect_hit(t, 1, probe->next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/*
 * An access across a cache line or a page is split in memory, but is one access
 * for the breakpoint: one trap, whichever half is watched.
 */
FIXTURE(access_page) {
	struct tracee t;
};

FIXTURE_SETUP(access_page)
{
}

FIXTURE_TEARDOWN(access_page)
{
	tracee_stop(&self->t);
}

TEST_F(access_page, across_line_or_page)
{
	unsigned char *memory = shared_alloc(2 * 4096);
	static const unsigned int borders[] = { 2048, 4096 };
	struct tracee *t = &self->t;
	unsigned int i, b;
	int off;

	for (i = 0; i < PROBE_ACCESSES; i++) {
		const struct probe *probe = &probe_access[i];
		struct access_job access_job = { .probe = probe };

		if (probe->size == 1)
			continue;
		for (b = 0; b < ARRAY_SIZE(borders); b++) {
			access_job.at = memory + borders[b] - probe->size / 2;
			t->body = run_access;
			t->arg = &access_job;
			start_tracee(_metadata, t, TRACEE_TRACEME);
			for (off = 0; off < (int)probe->size; off++) {
				ASSERT_EQ(0, tracee_arm(t, 3, BP_RW, 1,
							access_job.at + off));
				ASSERT_EQ(0, tracee_expect_hit(t, 8,
							       probe->next, 1));
				ASSERT_EQ(0, tracee_expect_sync(t, 2));
			}
			tracee_stop(t);
		}
	}
}

struct page_access {
	unsigned char *page;
	bool read_first;
};

static void access_page_once(struct tracee *t)
{
	const struct page_access *page_access = t->arg;

	*t->progress = 1;
	if (page_access->read_first)
		probe_load4(page_access->page, 0);
	*t->progress = 2;
	probe_store4(page_access->page, 2);
	*t->progress = 3;
	probe_store4(page_access->page, 3);
	*t->progress = 4;
	tracee_sync();
}

/*
 * The first access to a page faults, and the instruction is restarted: only the
 * restarted access traps, once.  The same for a page that is copied on write
 * after fork(), and for the zero page that a read has mapped.
 */
static void first_access(struct __test_metadata *_metadata, struct tracee *t,
			 bool read_first, bool touched_before_fork)
{
	unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct page_access page_access = { .page = page, .read_first = read_first };

	ASSERT_NE(-1, (long)page);
	if (touched_before_fork)
		page[0] = 1;
	t->body = access_page_once;
	t->arg = &page_access;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 2, BP_RW, 4, page));
	if (read_first)
		ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_load4_next, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 2));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 3));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
}

TEST_F(access_page, new_page_written)
{
	first_access(_metadata, &self->t, false, false);
}

TEST_F(access_page, new_page_read_then_written)
{
	first_access(_metadata, &self->t, true, false);
}

TEST_F(access_page, page_copied_on_write_after_fork)
{
	first_access(_metadata, &self->t, true, true);
}

/*
 * The watchpoint is on an address, not on memory: another mapping does not trap
 */
TEST_F(access_page, other_mapping_does_not_trap)
{
	unsigned char *page = shared_alloc(4096);
	unsigned char *other = mremap(page, 0, 4096, MREMAP_MAYMOVE);
	struct access_job access_job = { .probe = &probe_access[2], .at = other };
	struct tracee *t = &self->t;

	ASSERT_NE(-1, (long)other);
	ASSERT_NE((long)page, (long)other);
	t->body = run_access;
	t->arg = &access_job;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, page));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, other));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_access[2].next, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
}

TEST_HARNESS_MAIN
