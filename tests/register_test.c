// SPDX-License-Identifier: GPL-2.0
/*
 * The debug registers as a tracer reads and writes them: PTRACE_PEEKUSER and
 * PTRACE_POKEUSER of DR0 to DR3 and DR7.  For DR6 see dr6_test.c.
 *
 * What is accepted must read back and trap.  What is refused must return its
 * errno and change neither the values that read back nor the traps.  The kernel
 * keeps each slot as a perf event, and DR7 and DR6 as plain numbers
 * (arch/x86/kernel/ptrace.c, ptrace_set_debugreg() and its callees), so both
 * are checked.
 */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "probes.h"

#define PAGE	4096UL

/* One pass: accesses 1 to 4 call targets, 5 to 8 store to the words */
#define STORES	DR_SLOTS
#define PASS	(2 * DR_SLOTS)

struct words {
	unsigned long long word[DR_SLOTS];
	unsigned long sink;
};

/* One slot: what is armed on its own target or word, if anything */
struct slot {
	bool armed;
	enum bp_type type;
	unsigned int len;
};

static void pass_after_pass(struct tracee *t)
{
	struct words *words = t->arg;
	unsigned int i;

	for (;;) {
		for (i = 0; i < DR_SLOTS; i++) {
			*t->progress = 1 + i;
			probe_call_target(i, &words->sink, i);
		}
		for (i = 0; i < DR_SLOTS; i++) {
			*t->progress = 1 + STORES + i;
			probe_store4(&words->word[i], i);
		}
		*t->progress = PASS + 1;
		tracee_sync();
	}
}

static const void *slot_addr(const struct words *words,
			     const struct slot *slot, unsigned int i)
{
	return slot[i].type == BP_EXECUTE ? (const void *)probe_target(i) :
	       &words->word[i];
}

/* Run one pass, with exactly the traps of @slot */
static int expect_pass(struct tracee *t, const struct slot *slot)
{
	unsigned long n;

	for (n = 1; n <= PASS; n++) {
		unsigned int i = (n - 1) % DR_SLOTS;
		bool store = n > STORES, execute = slot[i].type == BP_EXECUTE;

		if (!slot[i].armed || store == execute)
			continue;
		if (tracee_expect_hit(t, 1U << i, store ? probe_store4_next :
				      probe_target(i), n))
			return -1;
	}
	return tracee_expect_sync(t, PASS + 1);
}

/* The registers that a refused write must not change; 4 and 5 read as 0 */
struct registers {
	unsigned long dr[8];
};

static int peek_all(struct tracee *t, struct registers *r)
{
	unsigned int n;
	int err = 0;

	for (n = 0; n < 8 && !err; n++)
		err = tracee_peek(t, n, &r->dr[n]);
	return err;
}

/* The same without DR6, which reports the last trap */
static bool same_registers(const struct registers *a,
			   const struct registers *b)
{
	unsigned int n;
	bool same = true;

	for (n = 0; n < 8; n++) {
		if (n == 6 || a->dr[n] == b->dr[n])
			continue;
		test_err("DR%u was %#lx and is %#lx", n, a->dr[n],
			 b->dr[n]);
		same = false;
	}
	return same;
}

/*
 * The end of user space: task_size_max() in arch/x86/include/asm/page_64.h, 47
 * or 56 bits less a guard page.  Only a mapping shows whether the kernel uses
 * five levels.  For 32-bit programs of a 64-bit kernel the end is not
 * representable (27747f8bc355): then 0.  Where a 32-bit kernel begins depends
 * on its configuration; the stack is right below.
 */
