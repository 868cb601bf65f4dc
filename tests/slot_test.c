// SPDX-License-Identifier: GPL-2.0
/*
 * The four slots: each one, several at once, on one address, in every subset,
 * armed in every order, moved and retyped while the tracee is stopped.
 *
 * Slot n of a tracer is not DRn of the CPU: the kernel assigns registers in the
 * order in which breakpoints are installed (arch_install_hw_breakpoint()),
 * again at each context switch to the thread, and must translate them back in
 * DR6 (ptrace_triggered()).
 */
#include <sys/time.h>
#include <sys/wait.h>

#include "harness.h"
#include "probes.h"

/*
 * One pass of the tracee: accesses 1 to 4 call targets, 5 to 12 use the words
 */
#define EXECUTES	DR_SLOTS
#define PASS		(EXECUTES + 2 * DR_SLOTS)

struct words {
	unsigned int word[DR_SLOTS];
	unsigned long sink;
};

/* Access @n: the ip at which a trap is due, and what it accesses */
static const char *access_ip(enum bp_type type, unsigned long n)
{
	if (n <= EXECUTES)
		return type == BP_EXECUTE ? probe_target(n - 1) : NULL;
	if (n <= EXECUTES + DR_SLOTS)
		return type == BP_RW ? probe_load4_next : NULL;
	return type == BP_WRITE || type == BP_RW ? probe_store4_next : NULL;
}

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
			*t->progress = 1 + EXECUTES + i;
			probe_load4(&words->word[i], 0);
		}
		for (i = 0; i < DR_SLOTS; i++) {
			*t->progress = 1 + EXECUTES + DR_SLOTS + i;
			probe_store4(&words->word[i], i);
		}
		*t->progress = PASS + 1;
		tracee_sync();
	}
}

/* One slot: armed or not, on target or word number @place */
struct slot {
	bool armed;
	enum bp_type type;
	unsigned int place;
};

FIXTURE(slot) {
	struct tracee t;
	struct words *words;
	struct slot slot[DR_SLOTS];
};

FIXTURE_SETUP(slot)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = pass_after_pass;
	self->t.arg = self->words;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(slot)
{
	tracee_stop(&self->t);
}

static const void *slot_addr(const struct words *words, const struct slot *s)
{
	if (s->type == BP_EXECUTE)
		return probe_target(s->place);
	return &words->word[s->place];
}

static unsigned int slot_len(const struct slot *s)
{
	return s->type == BP_EXECUTE ? 1 : 4;
}

static int arm_slot(struct tracee *t, const struct slot *slot, unsigned int i)
{
	if (!slot[i].armed)
		return tracee_disarm(t, i);
	return tracee_arm(t, i, slot[i].type, slot_len(&slot[i]),
			  slot_addr(t->arg, &slot[i]));
}

/* The registers themselves, one POKE each, as a debugger may do it */
static int poke_addr(struct tracee *t, const struct slot *slot, unsigned int i)
{
	return tracee_poke_addr(t, i, slot_addr(t->arg, &slot[i]));
}

static int poke_type(struct tracee *t, unsigned int i, enum bp_type type,
		     unsigned int len)
{
	return tracee_poke(t, 7, dr7_encode(i, type, len));
}

static int arm_slots(struct tracee *t, const struct slot *slot)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < DR_SLOTS && !err; i++)
		err = arm_slot(t, slot, i);
	return err;
}

/* The slots that access @n hits, and the ip of the trap */
static unsigned int expected_slots(const struct slot *slot, unsigned long n,
				   const void **ip)
{
	unsigned int i, hit = 0;

	for (i = 0; i < DR_SLOTS; i++) {
		const char *at = access_ip(slot[i].type, n);

		if (slot[i].armed && at && slot[i].place == (n - 1) % DR_SLOTS) {
			*ip = at;
			hit |= 1U << i;
		}
	}
	return hit;
}

static int expect_pass(struct tracee *t, const struct slot *slot)
{
	unsigned long n;

	for (n = 1; n <= PASS; n++) {
		struct trap trap = { .progress = n };

		trap.slots = expected_slots(slot, n, &trap.ip);
		if (trap.slots && tracee_expect_trap(t, &trap))
			return -1;
	}
	return tracee_expect_sync(t, PASS + 1);
}

static const enum bp_type types[] = { BP_EXECUTE, BP_WRITE, BP_RW };

