/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Registers, CPU features and gathers, for the tests of single instructions.
 */
#ifndef HW_BREAKPOINT_INSN_H
#define HW_BREAKPOINT_INSN_H

#include <cpuid.h>
#include <stdbool.h>

#include "environment.h"
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

/* Callee-saved registers; the stack pointer is saved in BX */
#define SAVE	"push " BX "\n\tpush " SI "\n\tpush " DI "\n\tpush " BP	\
		"\n\tmov " SP ", " BX "\n\t"
#define RESTORE	"mov " BX ", " SP "\n\tpop " BP "\n\tpop " DI "\n\tpop " \
		SI "\n\tpop " BX

/* Partial vectors: of four elements, or of sixteen bytes, 0 and 2 */
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

enum feature {
	ANY, CX16, XSAVE, AVX, AVX2, AVX512, CLFLUSHOPT, PREFETCHW, LONG_MODE,
	RDTSCP, RDRAND, RDSEED
};

/*
 * Whether CPU and kernel support it: SDM vol. 1, "Detection of AVX
 * Instructions" and the same for AVX2 and AVX-512; vol. 2, CPUID.
 */
static inline bool cpu_has(enum feature feature)
{
	unsigned int a, b, c = 0, d, b7 = 0, xcr0 = 0, high;

	__get_cpuid(1, &a, &b, &c, &d);
	if (c & 1U << 27)
		asm volatile("xgetbv" : "=a" (xcr0), "=d" (high) : "c" (0));
	if (feature == CX16)
		return c & 1U << 13;
	if (feature == RDRAND)
		return c & 1U << 30;
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
	if (feature == RDSEED)
		return b7 & 1U << 18;
	if (feature == CLFLUSHOPT)
		return b7 & 1U << 23;
	if (feature == PREFETCHW)
		return __get_cpuid(0x80000001, &a, &b, &c, &d) && c & 1U << 8;
	if (feature == RDTSCP)
		return __get_cpuid(0x80000001, &a, &b, &c, &d) && d & 1U << 27;
	if (feature == LONG_MODE)
		return __get_cpuid(0x80000001, &a, &b, &c, &d) && d & 1U << 29;
	return true;
}

#endif /* HW_BREAKPOINT_INSN_H */
