// SPDX-License-Identifier: GPL-2.0
/*
 * Probes used by several programs: plain stores and loads, and the targets of
 * execute breakpoints.
 */
#include "probes.h"

DEFINE_PROBE(probe_store1, "", "movb %al, (" PROBE_PTR ")", "");
DEFINE_PROBE(probe_store2, "", "movw %ax, (" PROBE_PTR ")", "");
DEFINE_PROBE(probe_store4, "", "movl %eax, (" PROBE_PTR ")", "");
DEFINE_PROBE(probe_load1, "", "movb (" PROBE_PTR "), %al", "");
DEFINE_PROBE(probe_load2, "", "movw (" PROBE_PTR "), %ax", "");
DEFINE_PROBE(probe_load4, "", "movl (" PROBE_PTR "), %eax", "");

/* One access of eight bytes; 32-bit code needs the x87 for it */
#ifdef __x86_64__
DEFINE_PROBE(probe_store8, "", "movq %rax, (%rdx)", "");
DEFINE_PROBE(probe_load8, "", "movq (%rdx), %rax", "");
#else
DEFINE_PROBE(probe_store8,
	     "pushl $0\n\tpushl %eax\n\tfildll (%esp)\n\taddl $8, %esp",
	     "fistpll (%edx)", "");
DEFINE_PROBE(probe_load8, "", "fildll (%edx)", "fstp %st(0)");
#endif

const struct probe probe_access[PROBE_ACCESSES] = {
	PROBE_ENTRY(probe_store1, 1, true),
	PROBE_ENTRY(probe_store2, 2, true),
	PROBE_ENTRY(probe_store4, 4, true),
	PROBE_ENTRY(probe_store8, 8, true),
	PROBE_ENTRY(probe_load1, 1, false),
	PROBE_ENTRY(probe_load2, 2, false),
	PROBE_ENTRY(probe_load4, 4, false),
	PROBE_ENTRY(probe_load8, 8, false),
};

asm(".pushsection .text\n"
	".globl probe_targets\n"
	".hidden probe_targets\n"
	".type probe_targets, @function\n"
	".balign 64\n"
	"probe_targets:\n"
	".rept " PROBE_STR(PROBE_TARGETS) "\n"
	"nop\n"
	PROBE_ARGS "\t"
	"mov " PROBE_VAL ", (" PROBE_PTR ")\n"
	"ret\n"
	".balign " PROBE_STR(PROBE_TARGET_SIZE) ", 0x90\n"
	".endr\n"
	".size probe_targets, . - probe_targets\n"
	".popsection\n");
