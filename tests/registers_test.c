// SPDX-License-Identifier: GPL-2.0
/*
 * The debug registers as a tracer reads and writes them: PTRACE_PEEKUSER and
 * PTRACE_POKEUSER of DR0 to DR3, DR6 and DR7.
 *
 * What is accepted reads back and traps; what is refused gives its errno and
 * changes nothing, neither what reads back nor what traps.  The kernel keeps
 * a slot as a perf event and DR7 and DR6 as plain numbers beside it
 * (arch/x86/kernel/ptrace.c, ptrace_set_debugreg() and what it calls), so
 * each of the two has to be looked at.
 */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "probes.h"

#define PAGE	4096UL

/* One pass: accesses 1 to 4 visit targets, 5 to 8 store to the words */
#define STORES	DR_SLOTS
#define PASS	(2 * DR_SLOTS)

struct words {
	unsigned long long word[DR_SLOTS];
	unsigned long sink;
};

/* One slot: what is armed at its own target or word, if anything */
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
			probe_visit(i, &words->sink, i);
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

/* One pass with just the traps that @slot owes */
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

/* The registers that a refused write must leave alone; 4 and 5 read as 0 */
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

/* The same but for DR6, which tells of the last trap */
static bool same_registers(const struct registers *a,
			   const struct registers *b)
{
	unsigned int n;
	bool same = true;

	for (n = 0; n < 8; n++) {
		if (n == 6 || a->dr[n] == b->dr[n])
			continue;
		fprintf(stderr, "# DR%u was %#lx and is %#lx\n", n, a->dr[n],
			b->dr[n]);
		same = false;
	}
	return same;
}

/*
 * Where user space ends: task_size_max() in arch/x86/include/asm/page_64.h, 47
 * or 56 bits less a guard page.  Only a mapping tells whether the kernel uses
 * five levels.  For 32-bit programs of a 64-bit kernel it lies beyond what
 * they can say (27747f8bc355): then 0.  A 32-bit kernel begins where its
 * configuration says; the stack is right below.
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

	/* Every split puts the kernel at a multiple of 256 MiB */
	stack = (stack | 0x0fffffff) + 1;
	return stack;
#endif
}

FIXTURE(registers) {
	struct tracee t;
	struct words *words;
	struct slot slot[DR_SLOTS];
};

FIXTURE_SETUP(registers)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = pass_after_pass;
	self->t.arg = self->words;
	start(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(registers)
{
	tracee_stop(&self->t);
}

/* All four, each of another kind */
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
 * POKE is refused with @err, reads back as before, and traps as before.
 * Says so and returns false where any of it does not hold.
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
		fprintf(stderr, "# DR%u = %#lx gave %d, expected %d\n", n, val,
			got, err);
		return false;
	}
	if (peek_all(t, &after) || !same_registers(&before, &after)) {
		fprintf(stderr, "# after DR%u = %#lx was refused\n", n, val);
		return false;
	}
	if (before.dr[6] != after.dr[6])
		return false;
	return !slot || !expect_pass(t, slot);
}

/* A thread that no tracer ever gave a slot */
TEST_F(registers, fresh_thread_reads_as_after_reset)
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
 * A disabled slot takes any address of user space, mapped or not, and 0
 * (which was refused for a while in 2010), and reads back the last one, not the first.
 */
TEST_F(registers, addresses_read_back)
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

/* The last of these wins: bd14406b78e6 (the second POKE was ignored) */
TEST_F(registers, second_address_of_a_disabled_slot)
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
		/* Once more for a slot that has been armed */
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

/* Address 0 can be armed, with any type and length: nothing there traps */
TEST_F(registers, armed_at_0)
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
 * Whether a processor and the kernel know a type and length: SDM "Debug
 * Control Register (DR7)"; arch_bp_generic_fields() in
 * arch/x86/kernel/hw_breakpoint.c.  Eight bytes need a 64-bit kernel, which a
 * 32-bit program knows by its stack beyond what any 32-bit kernel gives.
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

FIXTURE(code) {
	struct tracee t;
	struct words *words;
	struct slot slot[DR_SLOTS];
};

FIXTURE_VARIANT(code) {
	unsigned int slot;
	bool poked;
};

FIXTURE_VARIANT_ADD(code, dr0_fresh) {
	.slot = 0,
};

FIXTURE_VARIANT_ADD(code, dr1_fresh) {
	.slot = 1,
};

FIXTURE_VARIANT_ADD(code, dr2_fresh) {
	.slot = 2,
};

FIXTURE_VARIANT_ADD(code, dr3_fresh) {
	.slot = 3,
};

FIXTURE_VARIANT_ADD(code, dr0_poked) {
	.slot = 0, .poked = true,
};

