/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The x86 debug registers as user space sees them: slots, types, lengths, and
 * the encoding of DR6 and DR7.
 *
 * Intel SDM vol. 3B, "Debug, Branch Profile, TSC, ..." (chapter 17 or 18
 * depending on the edition), sections "Debug Registers" and "Debug Exceptions";
 * AMD APM vol. 2, 13.1.1 "Debug Registers".  For the bits that the kernel
 * shows to a tracer see ptrace_get_debugreg() and ptrace_set_debugreg() in
 * arch/x86/kernel/ptrace.c.
 */
#ifndef HW_BREAKPOINT_DEBUGREG_H
#define HW_BREAKPOINT_DEBUGREG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/user.h>

/* Slots: DR0 to DR3 */
#define DR_SLOTS	4
#define DR_SLOTS_ALL	((1U << DR_SLOTS) - 1)

/**
 * enum bp_type - what trips a slot: the R/W field of DR7, two bits a slot
 * @BP_EXECUTE: instruction execution; LEN must be 1
 * @BP_WRITE: data writes
 * @BP_IO: I/O reads and writes if CR4.DE is set; refused by Linux
 * @BP_RW: data reads and writes, but no instruction fetches
 */
enum bp_type {
	BP_EXECUTE	= 0,
	BP_WRITE	= 1,
	BP_IO		= 2,
	BP_RW		= 3,
};

/* Bits of DR7; for the fields of a slot see dr7_encode() */
#define DR7_LOCAL(slot)		(1UL << (2 * (slot)))
#define DR7_GLOBAL(slot)	(2UL << (2 * (slot)))
#define DR7_FIELD(slot, code)	((unsigned long)(code) << (16 + 4 * (slot)))
#define DR7_LE			0x100UL
#define DR7_GE			0x200UL
#define DR7_RTM			0x800UL
#define DR7_GD			0x2000UL

/*
 * DR6 without any debug condition, its value after reset.  The kernel shows each
 * condition to a tracer by inverting its bit (ptrace_get_debugreg() in
 * arch/x86/kernel/ptrace.c: virtual_dr6 ^ DR6_RESERVED).
 */
#define DR6_NONE		0xffff0ff0UL
#define DR6_BD			0x2000UL
#define DR6_BS			0x4000UL
#define DR6_BT			0x8000UL

/**
 * dr_offset() - offset of a debug register for PTRACE_PEEKUSER and POKEUSER
 * @n: 0 to 7; 4 and 5 do not exist
 *
 * Return: the offset in struct user, in bytes.
 */
static inline size_t dr_offset(unsigned int n)
{
	return offsetof(struct user, u_debugreg) +
	       n * sizeof(((struct user *)0)->u_debugreg[0]);
}

/**
 * dr7_len_code() - the LEN field for a length
 * @len: 1, 2, 4 or 8 bytes
 *
 * The code for eight bytes is 10b; 11b means four.
 *
 * Return: the two bits.
 */
static inline unsigned int dr7_len_code(unsigned int len)
{
	return len == 8 ? 2 : len - 1;
}

/**
 * dr7_mask() - all bits of DR7 that belong to one slot
 * @slot: 0 to 3
 *
 * Return: both enable bits and the R/W and LEN fields.
 */
static inline unsigned long dr7_mask(unsigned int slot)
{
	return DR7_LOCAL(slot) | DR7_GLOBAL(slot) | DR7_FIELD(slot, 0xf);
}

/**
 * dr7_encode() - the bits of DR7 that arm one slot
 * @slot: 0 to 3
 * @type: what trips it
 * @len: 1, 2, 4 or 8 bytes; 1 for BP_EXECUTE
 *
 * Return: the local enable bit and the slot's R/W and LEN fields.
 */
static inline unsigned long dr7_encode(unsigned int slot, enum bp_type type,
				       unsigned int len)
{
	return DR7_LOCAL(slot) |
	       DR7_FIELD(slot, (dr7_len_code(len) << 2) | type);
}

/**
 * dr6_encode() - the expected DR6 after a stop
 * @slots: the slots that were hit, bit n for DRn
 * @step: whether a single-step has completed as well
 *
 * Return: the value that PTRACE_PEEKUSER must return.
 */
static inline unsigned long dr6_encode(unsigned int slots, bool step)
{
	return DR6_NONE ^ (slots | (step ? DR6_BS : 0));
}

/**
 * bp_hits() - whether an access trips a data slot
 * @type: BP_WRITE or BP_RW
 * @bp: first watched byte
 * @bp_len: watched bytes: 1, 2, 4 or 8
 * @at: first accessed byte, in the same units as @bp
 * @size: accessed bytes
 * @store: whether the access writes
 *
 * Any byte in common is a hit, aligned or not (SDM, "Breakpoint Field
 * Recognition"; APM vol. 2, 13.1.1.6).
 *
 * Return: true if a trap is expected.
 */
static inline bool bp_hits(enum bp_type type, long bp, unsigned int bp_len,
			   long at, unsigned int size, bool store)
{
	if (type == BP_WRITE && !store)
		return false;

	return at < bp + (long)bp_len && bp < at + (long)size;
}

#endif /* HW_BREAKPOINT_DEBUGREG_H */
