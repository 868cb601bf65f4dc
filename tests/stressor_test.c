// SPDX-License-Identifier: GPL-2.0
/*
 * Armed tracees under background load.
 *
 * Each stressor runs through kernel code that saves, loads, inherits or
 * releases debug registers: fork and exec, page faults, timers, perf events,
 * migration threads, job control, other tracers.  Meanwhile four tracees run,
 * and each trap is exact.  For cgroups and CPU hotplug see cgroup_test and
 * hotplug_test.
 */
#include "harness.h"
#include "stressor.h"
#include "tracee_group.h"

#define TRACEES	4

FIXTURE(stressor) {
	struct group_area *area;
	struct tracee *t;
	struct group_tracee m[TRACEES];
};

FIXTURE_VARIANT(stressor) {
	int kind;
};

FIXTURE_VARIANT_ADD(stressor, forks) {
	.kind = STRESSOR_FORKS,
};

FIXTURE_VARIANT_ADD(stressor, execs) {
	.kind = STRESSOR_EXECS,
};

FIXTURE_VARIANT_ADD(stressor, page_faults) {
	.kind = STRESSOR_PAGE_FAULTS,
};

FIXTURE_VARIANT_ADD(stressor, timers) {
	.kind = STRESSOR_TIMERS,
};

FIXTURE_VARIANT_ADD(stressor, kernel_threads) {
	.kind = STRESSOR_KERNEL_THREADS,
};

FIXTURE_VARIANT_ADD(stressor, job_control) {
	.kind = STRESSOR_STOPS,
};

FIXTURE_VARIANT_ADD(stressor, second_attach) {
	.kind = STRESSOR_ATTACHES,
};

FIXTURE_VARIANT_ADD(stressor, perf_events) {
	.kind = STRESSOR_PERF_EVENTS,
};

FIXTURE_VARIANT_ADD(stressor, steps) {
	.kind = STRESSOR_STEPS,
};

FIXTURE_SETUP(stressor)
{
	unsigned int i;

	self->area = group_areas();
	/* The stressor must see which have ended */
	self->t = shared_alloc(TRACEES * sizeof(*self->t));
	for (i = 0; i < TRACEES; i++) {
		self->m[i] = (struct group_tracee){
			.area = self->area, .nr = i, .of = TRACEES,
			.rounds = iterations(15), .armed = true,
			.stops = variant->kind == STRESSOR_STOPS };
		skip_if_refused(_metadata,
				group_start(&self->t[i], &self->m[i], i % 3),
				"ptrace");
	}
}

FIXTURE_TEARDOWN(stressor)
{
	unsigned int i;

	for (i = 0; i < TRACEES; i++)
		tracee_stop(&self->t[i]);
}

/* The stressor has completed an iteration before the first trap, and goes on */
TEST_F(stressor, every_trap_arrives)
{
	struct stressor c = { .t = self->t, .n = TRACEES };
	int err;

	if (variant->kind == STRESSOR_PERF_EVENTS)
		skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	ASSERT_EQ(0, stressor_start(&c, &stressor_kinds[variant->kind]));
	stressor_wait_started(&c);
	EXPECT_EQ(0, group_run(self->t, TRACEES));
	err = stressor_stop(&c);
	if (err == STRESSOR_REFUSED)
		SKIP(return, SKIP_REFUSED, "perf_event_open");
	EXPECT_EQ(0, err);
}

TEST(taken_over_after_tracer_is_killed)
{
	skip_if_cannot_trace(_metadata);
	ASSERT_EQ(0, tracer_takeover(TAKEOVER_STORES));
}

TEST_HARNESS_MAIN