static unsigned long user_end(void)
{
#ifdef __x86_64__
	unsigned long five = 1UL << 48;
	void *p = mmap((void *)five, PAGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool high = (unsigned long)p == five;

	if (p != MAP_FAILED)
		munmap(p, PAGE);
	return (1UL << (high ? 56 : 47)) - PAGE;
#else
	unsigned long stack = (unsigned long)__builtin_frame_address(0);

	/* Every split is at a multiple of 256 MiB */
	stack = (stack | 0x0fffffff) + 1;
	return stack;
#endif
}

FIXTURE(debugreg) {
	struct tracee t;
	struct words *words;
	struct slot slot[DR_SLOTS];
};

FIXTURE_SETUP(debugreg)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = pass_after_pass;
	self->t.arg = self->words;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(debugreg)
{
	tracee_stop(&self->t);
}

/* Arm all four, each with another type */
static int arm_all(struct tracee *t, struct slot *slot)
{
	unsigned int i;
	int err = 0;

	slot[0] = (struct slot){ true, BP_WRITE, 4 };
	slot[1] = (struct slot){ true, BP_EXECUTE, 1 };
	slot[2] = (struct slot){ true, BP_RW, 2 };
	slot[3] = (struct slot){ true, BP_WRITE, 1 };
	for (i = 0; i < DR_SLOTS && !err; i++)
		err = tracee_arm(t, i, slot[i].type, slot[i].len,
				 slot_addr(t->arg, slot, i));
	return err;
}

/*
 * POKE is refused with @err, and registers and traps are as before. Returns
 * false after a message if not.
 */
static bool is_refused(struct tracee *t, const struct slot *slot,
		       unsigned int n, unsigned long val, int err)
{
	struct registers before, after;
	int got;

	if (peek_all(t, &before))
		return false;
	got = tracee_poke(t, n, val);
	if (got != err) {
		test_err("DR%u = %#lx gave %d, expected %d", n, val,
			 got, err);
		return false;
	}
	if (peek_all(t, &after) || !same_registers(&before, &after)) {
		test_err("after DR%u = %#lx was refused", n, val);
		return false;
	}
	if (before.dr[6] != after.dr[6])
		return false;
	return !slot || !expect_pass(t, slot);
}

/* A thread whose slots were never used */
TEST_F(debugreg, new_thread_reads_reset_values)
{
	struct registers r;
	unsigned int n, round;

	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, peek_all(&self->t, &r));
		for (n = 0; n < 8; n++)
			EXPECT_EQ(n == 6 ? DR6_NONE : 0, r.dr[n]);
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
	}
}

/*
 * A disabled slot accepts any address of user space, mapped or not, and 0
 * (refused by some kernels of 2010), and reads back the last one.
 */
TEST_F(debugreg, addresses_read_back)
{
	unsigned long end = user_end(), val;
	const unsigned long addr[] = {
		0, 1, 2, 3, 4, 7, 8, PAGE, end - 1, 0, end - PAGE, end - 8,
		end - 3, 0x7fffffff, 0x80000000,
		(unsigned long)probe_target(0),
		(unsigned long)&self->words->word[1] + 3,
	};
	unsigned int i, j;

	for (j = 0; j < ARRAY_SIZE(addr); j++) {
		for (i = 0; i < DR_SLOTS; i++) {
			ASSERT_EQ(0, tracee_poke(&self->t, i,
						 addr[(i + j) % ARRAY_SIZE(addr)]));
		}
		for (i = 0; i < DR_SLOTS; i++) {
			ASSERT_EQ(0, tracee_peek(&self->t, i, &val));
			ASSERT_EQ(addr[(i + j) % ARRAY_SIZE(addr)], val);
		}
		ASSERT_EQ(0, tracee_peek(&self->t, 7, &val));
		ASSERT_EQ(0, val);
	}
	ASSERT_EQ(0, expect_pass(&self->t, self->slot));
}

/* Regression test for bd14406b78e6 (the second POKE was ignored) */
TEST_F(debugreg, second_address_of_disabled_slot)
{
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		self->slot[i] = (struct slot){ true, BP_WRITE, 4 };
		ASSERT_EQ(0, tracee_poke_addr(&self->t, i, probe_target(0)));
		ASSERT_EQ(0, tracee_poke_addr(&self->t, i, self->words));
		ASSERT_EQ(0, tracee_poke_addr(&self->t, i,
					      &self->words->word[i]));
		ASSERT_EQ(0, tracee_poke(&self->t, 7,
					 dr7_encode(i, BP_WRITE, 4)));
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		self->slot[i].armed = false;
		/* Again for a slot that has been armed */
		ASSERT_EQ(0, tracee_poke(&self->t, 7, 0));
		ASSERT_EQ(0, tracee_poke_addr(&self->t, i, self->words));
		ASSERT_EQ(0, tracee_poke_addr(&self->t, i, probe_target(i)));
		ASSERT_EQ(0, tracee_poke(&self->t, 7,
					 dr7_encode(i, BP_EXECUTE, 1)));
		self->slot[i] = (struct slot){ true, BP_EXECUTE, 1 };
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		self->slot[i].armed = false;
		ASSERT_EQ(0, tracee_poke(&self->t, 7, 0));
	}
}

