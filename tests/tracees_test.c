// SPDX-License-Identifier: GPL-2.0
/*
 * Many tracees and concurrent tracers: no trap lost, none given to the wrong
 * thread.
 *
 * The CPU has one set of debug registers, and each switch between two threads
 * that have breakpoints must replace all of it.  So the tracees of a test hold
 * different addresses in all four slots, each of them touches also what the
 * others watch, and they meet on one CPU; the situation of the 2016 report,
 * where one reproducer alone saw nothing and two side by side did.
 */
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crew.h"
#include "harness.h"

#define TRACERS		8
#define TRACEES		4

FIXTURE(tracees) {
	struct crew_area *area;
	struct tracee t[CREW_MAX];
	struct crew_member member[CREW_MAX];
};

FIXTURE_SETUP(tracees)
{
	unsigned int i;

	self->area = crew_areas();
	for (i = 0; i < CREW_MAX; i++)
		self->member[i] = (struct crew_member){
			.area = self->area, .nr = i, .of = CREW_MAX,
			.rounds = 10, .armed = true };
}

FIXTURE_TEARDOWN(tracees)
{
	unsigned int i;

	for (i = 0; i < CREW_MAX; i++)
		tracee_stop(&self->t[i]);
}

TEST_F(tracees, one_tracer_and_64)
{
	unsigned int i;

	for (i = 0; i < CREW_MAX; i++)
		if (!may_go_on(_metadata,
			       crew_start(&self->t[i], &self->member[i], i % 3),
			       "start and arm"))
			return;
	ASSERT_EQ(0, crew_run(self->t, CREW_MAX));
}

/* Every other tracee has nothing armed, and touches what its neighbour watches */
TEST_F(tracees, unarmed_between_armed_on_one_cpu)
{
	unsigned int i, n = 16;
	int cpu;

	ASSERT_EQ(1, allowed_cpus(&cpu, 1));
	ASSERT_EQ(0, pin_to_cpu(0, cpu));
	for (i = 0; i < n; i++) {
		self->member[i].of = n;
		self->member[i].rounds = 20;
		self->member[i].armed = i % 2;
		if (!may_go_on(_metadata,
			       crew_start(&self->t[i], &self->member[i], i % 3),
			       "start and arm"))
			return;
	}
	ASSERT_EQ(0, crew_run(self->t, n));
}

/* Tracers side by side, begun together */
struct tracers {
	struct crew_area *area;
	bool same_addresses;
	unsigned int rounds;
};

FIXTURE(tracers) {
	struct tracers all;
	int *stop;
};

FIXTURE_VARIANT(tracers) {
	bool pinned;
	bool same_addresses;
};

FIXTURE_VARIANT_ADD(tracers, on_one_cpu) {
	.pinned = true,
};

FIXTURE_VARIANT_ADD(tracers, on_one_cpu_same_addresses) {
	.pinned = true, .same_addresses = true,
};

FIXTURE_VARIANT_ADD(tracers, roaming) {
	.pinned = false,
};

FIXTURE_VARIANT_ADD(tracers, roaming_same_addresses) {
	.same_addresses = true,
};

FIXTURE_SETUP(tracers)
{
	int cpu;

	if (!can_trace(_metadata))
		return;
	self->all.area = crew_areas();
	self->stop = shared_alloc(sizeof(*self->stop));
	self->all.same_addresses = variant->same_addresses;
	if (variant->pinned) {
		ASSERT_EQ(1, allowed_cpus(&cpu, 1));
		ASSERT_EQ(0, pin_to_cpu(0, cpu));
	}
}

FIXTURE_TEARDOWN(tracers)
{
}

static int trace_four(unsigned int nr, void *arg)
{
	struct tracers *all = arg;
	struct tracee t[TRACEES] = { 0 };
	struct crew_member m[TRACEES];
	unsigned int i;
	int err = 0;

	for (i = 0; i < TRACEES && !err; i++) {
		m[i] = (struct crew_member){
			.area = all->area, .rounds = all->rounds,
			.armed = true, .of = TRACERS * TRACEES,
			.nr = (all->same_addresses ? 0 : nr * TRACEES) + i };
		err = crew_start(&t[i], &m[i], TRACEE_SEIZE);
	}
	crew_ready();
	if (!err)
		err = crew_run(t, TRACEES);
	for (i = 0; i < TRACEES; i++)
		tracee_stop(&t[i]);
	return err;
}

/* A neighbour that nobody traces; a trap that leaks to it kills it */
static int touch_until_told(const struct crew_member *m, const int *stop)
{
	unsigned long step;

	for (step = 0; !__atomic_load_n(stop, __ATOMIC_RELAXED); step++) {
		crew_access(m, step);
		sched_yield();
	}
	return 0;
}

TEST_F(tracers, eight_with_four_each)
{
	self->all.rounds = 12;
	ASSERT_EQ(0, crew_side_by_side(TRACERS, trace_four, &self->all));
}

TEST_F(tracers, nothing_leaks_to_untraced_neighbours)
{
	struct crew_member m[TRACEES];
	pid_t neighbour[TRACEES];
	unsigned int i;
	int status;

	for (i = 0; i < TRACEES; i++) {
		m[i] = (struct crew_member){ .area = self->all.area, .nr = i,
					     .of = TRACERS * TRACEES };
		neighbour[i] = fork();
		ASSERT_LE(0, neighbour[i]);
		if (!neighbour[i])
			_exit(touch_until_told(&m[i], self->stop));
	}
	self->all.rounds = 4;
	EXPECT_EQ(0, crew_side_by_side(TRACERS, trace_four, &self->all));
	__atomic_store_n(self->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < TRACEES; i++) {
		ASSERT_EQ(neighbour[i], waitpid(neighbour[i], &status, 0));
		EXPECT_EQ(0, status) {
			TH_LOG("untraced neighbour %u: wait status %#x, a trap leaked?",
			       i, status);
		}
	}
}

TEST_HARNESS_MAIN