FIXTURE_VARIANT_ADD(code, dr1_poked) {
	.slot = 1, .poked = true,
};

FIXTURE_VARIANT_ADD(code, dr2_poked) {
	.slot = 2, .poked = true,
};

FIXTURE_VARIANT_ADD(code, dr3_poked) {
	.slot = 3, .poked = true,
};

FIXTURE_SETUP(code)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = pass_after_pass;
	self->t.arg = self->words;
	if (!start(_metadata, &self->t, TRACEE_TRACEME))
		return;
	if (variant->poked)
		ASSERT_EQ(0, tracee_poke(&self->t, variant->slot, 0));
}

FIXTURE_TEARDOWN(code)
{
	tracee_stop(&self->t);
}

/*
 * All 16 codes of the slot with each way to enable it.  A good one reads back
 * with the enable bits as written (326264a02448 lost them) and traps;
 * 89e45aac42d4: the execute encoding was refused.
 */
TEST_F(code, enabled)
{
	unsigned int i = variant->slot, code, e;
	struct tracee *t = &self->t;
	unsigned long val;

	for (code = 0; code < 16; code++) {
		struct slot *s = &self->slot[i];

		/* Armed once, no slot is fresh any more */
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
			/* Off, its code kept */
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

/* Disabled, a good code is kept and arms nothing */
TEST_F(code, disabled)
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
 * Bits of DR7 that belong to no slot read back and do nothing: LE, GE, RTM,
 * GD, the reserved ones, and with 64 bits the upper half (DR_CONTROL_RESERVED
 * in arch/x86/include/asm/debugreg.h).  GD that reached the CPU would make
 * the kernel's own next access to a debug register trap.
 */
TEST_F(registers, other_control_bits_change_nothing)
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
 * No address outside of user space, whatever the slot is: fresh, poked, or
 * armed with each type.  f67b15037a7a (CVE-2018-1000199): EINVAL, and the
 * kernel address was kept; later in 2018 the armed slot was lost;
 * CVE-2005-0756: non-canonical addresses were accepted.  EINVAL and not EPERM,
 * for root as well: ptrace's slots exclude the kernel
 * (hw_breakpoint_parse() in kernel/events/hw_breakpoint.c).
 */
TEST_F(registers, addresses_outside_user_space_refused)
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
		SKIP(return, "a 64-bit kernel takes all that 32 bits can say");

	/* Fresh, and then with an address that must stay */
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
 * The last bytes below the end, and with each length just not beyond it.  A
 * 32-bit program may use all that a 64-bit kernel gives it (27747f8bc355).
 */
TEST_F(registers, last_addresses_of_user_space)
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
		/* An execute breakpoint watches one byte, LEN says nothing */
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
 * Recognition"): refused where the slot is armed, and where DR7 would arm it;
 * accepted with length 1 and for instructions.
 */
TEST_F(registers, unaligned_addresses_refused)
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
				/* The same by way of DR7 */
				ASSERT_EQ(0, tracee_peek(t, 7, &dr7));
				ASSERT_EQ(0, tracee_poke(t, 7, (dr7 &
								~dr7_mask(i)) |
					  dr7_encode(i, s->type, 1)));
				for (off = 1; off < len; off++) {
					ASSERT_EQ(0, tracee_poke(t, i,
								 word + off));
					/* The store is of four bytes */
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
 * DR7 is accepted as a whole or not at all: a bad code for one slot leaves
 * the others as they were, which the same value would have disabled, retyped
 * or kept (ptrace_write_dr7() restores what it did before it came to the bad
 * one).
 */
TEST_F(registers, refused_control_changes_no_slot)
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

/* The same where some slots are off: they stay off, and can be armed */
TEST_F(registers, refused_control_arms_no_slot)
{
	struct tracee *t = &self->t;
	unsigned int bad, i;

	for (bad = 0; bad < DR_SLOTS; bad++) {
		unsigned long wrong = DR7_FIELD(bad, BP_IO) | DR7_LOCAL(bad);

		for (i = 0; i < DR_SLOTS; i++)
			if (i != bad)
				wrong |= dr7_encode(i, BP_WRITE, 1);
		/* First time round: no slot was ever poked */
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
TEST_F(registers, dr4_and_dr5)
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
 * Beyond struct user there is nothing: EIO.  Around the array are dummy words,
 * of which there are more in a 64-bit kernel's struct user than the C library
 * tells of: they read as 0, and writing them is refused or ignored.
 */
TEST_F(registers, offsets_outside_the_array)
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
 * An offset in the midst of a register is EIO (arch_ptrace()).  For a 32-bit
 * tracer a 64-bit kernel rounds it down instead, but behind the begin of DR7
 * (getreg32() and putreg32()); never does it reach another register.
 */
TEST_F(registers, offsets_inside_a_register)
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

/*
 * A slot that is off says nothing about what is valid: its address may be
 * unaligned, whatever its type and length are, as it may in a slot that was
 * never armed.  No kernel up to 6.18 does so (bugzilla 200965): it looks at
 * the event that the slot once was, ptrace_set_breakpoint_addr().
 */
TEST_F(registers, disabled_slot_takes_any_address)
{
	struct tracee *t = &self->t;
	unsigned int i, off;
	unsigned long val;

	for (i = 0; i < DR_SLOTS; i++) {
		unsigned long word = (unsigned long)&self->words->word[i];
		unsigned long dr7 = dr7_encode(i, BP_WRITE, 4);

		/* The same value in DR7, before and after it was armed */
		ASSERT_EQ(0, tracee_poke(t, 7, dr7 & ~DR7_LOCAL(i)));
		ASSERT_EQ(0, tracee_poke(t, i, word + 1));
		ASSERT_EQ(0, tracee_poke(t, i, word));
		ASSERT_EQ(0, tracee_poke(t, 7, dr7));
		ASSERT_EQ(0, tracee_poke(t, 7, dr7 & ~DR7_LOCAL(i)));
		for (off = 1; off < 4; off++) {
			EXPECT_EQ(0, tracee_poke(t, i, word + off));
			ASSERT_EQ(0, tracee_peek(t, i, &val));
			EXPECT_EQ(word + off, val);
		}
		ASSERT_EQ(0, tracee_poke(t, 7, 0));
	}
}

/* The same for codes that are valid in no armed slot; ptrace_write_dr7() */
TEST_F(registers, disabled_slot_takes_any_code)
{
	unsigned int i, code, poked;

	for (poked = 0; poked < 2; poked++) {
		for (i = 0; i < DR_SLOTS; i++) {
			if (poked)
				ASSERT_EQ(0, tracee_poke(&self->t, i, 0));
			for (code = 0; code < 16; code++)
				EXPECT_EQ(0, tracee_poke(&self->t, 7,
							 DR7_FIELD(i, code)));
			ASSERT_EQ(0, tracee_poke(&self->t, 7, 0));
		}
	}
	ASSERT_EQ(0, expect_pass(&self->t, self->slot));
}

/* Type and length before the address, or the address first: both arm */
TEST_F(registers, control_and_address_in_either_order)
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
		/* The second round has slots that were never used again */
		tracee_stop(t);
		ASSERT_EQ(0, tracee_start(t, TRACEE_TRACEME));
	}
}

#define ROUNDS	150

/* Off and on again: the same slot, no slot lost, none armed while off */
TEST_F(registers, disabled_and_enabled_hundreds_of_times)
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

/* Hundreds of times without the tracee running in between */
TEST_F(registers, many_writes_in_one_stop)
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

/* Only a stopped tracee has registers: ESRCH, and nothing is changed */
TEST_F(registers, of_a_running_tracee)
{
	struct words *words = self->words;
	struct tracee t = { .body = spin, .arg = words };
	struct registers before, after;
	unsigned long val;
	struct stop s;
	unsigned int n;

	if (!start(_metadata, &t, TRACEE_SEIZE))
		return;
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

DECLARE_PROBE(probe_int3);
DEFINE_PROBE(probe_int3, "", "int3", "");

/* Every kind of stop, round after round */
static void stop_after_stop(struct tracee *t)
{
	struct words *words = t->arg;

	for (;;) {
		*t->progress = 1;
		probe_visit(0, &words->sink, 1);
		*t->progress = 2;
		probe_store4(&words->word[0], 2);
		*t->progress = 3;
		tracee_sync();
		*t->progress = 4;
		probe_int3(NULL, 0);
		*t->progress = 5;
		syscall(SYS_getppid);
		*t->progress = 6;
		probe_store4(&words->word[1], 6);
	}
}

FIXTURE(dr6) {
	struct tracee t;
	struct words *words;
};

FIXTURE_VARIANT(dr6) {
	unsigned int slot;
};

FIXTURE_VARIANT_ADD(dr6, dr0_and_dr1) {
	.slot = 0,
};

FIXTURE_VARIANT_ADD(dr6, dr1_and_dr2) {
	.slot = 1,
};

FIXTURE_VARIANT_ADD(dr6, dr2_and_dr3) {
	.slot = 2,
};

FIXTURE_SETUP(dr6)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = stop_after_stop;
	self->t.arg = self->words;
	if (!start(_metadata, &self->t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(&self->t, variant->slot, BP_EXECUTE, 1,
				probe_target(0)));
	ASSERT_EQ(0, tracee_arm(&self->t, variant->slot + 1, BP_WRITE, 4,
				&self->words->word[0]));
}

FIXTURE_TEARDOWN(dr6)
{
	tracee_stop(&self->t);
}

static int expect_step(struct tracee *t, const void *ip, unsigned long progress)
{
	struct trap trap = { .ip = ip, .step = true, .progress = progress };
	struct stop s;

	if (tracee_resume(t, PTRACE_SINGLESTEP, 0) || tracee_wait(t, &s))
		return -1;
	return tracee_check_trap(t, &s, &trap);
}

/* A SIGTRAP that is no debug exception: an int3, or a stop at a system call */
static int expect_other_trap(struct tracee *t, int request, int code,
			     unsigned long progress, unsigned long dr6)
{
	struct stop s;

	if (tracee_resume(t, request, 0) || tracee_wait(t, &s))
		return -1;
	if (!WIFSTOPPED(s.status) || WSTOPSIG(s.status) != SIGTRAP ||
	    s.info.si_code != code || s.progress != progress || s.dr6 != dr6) {
		tracee_report(t, &s,
			      "expected SIGTRAP code %d after access %lu, DR6 %#lx",
			      code, progress, dr6);
		return -1;
	}
	return 0;
}

/*
 * A debug exception sets DR6 anew, with nothing of the one before (virtual_dr6
 * in exc_debug_user() of arch/x86/kernel/traps.c).  Any other stop leaves it as
 * it is: neither #BP nor a signal nor a system call writes it (SDM "Debug
 * Status Register (DR6)").
 */
TEST_F(dr6, exact_after_each_stop)
{
	unsigned int x = 1U << variant->slot, w = 2U << variant->slot, round;
	unsigned long dr6 = dr6_encode(w, false), val;
	struct tracee *t = &self->t;

	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, x, probe_target(0), 1));
		ASSERT_EQ(0, expect_step(t, probe_target(0) + 1, 1));
		ASSERT_EQ(0, tracee_expect_hit(t, w, probe_store4_next, 2));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(dr6, val);
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_CONT, SI_KERNEL, 4,
					       dr6));
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_SYSCALL, SIGTRAP, 5,
					       dr6));
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_SYSCALL, SIGTRAP, 5,
					       dr6));
	}
}