#define TYPES	ARRAY_SIZE(types)

TEST_F(slot, each_alone)
{
	unsigned int i, j;

	for (i = 0; i < DR_SLOTS; i++) {
		for (j = 0; j < TYPES; j++) {
			self->slot[i] = (struct slot){
				.armed = true, .type = types[j], .place = i };
			ASSERT_EQ(0, arm_slots(&self->t, self->slot));
			ASSERT_EQ(0, expect_pass(&self->t, self->slot));
			self->slot[i].armed = false;
		}
		ASSERT_EQ(0, arm_slots(&self->t, self->slot));
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
	}
}

/* Every combination of types, each slot at a separate address */
TEST_F(slot, all_at_different_addresses)
{
	unsigned int mix, i;

	for (mix = 0; mix < TYPES * TYPES * TYPES * TYPES; mix++) {
		unsigned int rest = mix;

		for (i = 0; i < DR_SLOTS; i++, rest /= TYPES)
			self->slot[i] = (struct slot){
				.armed = true, .type = types[rest % TYPES],
				.place = i };
		ASSERT_EQ(0, arm_slots(&self->t, self->slot));
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
	}
}

/* One access, several slots: one stop with exactly their bits */
static void every_subset(struct __test_metadata *_metadata, struct tracee *t,
			 struct slot *slot, enum bp_type type)
{
	unsigned int set, i;

	for (set = 0; set <= DR_SLOTS_ALL; set++) {
		for (i = 0; i < DR_SLOTS; i++)
			slot[i] = (struct slot){ .armed = set & 1U << i,
						 .type = type, .place = 2 };
		ASSERT_EQ(0, arm_slots(t, slot));
		ASSERT_EQ(0, expect_pass(t, slot));
	}
}

TEST_F(slot, every_subset_on_one_instruction)
{
	every_subset(_metadata, &self->t, self->slot, BP_EXECUTE);
}

TEST_F(slot, every_subset_on_one_word_written)
{
	every_subset(_metadata, &self->t, self->slot, BP_WRITE);
}

TEST_F(slot, every_subset_on_one_word_read_and_written)
{
	every_subset(_metadata, &self->t, self->slot, BP_RW);
}

/* A store hits the write and the rw watchpoints, a load only the rw ones */
TEST_F(slot, mixed_types_on_one_word)
{
	unsigned int mix, i;

	for (mix = 0; mix <= DR_SLOTS_ALL; mix++) {
		for (i = 0; i < DR_SLOTS; i++)
			self->slot[i] = (struct slot){
				.armed = true, .place = 1,
				.type = mix & 1U << i ? BP_WRITE : BP_RW };
		ASSERT_EQ(0, arm_slots(&self->t, self->slot));
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
	}
}

TEST_F(slot, every_subset_at_different_addresses)
{
	unsigned int set, i;

	for (set = 0; set <= DR_SLOTS_ALL; set++) {
		for (i = 0; i < DR_SLOTS; i++)
			self->slot[i] = (struct slot){
				.armed = set & 1U << i,
				.type = types[i % TYPES], .place = i };
		ASSERT_EQ(0, arm_slots(&self->t, self->slot));
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
	}
}

/* Permutation number @n, 0 to 23, of the slots */
static void permute(unsigned int n, unsigned int order[DR_SLOTS])
{
	unsigned int left[DR_SLOTS] = { 0, 1, 2, 3 }, i, j, k;

	for (i = 0; i < DR_SLOTS; i++) {
		k = n % (DR_SLOTS - i);
		n /= DR_SLOTS - i;
		order[i] = left[k];
		for (j = k; j + 1 < DR_SLOTS; j++)
			left[j] = left[j + 1];
	}
}

TEST_F(slot, armed_and_disarmed_in_every_order)
{
	unsigned int order[DR_SLOTS], n, i;

	for (n = 0; n < 24; n++) {
		permute(n, order);
		for (i = 0; i < DR_SLOTS; i++) {
			self->slot[order[i]] = (struct slot){
				.armed = true,
				.type = types[(order[i] + n) % TYPES],
				.place = order[i] };
			ASSERT_EQ(0, arm_slot(&self->t, self->slot, order[i]));
		}
		ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		/* Disabled again in the next order, with a pass after each */
		permute((n + 7) % 24, order);
		for (i = 0; i < DR_SLOTS; i++) {
			self->slot[order[i]].armed = false;
			ASSERT_EQ(0, arm_slot(&self->t, self->slot, order[i]));
			ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		}
	}
}