/* Address 0 can be armed with any type and length: nothing there traps */
TEST_F(debugreg, armed_at_address_zero)
{
	static const enum bp_type types[] = { BP_EXECUTE, BP_WRITE, BP_RW };
	unsigned long dr7, val;
	unsigned int i, j;

	for (j = 0; j < ARRAY_SIZE(types); j++) {
		dr7 = 0;
		for (i = 0; i < DR_SLOTS; i++) {
			ASSERT_EQ(0, tracee_poke(&self->t, i, 0));
			dr7 |= dr7_encode(i, types[j],
					  types[j] == BP_EXECUTE ? 1 : 4);
		}
		ASSERT_EQ(0, tracee_poke(&self->t, 7, dr7));
		ASSERT_EQ(0, tracee_peek(&self->t, 7, &val));
		ASSERT_EQ(dr7, val);
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
	}
}

/*
 * Whether the processor and the kernel support a type and length: SDM "Debug
 * Control Register (DR7)"; arch_bp_generic_fields() in
 * arch/x86/kernel/hw_breakpoint.c.  Eight bytes need a 64-bit kernel, which a
 * 32-bit program recognises by the address of its stack.
 */
static bool valid_code(unsigned int code)
{
	enum bp_type type = code & 3;
	unsigned int len = code >> 2;

	if (type == BP_IO || (type == BP_EXECUTE && len))
		return false;
	if (sizeof(long) == 4 && len == dr7_len_code(8) && user_end())
		return false;
	return true;
}

FIXTURE(register_code) {
	struct tracee t;
	struct words *words;
	struct slot slot[DR_SLOTS];
};

FIXTURE_VARIANT(register_code) {
	unsigned int slot;
	bool poked;
};

FIXTURE_VARIANT_ADD(register_code, dr0_unused) {
	.slot = 0,
};

FIXTURE_VARIANT_ADD(register_code, dr1_unused) {
	.slot = 1,
};

FIXTURE_VARIANT_ADD(register_code, dr2_unused) {
	.slot = 2,
};

FIXTURE_VARIANT_ADD(register_code, dr3_unused) {
	.slot = 3,
};

FIXTURE_VARIANT_ADD(register_code, dr0_used) {
	.slot = 0, .poked = true,
};

FIXTURE_VARIANT_ADD(register_code, dr1_used) {
	.slot = 1, .poked = true,
};

FIXTURE_VARIANT_ADD(register_code, dr2_used) {
	.slot = 2, .poked = true,
};

FIXTURE_VARIANT_ADD(register_code, dr3_used) {
	.slot = 3, .poked = true,
};

FIXTURE_SETUP(register_code)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = pass_after_pass;
	self->t.arg = self->words;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
	if (variant->poked)
		ASSERT_EQ(0, tracee_poke(&self->t, variant->slot, 0));
}

FIXTURE_TEARDOWN(register_code)
{
	tracee_stop(&self->t);
}

/*
 * All 16 codes of the slot with each combination of enable bits.  A valid one
 * reads back with the enable bits as written (regression test for 326264a02448)
 * and traps (89e45aac42d4: the execute encoding was refused).
 */
TEST_F(register_code, enabled)
{
	unsigned int i = variant->slot, code, e;
	struct tracee *t = &self->t;
	unsigned long val;

	for (code = 0; code < 16; code++) {
		struct slot *s = &self->slot[i];

		/* A slot that was armed once is no longer unused */
		if (!variant->poked && code) {
			tracee_stop(t);
			ASSERT_EQ(0, tracee_start(t, TRACEE_TRACEME));
		}
		for (e = 1; e < 4; e++) {
			unsigned long dr7 = DR7_FIELD(i, code);

			dr7 |= e & 1 ? DR7_LOCAL(i) : 0;
			dr7 |= e & 2 ? DR7_GLOBAL(i) : 0;
			if (!valid_code(code)) {
				ASSERT_TRUE(is_refused(t, self->slot, 7, dr7,
						       -EINVAL));
				continue;
			}
			*s = (struct slot){ true, code & 3, 1 };
			ASSERT_EQ(0, tracee_poke(t, 7, dr7));
			ASSERT_EQ(0, tracee_poke_addr(t, i,
						      slot_addr(self->words,
								self->slot, i)));
			ASSERT_EQ(0, tracee_peek(t, 7, &val));
			ASSERT_EQ(dr7, val);
			ASSERT_EQ(0, expect_pass(t, self->slot));
			/* Disabled, with its code kept */
			s->armed = false;
			dr7 = DR7_FIELD(i, code);
			ASSERT_EQ(0, tracee_poke(t, 7, dr7));
			ASSERT_EQ(0, tracee_peek(t, 7, &val));
			ASSERT_EQ(dr7, val);
			ASSERT_EQ(0, expect_pass(t, self->slot));
			ASSERT_EQ(0, tracee_poke(t, 7, 0));
		}
	}
}

