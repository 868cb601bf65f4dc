// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel text patched by the armed thread itself.
 *
 * Text is written through a temporary mm, for which the CPU's breakpoints are
 * disabled and restored, as addresses mean something else there
 * (use_temporary_mm() in arch/x86/mm/tlb.c, arch/x86/kernel/alternative.c
 * before 6.16).  A register that is not restored only shows at the very next
 * access: the next context switch loads all registers again, and every stop of
 * a tracee is one.
 */
#include "perf_event.h"
#include "probes.h"

#define ROUNDS		8

FIXTURE(text_patching) {
	struct tracee t;
	unsigned long *words;
};

FIXTURE_SETUP(text_patching)
{
	skip_if_refused(_metadata, patch_text(), "perf_event_open");
	self->words = shared_alloc(2 * DR_SLOTS * sizeof(*self->words));
	self->t.arg = self->words;
}

FIXTURE_TEARDOWN(text_patching)
{
	tracee_stop(&self->t);
}

static void patch_and_store(struct tracee *t)
{
	unsigned long *words = t->arg, n;

	for (n = 0; n < ROUNDS * DR_SLOTS; n++) {
		*t->progress = n;
		if (patch_text())
			return;
		probe_store4(&words[n % DR_SLOTS], n);
	}
}

static void patch_and_call(struct tracee *t)
{
	unsigned long *words = t->arg, n;

	for (n = 0; n < ROUNDS * DR_SLOTS; n++) {
		*t->progress = n;
		if (patch_text())
			return;
		probe_call_target(n % DR_SLOTS, words, n);
	}
}

/* Each slot in turn is the first to be hit after a patch */
TEST_F(text_patching, watchpoints_kept)
{
	struct tracee *t = &self->t;
	unsigned long n;

	t->body = patch_and_store;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	for (n = 0; n < DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_arm(t, n, BP_WRITE, 4, &self->words[n])) {
			TH_LOG("slot %lu", n);
		}
	}
	for (n = 0; n < ROUNDS * DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << n % DR_SLOTS,
					       probe_store4_next, n));
	}
	ASSERT_EQ(0, tracee_expect_exit(t));
}

TEST_F(text_patching, execute_breakpoints_kept)
{
	struct tracee *t = &self->t;
	unsigned long n;

	t->body = patch_and_call;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	for (n = 0; n < DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_arm(t, n, BP_EXECUTE, 1, probe_target(n))) {
			TH_LOG("slot %lu", n);
		}
	}
	for (n = 0; n < ROUNDS * DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << n % DR_SLOTS,
					       probe_target(n % DR_SLOTS), n));
	}
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/* The same without any stop: the event counts through all patches */
TEST_F(text_patching, perf_events_kept)
{
	struct perf_event_attr attr;
	unsigned int i, n;
	int fd[DR_SLOTS];

	for (i = 0; i < DR_SLOTS; i++) {
		attr = perf_attr(HW_BREAKPOINT_W, &self->words[i], 4);
		fd[i] = perf_open(_metadata, &attr, 0, -1);
	}
	for (n = 0; n < ROUNDS; n++) {
		for (i = 0; i < DR_SLOTS; i++) {
			ASSERT_EQ(0, patch_text());
			probe_store4(&self->words[i], n);
		}
	}
	for (i = 0; i < DR_SLOTS; i++) {
		EXPECT_EQ(ROUNDS, perf_count(fd[i])) {
			TH_LOG("the event in slot %u", i);
		}
		close(fd[i]);
	}
}

TEST_HARNESS_MAIN
