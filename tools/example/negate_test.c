// SPDX-License-Identifier: GPL-2.0
/*
 * An instruction that reads and writes the same memory is one hit.
 */
#include "probe_job.h"

DECLARE_PROBE(negate);
DEFINE_PROBE(negate, "", "negl (" PROBE_PTR ")", "nop");

TEST(read_and_write_is_one_hit)
{
	unsigned int *word = shared_alloc(sizeof(*word)), slot;
	struct tracee t = {};

	start_probe_job(_metadata, &t, negate, word);
	for (slot = 0; slot < DR_SLOTS; slot++) {
		ASSERT_EQ(0, tracee_arm(&t, slot, BP_RW, 4, word));
		ASSERT_EQ(0, tracee_expect_hit(&t, 1 << slot, negate_next, 1));
		ASSERT_EQ(0, tracee_expect_sync(&t, 2));
		ASSERT_EQ(0, tracee_disarm(&t, slot));
	}
	tracee_stop(&t);
}

TEST_HARNESS_MAIN