/* A disabled slot keeps a valid code and is not armed */
TEST_F(register_code, disabled)
{
	unsigned int i = variant->slot, code;
	unsigned long val;

	for (code = 0; code < 16; code++) {
		if (!valid_code(code))
			continue;
		ASSERT_EQ(0, tracee_poke(&self->t, 7, DR7_FIELD(i, code)));
		ASSERT_EQ(0, tracee_peek(&self->t, 7, &val));
		ASSERT_EQ(DR7_FIELD(i, code), val);
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
	}
}

/*
 * Bits of DR7 that belong to no slot read back and have no effect: LE, GE, RTM,
 * GD, the reserved ones, and in 64-bit programs the upper half
 * (DR_CONTROL_RESERVED in arch/x86/include/asm/debugreg.h).  If GD reached the
 * CPU the kernel's next access to a debug register would trap.
 */
TEST_F(debugreg, other_dr7_bits_have_no_effect)
{
	unsigned long dr7 = 0, val;
	unsigned int bit, armed;

	for (armed = 0; armed < 2; armed++) {
		if (armed) {
			ASSERT_EQ(0, arm_all(&self->t, self->slot));
			ASSERT_EQ(0, tracee_peek(&self->t, 7, &dr7));
		}
		for (bit = 8; bit < 8 * sizeof(long); bit++) {
			if (bit >= 16 && bit < 32)
				continue;
			ASSERT_EQ(0, tracee_poke(&self->t, 7, dr7 | 1UL << bit));
			ASSERT_EQ(0, tracee_peek(&self->t, 7, &val));
			ASSERT_EQ(dr7 | 1UL << bit, val);
			ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		}
		val = dr7 | ~0xffff00ffUL;
		ASSERT_EQ(0, tracee_poke(&self->t, 7, val));
		ASSERT_EQ(0, tracee_peek(&self->t, 7, &dr7));
		ASSERT_EQ(val, dr7);
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		ASSERT_EQ(0, tracee_poke(&self->t, 7, 0));
	}
}

/*
 * Addresses outside of user space are refused for a slot that is unused, was
 * poked, or is armed with any type.  Regression test for f67b15037a7a
 * (CVE-2018-1000199: EINVAL, but the kernel address was kept; later in 2018 the
 * armed slot was lost) and CVE-2005-0756 (non-canonical addresses were
 * accepted).  EINVAL and not EPERM, also for root: ptrace breakpoints exclude
 * the kernel (hw_breakpoint_parse() in kernel/events/hw_breakpoint.c).
 */
TEST_F(debugreg, addresses_outside_user_space_refused)
{
	unsigned long end = user_end();
	const unsigned long addr[] = {
#ifdef __x86_64__
		end, end + 1, end + PAGE - 1, end + PAGE, 1UL << 56,
		1UL << 62, (1UL << 63) - 1, 1UL << 63, 0xff00000000000000,
		0xffff800000000000, 0xffff888000000000, 0xffffffff81000000,
		0xfffffe0000000000, -PAGE, -8UL, -1UL,
#else
		end, end + 1, end + PAGE, -PAGE, -8UL, -1UL,
#endif
	};
	unsigned long dr0 = (unsigned long)probe_target(0);
	unsigned int i, j;

	if (!end)
		SKIP(return, SKIP_64_BIT_KERNEL);

	/* Unused at first, then with an address that must be kept */
	for (j = 0; j < ARRAY_SIZE(addr); j++)
		for (i = 0; i < DR_SLOTS; i++) {
			ASSERT_TRUE(is_refused(&self->t, NULL, i, addr[j],
					       -EINVAL));
		}
	ASSERT_EQ(0, tracee_poke(&self->t, 0, dr0));
	for (j = 0; j < ARRAY_SIZE(addr); j++) {
		ASSERT_TRUE(is_refused(&self->t, NULL, 0, addr[j], -EINVAL)) {
			TH_LOG("number %u", j);
		}
	}
	self->slot[0] = (struct slot){ true, BP_EXECUTE, 1 };
	ASSERT_EQ(0, tracee_poke(&self->t, 7, dr7_encode(0, BP_EXECUTE, 1)));
	ASSERT_EQ(0, expect_pass(&self->t, self->slot));

	ASSERT_EQ(0, arm_all(&self->t, self->slot));
	for (j = 0; j < ARRAY_SIZE(addr); j++)
		for (i = 0; i < DR_SLOTS; i++) {
			ASSERT_TRUE(is_refused(&self->t, self->slot, i,
					       addr[j], -EINVAL));
		}
}

