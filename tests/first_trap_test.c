// SPDX-License-Identifier: GPL-2.0
/*
 * Do hardware breakpoints work here at all?
 *
 * A POKEUSER that returns 0 proves nothing: gVisor accepts and ignores it,
 * SEV guests accept it and never fire.  Only a trap is proof.  So one
 * breakpoint of each type fires once, with a sentinel right behind it that
 * shows a miss at once.  If these fail, nothing else here can hold.
 */
#include "harness.h"
#include "probes.h"

static void touch_once(struct tracee *t)
{
	unsigned long *word = t->arg;

	*t->progress = 1;
	probe_visit(0, word, 1);
	*t->progress = 2;
	probe_load4(word, 0);
	*t->progress = 3;
	probe_store4(word, 2);
	*t->progress = 4;
	tracee_sync();
}

FIXTURE(first_trap) {
	struct tracee t;
	unsigned long *word;
};

FIXTURE_SETUP(first_trap)
{
	self->word = shared_alloc(sizeof(*self->word));
	self->t.body = touch_once;
	self->t.arg = self->word;
	if (!start(_metadata, &self->t, TRACEE_TRACEME))
		return;
}

FIXTURE_TEARDOWN(first_trap)
{
	tracee_stop(&self->t);
}

TEST_F(first_trap, execute)
{
	struct trap trap = {
		.ip = probe_target(0), .slots = 1, .progress = 1,
		.mem = self->word, .mem_size = 4, .mem_value = 0,
	};

	ASSERT_EQ(0, tracee_arm(&self->t, 0, BP_EXECUTE, 1, probe_target(0)));
	ASSERT_EQ(0, tracee_expect_trap(&self->t, &trap));
	ASSERT_EQ(0, tracee_expect_sync(&self->t, 4));
	ASSERT_EQ(0, tracee_expect_exit(&self->t));
}

TEST_F(first_trap, write)
{
	struct trap trap = {
		.ip = probe_store4_next, .slots = 1, .progress = 3,
		.mem = self->word, .mem_size = 4, .mem_value = 2,
	};

	/* Armed only behind the target's own store, so that one is owed */
	ASSERT_EQ(0, tracee_arm(&self->t, 1, BP_EXECUTE, 1, probe_load4_at));
	ASSERT_EQ(0, tracee_expect_hit(&self->t, 2, probe_load4_at, 2));
	ASSERT_EQ(0, tracee_arm(&self->t, 0, BP_WRITE, 4, self->word));
	ASSERT_EQ(0, tracee_expect_trap(&self->t, &trap));
	ASSERT_EQ(0, tracee_expect_sync(&self->t, 4));
	ASSERT_EQ(0, tracee_expect_exit(&self->t));
}

TEST_F(first_trap, read)
{
	ASSERT_EQ(0, tracee_arm(&self->t, 1, BP_EXECUTE, 1, probe_load4_at));
	ASSERT_EQ(0, tracee_expect_hit(&self->t, 2, probe_load4_at, 2));
	ASSERT_EQ(0, tracee_arm(&self->t, 0, BP_RW, 4, self->word));
	ASSERT_EQ(0, tracee_expect_hit(&self->t, 1, probe_load4_next, 2));
	ASSERT_EQ(0, tracee_expect_hit(&self->t, 1, probe_store4_next, 3));
	ASSERT_EQ(0, tracee_expect_sync(&self->t, 4));
	ASSERT_EQ(0, tracee_expect_exit(&self->t));
}

TEST_HARNESS_MAIN