/* What the tracer cleared stays clear up to the next debug exception */
TEST_F(dr6, cleared_by_the_tracer)
{
	unsigned int x = 1U << variant->slot, w = 2U << variant->slot, round;
	struct tracee *t = &self->t;
	unsigned long val;

	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, x, probe_target(0), 1));
		ASSERT_EQ(0, tracee_poke(t, 6, DR6_NONE));
		ASSERT_EQ(0, tracee_expect_hit(t, w, probe_store4_next, 2));
		ASSERT_EQ(0, tracee_poke(t, 6, DR6_NONE));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(DR6_NONE, val);
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_CONT, SI_KERNEL, 4,
					       DR6_NONE));
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_SYSCALL, SIGTRAP, 5,
					       DR6_NONE));
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_SYSCALL, SIGTRAP, 5,
					       DR6_NONE));
	}
}

/* Whatever is written is read back, and is gone with the next exception */
TEST_F(dr6, written_by_the_tracer)
{
	static const unsigned long values[] = {
		0, -1UL, DR6_NONE, DR6_NONE ^ 0xf, DR6_NONE ^ DR6_BS,
		DR6_NONE ^ DR6_BD, DR6_NONE ^ DR6_BT, 1, 2, 4, 8, 0x12345678,
		0x800, 0x10000,
	};
	unsigned int x = 1U << variant->slot, w = 2U << variant->slot, j, bit;
	struct tracee *t = &self->t;
	unsigned long val;

	for (bit = 0; bit < 8 * sizeof(long); bit++) {
		ASSERT_EQ(0, tracee_poke(t, 6, 1UL << bit));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(1UL << bit, val);
	}
	for (j = 0; j < ARRAY_SIZE(values); j++) {
		ASSERT_EQ(0, tracee_poke(t, 6, values[j]));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(values[j], val);
		ASSERT_EQ(0, tracee_expect_hit(t, x, probe_target(0), 1));
		ASSERT_EQ(0, tracee_poke(t, 6, values[j]));
		ASSERT_EQ(0, expect_step(t, probe_target(0) + 1, 1));
		ASSERT_EQ(0, tracee_poke(t, 6, values[j]));
		ASSERT_EQ(0, tracee_expect_hit(t, w, probe_store4_next, 2));
		ASSERT_EQ(0, tracee_poke(t, 6, values[j]));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(values[j], val);
		ASSERT_EQ(0, expect_other_trap(t, PTRACE_CONT, SI_KERNEL, 4,
					       values[j]));
	}
}

TEST_HARNESS_MAIN