/*
 * The last bytes below the end, and each length just within it.  A 32-bit
 * program may use all that a 64-bit kernel gives it (27747f8bc355).
 */
TEST_F(debugreg, last_addresses_of_user_space)
{
	unsigned long end = user_end();
	unsigned int i, len;

	for (i = 0; i < DR_SLOTS; i++) {
		for (len = 1; len <= 4; len *= 2) {
			ASSERT_EQ(0, tracee_arm(&self->t, i, BP_WRITE, len,
						(void *)(end - len)));
			ASSERT_EQ(0, tracee_arm(&self->t, i, BP_RW, len,
						(void *)(end - 2 * len)));
			ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		}
		if (sizeof(long) == 8) {
			ASSERT_EQ(0, tracee_arm(&self->t, i, BP_RW, 8,
						(void *)(end - 8)));
			ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		}
		/* An execute breakpoint watches one byte, whatever LEN is */
		ASSERT_EQ(0, tracee_poke(&self->t, 7, 0));
		ASSERT_EQ(0, tracee_poke(&self->t, i, 0));
		ASSERT_EQ(0, tracee_poke(&self->t, 7,
					 dr7_encode(i, BP_EXECUTE, 1)));
		if (end)
			ASSERT_EQ(0, tracee_poke(&self->t, i, end - 1));
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		ASSERT_EQ(0, tracee_poke(&self->t, 7, 0));
		ASSERT_EQ(0, tracee_poke(&self->t, i, 0));
	}
}

/*
 * An address must be aligned to the length (SDM "Breakpoint Field
 * Recognition"): refused if the slot is armed, or when DR7 would arm it;
 * accepted with length 1 and for instructions.
 */
TEST_F(debugreg, unaligned_addresses_refused)
{
	static const enum bp_type types[] = { BP_WRITE, BP_RW };
	unsigned int i, j, k, len, off;
	struct tracee *t = &self->t;

	ASSERT_EQ(0, arm_all(t, self->slot));
	for (i = 0; i < DR_SLOTS; i++) {
		struct slot old = self->slot[i], *s = &self->slot[i];
		unsigned long word = (unsigned long)&self->words->word[i];
		unsigned long dr7;

		for (j = 0; j < ARRAY_SIZE(types); j++) {
			for (len = 1; len <= sizeof(long); len *= 2) {
				*s = (struct slot){ true, types[j], len };
				ASSERT_EQ(0, tracee_arm(t, i, s->type, len,
							(void *)word));
				for (off = 1; off < len; off++) {
					ASSERT_TRUE(is_refused(t, self->slot, i,
							       word + off,
							       -EINVAL));
				}
				/* The same through DR7 */
				ASSERT_EQ(0, tracee_peek(t, 7, &dr7));
				ASSERT_EQ(0, tracee_poke(t, 7, (dr7 &
								~dr7_mask(i)) |
					  dr7_encode(i, s->type, 1)));
				for (off = 1; off < len; off++) {
					ASSERT_EQ(0, tracee_poke(t, i,
								 word + off));
					/* The store is four bytes wide */
					s->armed = off < 4;
					ASSERT_TRUE(is_refused(t, self->slot, 7,
							       dr7, -EINVAL));
				}
			}
		}
		*s = old;
		ASSERT_EQ(0, tracee_arm(t, i, s->type, s->len,
					slot_addr(self->words, self->slot, i)));
		ASSERT_EQ(0, expect_pass(t, self->slot));
		for (k = 0; k < 8 && s->type == BP_EXECUTE; k++) {
			ASSERT_EQ(0, tracee_poke(t, i, word + k)) {
				TH_LOG("number %u", k);
			}
		}
		ASSERT_EQ(0, tracee_poke_addr(t, i, slot_addr(self->words,
							      self->slot, i)));
	}
}

/*
 * DR7 is accepted as a whole or not at all: an invalid code for one slot leaves
 * the others unchanged, whether the same value would have disabled, retyped or
 * kept them (ptrace_write_dr7() restores the slots that it has modified).
 */
