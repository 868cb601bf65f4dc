/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Probes: the instructions that are watched.  Each is a function with a label on
 * the instruction and another one after it.  An execute breakpoint must be
 * reported at the first label, a data breakpoint at the second.
 */
#ifndef HW_BREAKPOINT_PROBES_H
#define HW_BREAKPOINT_PROBES_H

#include <stdbool.h>

#define PROBE_STR_(x)	#x
#define PROBE_STR(x)	PROBE_STR_(x)

/*
 * The address of a probe is in PROBE_PTR, its value in PROBE_VAL.  These two and
 * PROBE_TMP are caller-saved in both calling conventions.
 */
#ifdef __x86_64__
#define PROBE_PTR	"%rdx"
#define PROBE_VAL	"%rax"
#define PROBE_TMP	"%rcx"
#define PROBE_SP	"%rsp"
#define PROBE_ARGS	"mov %rdi, %rdx\n\tmov %rsi, %rax\n"
#else
#define PROBE_PTR	"%edx"
#define PROBE_VAL	"%eax"
#define PROBE_TMP	"%ecx"
#define PROBE_SP	"%esp"
#define PROBE_ARGS	"mov 4(%esp), %edx\n\tmov 8(%esp), %eax\n"
#endif

/**
 * DEFINE_PROBE() - define a function with one watched instruction
 * @name: its name; the labels are name_at and name_next
 * @setup: assembly before the instruction, in addition to PROBE_ARGS
 * @insn: the watched instruction
 * @after: assembly between the instruction and the return
 *
 * To be used at file scope, with a DECLARE_PROBE().  The function is
 * void name(void *addr, unsigned long val).
 */
#define DEFINE_PROBE(name, setup, insn, after)				\
	asm(".pushsection .text\n"					\
	    ".globl " #name ", " #name "_at, " #name "_next\n"		\
	    ".hidden " #name ", " #name "_at, " #name "_next\n"		\
	    ".type " #name ", @function\n"				\
	    ".balign 16\n"						\
	    #name ":\n\t" PROBE_ARGS "\t" setup "\n"			\
	    #name "_at:\n\t" insn "\n"					\
	    #name "_next:\n\t" after "\n\tret\n"			\
	    ".size " #name ", . - " #name "\n"				\
	    ".popsection\n")

/**
 * DECLARE_PROBE() - declare a probe and its labels
 * @name: as in DEFINE_PROBE()
 */
#define DECLARE_PROBE(name)						\
	void name(void *addr, unsigned long val);			\
	extern const char name##_at[], name##_next[]

/**
 * struct probe - description of a probe that accesses memory
 * @name: for messages
 * @fn: the function; accesses @size bytes at its first argument
 * @at: the watched instruction
 * @next: the instruction after it
 * @size: number of bytes accessed
 * @store: whether it writes (its second argument) or reads
 */
struct probe {
	const char *name;
	void (*fn)(void *addr, unsigned long val);
	const char *at;
	const char *next;
	unsigned int size;
	bool store;
};

#define PROBE_ENTRY(probe, bytes, writes)				\
	{								\
		.name = #probe, .fn = probe,				\
		.at = probe##_at, .next = probe##_next,			\
		.size = (bytes), .store = (writes),			\
	}

/* Plain stores and loads of 1, 2, 4 and 8 bytes, in this order */
#define PROBE_ACCESSES	8
extern const struct probe probe_access[PROBE_ACCESSES];

DECLARE_PROBE(probe_store1);
DECLARE_PROBE(probe_store2);
DECLARE_PROBE(probe_store4);
DECLARE_PROBE(probe_store8);
DECLARE_PROBE(probe_load1);
DECLARE_PROBE(probe_load2);
DECLARE_PROBE(probe_load4);
DECLARE_PROBE(probe_load8);

/*
 * Targets for execute breakpoints: identical functions, 16 bytes apart, that
 * store their second argument at their first.  The breakpoint is set on the first
 * instruction, so that at the trap the store has not been done yet.
 */
#define PROBE_TARGETS	64
#define PROBE_TARGET_SIZE 16
extern const char probe_targets[];

/**
 * probe_target() - address of an execute target
 * @n: 0 to PROBE_TARGETS - 1
 *
 * Return: its first instruction.
 */
static inline const char *probe_target(unsigned int n)
{
	return probe_targets + n * PROBE_TARGET_SIZE;
}

/**
 * probe_call_target() - call an execute target
 * @n: 0 to PROBE_TARGETS - 1
 * @addr: the address that it stores to
 * @val: the value that it stores
 */
static inline void probe_call_target(unsigned int n, unsigned long *addr,
				     unsigned long val)
{
	((void (*)(unsigned long *, unsigned long))
		(unsigned long)probe_target(n))(addr, val);
}

#endif /* HW_BREAKPOINT_PROBES_H */
