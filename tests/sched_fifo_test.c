// SPDX-License-Identifier: GPL-2.0
/*
 * Armed threads of the class SCHED_FIFO that pass one CPU to each other at every access,
 * with their tracer on another CPU.  For threads of the default class see
 * context_switch_test.
 */
#include <sched.h>

#include "harness.h"
#include "tracee_group.h"

#define TRACEES	8

FIXTURE(sched_fifo) {
	struct group_area *area;
	struct tracee t[TRACEES];
	struct group_tracee m[TRACEES];
};

FIXTURE_SETUP(sched_fifo)
{
	self->area = group_areas();
}

FIXTURE_TEARDOWN(sched_fifo)
{
	unsigned int i;

	for (i = 0; i < TRACEES; i++)
		tracee_stop(&self->t[i]);
}

TEST_F(sched_fifo, yield_at_every_access)
{
	struct sched_param prio = { .sched_priority = 1 };
	unsigned int i;
	int cpus[2];

	/* The tracer would starve */
	if (allowed_cpus(cpus, 2) < 2)
		SKIP(return, SKIP_ONE_CPU);
	for (i = 0; i < TRACEES; i++) {
		self->m[i] = (struct group_tracee){
			.area = self->area, .nr = i, .of = TRACEES,
			.rounds = iterations(120 / TRACEES), .armed = true,
			.pace = PACE_YIELD };
		skip_if_refused(_metadata, group_start(&self->t[i], &self->m[i],
						       TRACEE_TRACEME), "ptrace");
		ASSERT_EQ(0, pin_to_cpu(self->t[i].tid, cpus[0]));
		skip_if_refused(_metadata,
				sched_setscheduler(self->t[i].tid, SCHED_FIFO, &prio) ?
				-errno : 0, "SCHED_FIFO");
	}
	ASSERT_EQ(0, pin_to_cpu(0, cpus[1]));
	ASSERT_EQ(0, group_run(self->t, TRACEES));
}

TEST_HARNESS_MAIN