TEST_F(debugreg, refused_dr7_changes_no_slot)
{
	unsigned int bad, code, k;
	struct tracee *t = &self->t;
	unsigned long dr7;

	ASSERT_EQ(0, arm_all(t, self->slot));
	ASSERT_EQ(0, tracee_peek(t, 7, &dr7));
	for (bad = 0; bad < DR_SLOTS; bad++) {
		for (code = 0; code < 16; code++) {
			unsigned long wrong = DR7_FIELD(bad, code) |
					      DR7_LOCAL(bad);
			unsigned long others[] = {
				0, dr7 & ~dr7_mask(bad),
				/* All armed on writes of one byte */
				0x11110055UL & ~dr7_mask(bad),
			};

			if (valid_code(code))
				continue;
			for (k = 0; k < ARRAY_SIZE(others); k++) {
				ASSERT_TRUE(is_refused(t, self->slot, 7,
						       wrong | others[k],
						       -EINVAL));
			}
		}
	}
}

/* The same with some slots disabled: they stay disabled, and can be armed */
TEST_F(debugreg, refused_dr7_arms_no_slot)
{
	struct tracee *t = &self->t;
	unsigned int bad, i;

	for (bad = 0; bad < DR_SLOTS; bad++) {
		unsigned long wrong = DR7_FIELD(bad, BP_IO) | DR7_LOCAL(bad);

		for (i = 0; i < DR_SLOTS; i++)
			if (i != bad)
				wrong |= dr7_encode(i, BP_WRITE, 1);
		/* In the first iteration no slot was ever used */
		ASSERT_TRUE(is_refused(t, self->slot, 7, wrong, -EINVAL));
		for (i = 0; i < DR_SLOTS; i++) {
			ASSERT_EQ(0, tracee_poke_addr(t, i,
						      &self->words->word[i]));
		}
		ASSERT_TRUE(is_refused(t, self->slot, 7, wrong, -EINVAL));
	}
	ASSERT_EQ(0, arm_all(t, self->slot));
	ASSERT_EQ(0, expect_pass(t, self->slot));
}

/* DR4 and DR5 do not exist: EIO, and they read as 0 */
TEST_F(debugreg, dr4_and_dr5)
{
	const unsigned long values[] = { 0, 1, -1UL, DR6_NONE, 0x400 };
	unsigned int n, j;
	unsigned long val;

	ASSERT_EQ(0, arm_all(&self->t, self->slot));
	for (n = 4; n <= 5; n++) {
		for (j = 0; j < ARRAY_SIZE(values); j++) {
			ASSERT_TRUE(is_refused(&self->t, self->slot, n,
					       values[j], -EIO));
			ASSERT_EQ(0, tracee_peek(&self->t, n, &val));
			ASSERT_EQ(0, val);
		}
	}
}

static int poke_offset(pid_t tid, unsigned long offset, unsigned long val)
{
	return ptrace(PTRACE_POKEUSER, tid, offset, val) ? -errno : 0;
}

static int peek_offset(pid_t tid, unsigned long offset, unsigned long *val)
{
	errno = 0;
	*val = ptrace(PTRACE_PEEKUSER, tid, offset, NULL);
	return -errno;
}

/*
 * Offsets beyond struct user are refused with EIO.  The words around the array,
 * of which a 64-bit kernel has more than the C library declares, read as 0, and
 * writes of them are refused or ignored.
 */
TEST_F(debugreg, offset_outside_array)
{
	const unsigned long end = sizeof(struct user), word = sizeof(long);
	const unsigned long past[] = {
		end + 8 * word, 2 * end, end + 4 * PAGE, ~0UL & -word,
		(~0UL >> 1) & -word,
	};
	const unsigned long dummy[] = {
		dr_offset(0) - word, dr_offset(8), dr_offset(9),
	};
	struct registers before, after;
	unsigned long val;
	unsigned int j;
	int err;

	ASSERT_EQ(0, arm_all(&self->t, self->slot));
	ASSERT_EQ(0, peek_all(&self->t, &before));
	for (j = 0; j < ARRAY_SIZE(past); j++) {
		EXPECT_EQ(-EIO, peek_offset(self->t.tid, past[j], &val));
		EXPECT_EQ(-EIO, poke_offset(self->t.tid, past[j], 0));
	}
	for (j = 1; j < ARRAY_SIZE(dummy); j++) {
		err = peek_offset(self->t.tid, dummy[j], &val);
		EXPECT_TRUE(err == -EIO || (!err && !val));
	}
	for (j = 0; j < ARRAY_SIZE(dummy); j++) {
		err = poke_offset(self->t.tid, dummy[j], 0);
		EXPECT_TRUE(err == -EIO || !err);
	}
	ASSERT_EQ(0, peek_all(&self->t, &after));
	ASSERT_TRUE(same_registers(&before, &after));
	ASSERT_EQ(0, expect_pass(&self->t, self->slot));
}