/*
 * DR7 written once, with all four enabled, before any address: as a debugger
 * that saves and restores all registers may do.
 */
TEST_F(slot, dr7_before_addresses)
{
	unsigned long dr7 = 0;
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		self->slot[i] = (struct slot){
			.armed = true, .type = types[i % TYPES], .place = i };
		dr7 |= dr7_encode(i, types[i % TYPES],
				  slot_len(&self->slot[i]));
	}
	ASSERT_EQ(0, tracee_poke(&self->t, 7, dr7));
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, poke_addr(&self->t, self->slot, i)) {
			TH_LOG("slot %u", i);
		}
	}
	ASSERT_EQ(0, expect_pass(&self->t, self->slot));
}

/*
 * Only the address of an armed slot is changed.  Regression test for
 * bd14406b78e6 (a second POKE of DRn was ignored and returned 0).
 */
TEST_F(slot, moved_while_armed)
{
	unsigned int i, j, place;

	for (j = 0; j < TYPES; j++) {
		for (i = 0; i < DR_SLOTS; i++)
			self->slot[i] = (struct slot){
				.armed = true, .type = types[j], .place = i };
		ASSERT_EQ(0, arm_slots(&self->t, self->slot));
		for (place = 0; place < DR_SLOTS; place++) {
			for (i = 0; i < DR_SLOTS; i++) {
				self->slot[i].place = (place + i) % DR_SLOTS;
				ASSERT_EQ(0, poke_addr(&self->t, self->slot, i));
			}
			ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		}
	}
}

/*
 * From every type to every other with one POKE of DR7 and one of DRn, never
 * disabled in between.  Regression test for d5c678aed5ed (a slot retyped from
 * execute to data during a stop was lost).
 */
TEST_F(slot, retyped_while_armed)
{
	unsigned int i, from, to;

	for (i = 0; i < DR_SLOTS; i++) {
		struct slot *s = &self->slot[i];

		for (from = 0; from < TYPES; from++) {
			for (to = 0; to < TYPES; to++) {
				*s = (struct slot){ .armed = true,
					.type = types[from], .place = i };
				ASSERT_EQ(0, arm_slots(&self->t, self->slot));
				ASSERT_EQ(0, expect_pass(&self->t, self->slot));
				s->type = types[to];
				ASSERT_EQ(0, poke_type(&self->t, i, s->type,
						       slot_len(s)));
				ASSERT_EQ(0, poke_addr(&self->t, self->slot, i));
				ASSERT_EQ(0, expect_pass(&self->t, self->slot));
			}
		}
		s->armed = false;
		ASSERT_EQ(0, arm_slots(&self->t, self->slot));
	}
}

/*
 * The same at the slot's own trap: an execute breakpoint that has just been hit
 * becomes a watchpoint on the next access of the same pass, and back.
 */
TEST_F(slot, retyped_at_own_trap)
{
	unsigned long load = 1 + EXECUTES, store = load + DR_SLOTS;
	struct tracee *t = &self->t;
	unsigned int i, round;

	for (i = 0; i < DR_SLOTS; i++) {
		unsigned int bit = 1U << i;

		for (round = 0; round < 3; round++) {
			unsigned int place = (i + round) % DR_SLOTS;
			const char *target = probe_target(place);
			const void *word = &self->words->word[place];

			ASSERT_EQ(0, tracee_poke_addr(t, i, target));
			ASSERT_EQ(0, poke_type(t, i, BP_EXECUTE, 1));
			ASSERT_EQ(0, tracee_expect_hit(t, bit, target,
						       1 + place));
			ASSERT_EQ(0, poke_type(t, i, BP_RW, 4));
			ASSERT_EQ(0, tracee_poke_addr(t, i, word));
			ASSERT_EQ(0, tracee_expect_hit(t, bit, probe_load4_next,
						       load + place));
			ASSERT_EQ(0, tracee_expect_hit(t, bit, probe_store4_next,
						       store + place));
			ASSERT_EQ(0, tracee_expect_sync(t, PASS + 1));
		}
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/*
 * A longer and a shorter length, never disabled: the next word is hit, or not
 */
TEST_F(slot, length_changed_while_armed)
{
	static const unsigned int lens[] = { 1, 4, 2, 8, 1, 8, 4 };
	unsigned long store = 1 + EXECUTES + DR_SLOTS;
	struct tracee *t = &self->t;
	unsigned int i, j, n;

	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_poke_addr(t, i, &self->words->word[0]));
		for (j = 0; j < ARRAY_SIZE(lens); j++) {
			ASSERT_EQ(0, poke_type(t, i, BP_WRITE, lens[j]));
			/* Eight bytes are two words */
			for (n = 0; n < (lens[j] == 8 ? 2 : 1); n++) {
				ASSERT_EQ(0, tracee_expect_hit(t, 1U << i,
							       probe_store4_next,
							       store + n));
			}
			ASSERT_EQ(0, tracee_expect_sync(t, PASS + 1));
		}
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/* Either enable bit arms (SDM "Debug Control Register (DR7)", L0-L3, G0-G3) */
TEST_F(slot, local_global_and_both_enable_bits)
{
	unsigned int i, j;

	for (i = 0; i < DR_SLOTS; i++) {
		const unsigned long enable[] = {
			DR7_LOCAL(i), DR7_GLOBAL(i),
			DR7_LOCAL(i) | DR7_GLOBAL(i), 0,
		};

		self->slot[i] = (struct slot){ .type = BP_WRITE, .place = i };
		ASSERT_EQ(0, poke_addr(&self->t, self->slot, i));
		for (j = 0; j < ARRAY_SIZE(enable); j++) {
			unsigned long dr7 = dr7_encode(i, BP_WRITE, 4);

			dr7 = (dr7 & ~DR7_LOCAL(i)) | enable[j];
			self->slot[i].armed = enable[j];
			ASSERT_EQ(0, tracee_poke(&self->t, 7, dr7));
			ASSERT_EQ(0, expect_pass(&self->t, self->slot));
		}
	}
}

/* Seconds of its own CPU time: enough for a dozen instructions, at any load */
#define HANG	2

static void on_hang(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	test_err("a thread with nothing armed is hit for ever at ip %#lx: another thread's slot is enabled",
		 (unsigned long)uc->uc_mcontext.gregs[UC_IP]);
	_exit(1);
}

/* A thread with nothing armed makes all accesses on the CPU of the caller */
static int pass_without_slots(struct words *words)
{
	struct sigaction action = {
		.sa_sigaction = on_hang, .sa_flags = SA_SIGINFO,
	};
	struct itimerval limit = { .it_value = { .tv_sec = HANG } };
	unsigned int place;
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		report_unexpected_sigtrap();
		sigaction(SIGPROF, &action, NULL);
		setitimer(ITIMER_PROF, &limit, NULL);
		for (place = 0; place < DR_SLOTS; place++) {
			probe_call_target(place, &words->sink, place);
			probe_load4(&words->word[place], 0);
			probe_store4(&words->word[place], place);
		}
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	return status;
}

/*
 * When a thread is switched out its slots are disabled
 * (arch_uninstall_hw_breakpoint() in arch/x86/kernel/hw_breakpoint.c): the next
 * thread on that CPU makes the same accesses without a trap.
 */
TEST_F(slot, disabled_for_next_thread_on_cpu)
{
	struct slot *slot = self->slot;
	struct tracee *t = &self->t;
	unsigned int i;
	int cpu = -1;

	ASSERT_EQ(1, allowed_cpus(&cpu, 1));
	ASSERT_EQ(0, pin_to_cpu(0, cpu));
	ASSERT_EQ(0, pin_to_cpu(t->tid, cpu));
	/* In each slot, as each has separate bits in DR7 */
	for (i = 0; i < 2 * DR_SLOTS; i++) {
		slot[i % DR_SLOTS] = (struct slot){
			true, i < DR_SLOTS ? BP_EXECUTE : BP_RW, i % DR_SLOTS };
		ASSERT_EQ(0, arm_slots(t, slot));
		ASSERT_EQ(0, expect_pass(t, slot));
		ASSERT_EQ(0, pass_without_slots(self->words)) {
			TH_LOG("while slot %u of another thread was armed",
			       i % DR_SLOTS);
		}
		slot[i % DR_SLOTS].armed = false;
	}
}

TEST_HARNESS_MAIN