/*
 * An offset within a register is refused with EIO (arch_ptrace()).  For a
 * 32-bit tracer a 64-bit kernel rounds it down instead, except within DR7
 * (getreg32() and putreg32()); another register is never accessed.
 */
TEST_F(debugreg, offset_inside_register)
{
	struct registers before, after;
	unsigned int n, off;
	unsigned long val;
	int err;

	ASSERT_EQ(0, arm_all(&self->t, self->slot));
	ASSERT_EQ(0, peek_all(&self->t, &before));
	for (n = 0; n < 8; n++) {
		for (off = 1; off < sizeof(long); off++) {
			err = peek_offset(self->t.tid, dr_offset(n) + off,
					  &val);
			EXPECT_TRUE(err == -EIO || (sizeof(long) == 4 && !err &&
						    val == before.dr[n]));
			err = poke_offset(self->t.tid, dr_offset(n) + off,
					  before.dr[n]);
			EXPECT_TRUE(err == -EIO || (sizeof(long) == 4 && !err));
		}
	}
	ASSERT_EQ(0, peek_all(&self->t, &after));
	ASSERT_TRUE(same_registers(&before, &after));
	ASSERT_EQ(0, expect_pass(&self->t, self->slot));
}

#define DISABLED_ISSUE	"a disabled slot is checked like an enabled one once it was used"

/*
 * Type and length of a disabled slot do not matter: its address may be
 * unaligned, as it may in a slot that was never armed.  Kernels up to 6.18 fail
 * (bugzilla 200965): ptrace_set_breakpoint_addr() checks the address with the
 * type and length that the slot's event has had.
 */
TEST_F(debugreg, disabled_slot_takes_any_address)
{
	struct tracee *t = &self->t;
	unsigned int i, off;
	unsigned long val;
	int err;

	for (i = 0; i < DR_SLOTS; i++) {
		unsigned long word = (unsigned long)&self->words->word[i];
		unsigned long dr7 = dr7_encode(i, BP_WRITE, 4);

		/* The same value of DR7, before and after the slot was armed */
		ASSERT_EQ(0, tracee_poke(t, 7, dr7 & ~DR7_LOCAL(i)));
		ASSERT_EQ(0, tracee_poke(t, i, word + 1));
		ASSERT_EQ(0, tracee_poke(t, i, word));
		ASSERT_EQ(0, tracee_poke(t, 7, dr7));
		ASSERT_EQ(0, tracee_poke(t, 7, dr7 & ~DR7_LOCAL(i)));
		for (off = 1; off < 4; off++) {
			err = tracee_poke(t, i, word + off);
			ASSERT_EQ(0, tracee_peek(t, i, &val));
			if (err == -EINVAL && val == word)
				KNOWN_ISSUE(return, DISABLED_ISSUE);
			ASSERT_EQ(0, err);
			ASSERT_EQ(word + off, val);
		}
		ASSERT_EQ(0, tracee_poke(t, 7, 0));
	}
}

/* The same for codes that are invalid in an armed slot; ptrace_write_dr7() */
TEST_F(debugreg, disabled_slot_takes_any_code)
{
	unsigned int i, code, poked;
	int err;

	for (poked = 0; poked < 2; poked++) {
		for (i = 0; i < DR_SLOTS; i++) {
			if (poked)
				ASSERT_EQ(0, tracee_poke(&self->t, i, 0));
			for (code = 0; code < 16; code++) {
				err = tracee_poke(&self->t, 7, DR7_FIELD(i, code));
				if (err == -EINVAL && poked && !valid_code(code))
					KNOWN_ISSUE(return, DISABLED_ISSUE);
				ASSERT_EQ(0, err);
			}
			ASSERT_EQ(0, tracee_poke(&self->t, 7, 0));
		}
	}
	ASSERT_EQ(0, expect_pass(&self->t, self->slot));
}

/* Type and length before the address, or the address first: both arm */
TEST_F(debugreg, dr7_and_address_in_either_order)
{
	static const enum bp_type types[] = { BP_EXECUTE, BP_WRITE, BP_RW };
	struct tracee *t = &self->t;
	unsigned long val, dr7, addr;
	unsigned int i, j, order;

	for (order = 0; order < 2; order++) {
		for (j = 0; j < ARRAY_SIZE(types); j++) {
			for (i = 0; i < DR_SLOTS; i++) {
				self->slot[i] = (struct slot){ true, types[j],
							       1 };
				addr = (unsigned long)slot_addr(self->words,
								self->slot, i);
				dr7 = dr7_encode(i, types[j], 1);
				if (order)
					ASSERT_EQ(0, tracee_poke(t, i, addr));
				ASSERT_EQ(0, tracee_poke(t, 7, dr7));
				if (!order)
					ASSERT_EQ(0, tracee_poke(t, i, addr));
				ASSERT_EQ(0, tracee_peek(t, i, &val));
				ASSERT_EQ(addr, val);
				ASSERT_EQ(0, tracee_peek(t, 7, &val));
				ASSERT_EQ(dr7, val);
				ASSERT_EQ(0, expect_pass(t, self->slot));
				self->slot[i].armed = false;
			}
		}
		/* In the second iteration with slots that were never used */
		tracee_stop(t);
		ASSERT_EQ(0, tracee_start(t, TRACEE_TRACEME));
	}
}

#define ROUNDS	50

/* Disabled and enabled again: the same slot, none lost, none armed meanwhile */
TEST_F(debugreg, disabled_and_enabled_repeatedly)
{
	static const struct slot off[DR_SLOTS];
	struct tracee *t = &self->t;
	unsigned int round;
	unsigned long dr7;

	ASSERT_EQ(0, arm_all(t, self->slot));
	ASSERT_EQ(0, tracee_peek(t, 7, &dr7));
	for (round = 0; round < ROUNDS; round++) {
		/* With the codes kept, or cleared as well */
		ASSERT_EQ(0, tracee_poke(t, 7, round & 1 ? dr7 & ~0xffUL : 0));
		if (!(round % 8))
			ASSERT_EQ(0, expect_pass(t, off));
		ASSERT_EQ(0, tracee_poke(t, 7, dr7));
		if (!(round % 2))
			ASSERT_EQ(0, expect_pass(t, self->slot));
	}
}

/* Hundreds of times while the tracee is stopped */
TEST_F(debugreg, many_writes_in_one_stop)
{
	struct tracee *t = &self->t;
	unsigned int round, i;
	unsigned long dr7;

	ASSERT_EQ(0, arm_all(t, self->slot));
	ASSERT_EQ(0, tracee_peek(t, 7, &dr7));
	for (round = 0; round < 10 * ROUNDS; round++) {
		i = round % DR_SLOTS;
		ASSERT_EQ(0, tracee_poke(t, 7, dr7 & ~dr7_mask(i)));
		ASSERT_EQ(0, tracee_poke(t, i, 8 * round));
		ASSERT_EQ(0, tracee_poke_addr(t, i, slot_addr(self->words,
							      self->slot, i)));
		ASSERT_EQ(0, tracee_poke(t, 7, dr7));
	}
	ASSERT_EQ(0, expect_pass(t, self->slot));
}

static void spin(struct tracee *t)
{
	struct words *words = t->arg;

	for (;;) {
		tracee_sync();
		while (!__atomic_load_n(&words->sink, __ATOMIC_RELAXED))
			;
		words->sink = 0;
	}
}

/* A running tracee has no registers to access: ESRCH, and nothing is changed */
TEST_F(debugreg, running_tracee_gives_esrch)
{
	struct words *words = self->words;
	struct tracee t = { .body = spin, .arg = words };
	struct registers before, after;
	unsigned long val;
	struct stop s;
	unsigned int n;

	start_tracee(_metadata, &t, TRACEE_SEIZE);
	ASSERT_EQ(0, tracee_expect_sync(&t, 0));
	for (n = 0; n < DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_arm(&t, n, BP_WRITE, 4, &words->word[n])) {
			TH_LOG("slot %u", n);
		}
	}
	ASSERT_EQ(0, peek_all(&t, &before));
	ASSERT_EQ(0, tracee_cont(&t));
	for (n = 0; n < 8; n++) {
		EXPECT_EQ(-ESRCH, tracee_peek(&t, n, &val));
		EXPECT_EQ(-ESRCH, tracee_poke(&t, n, 0));
		EXPECT_EQ(-ESRCH, tracee_poke(&t, n, -1UL));
	}
	__atomic_store_n(&words->sink, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(0, tracee_wait(&t, &s));
	ASSERT_EQ(0, tracee_check_sync(&t, &s, 0));
	ASSERT_EQ(0, peek_all(&t, &after));
	EXPECT_TRUE(same_registers(&before, &after));
	tracee_stop(&t);
}

TEST_HARNESS_MAIN
