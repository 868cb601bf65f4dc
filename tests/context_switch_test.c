// SPDX-License-Identifier: GPL-2.0
/*
 * Context switches between armed threads, and migration.
 *
 * The bug of 2016 only showed when two armed threads met on one CPU, and then
 * after minutes.  What finds such bugs is not the number of traps but how often
 * registers are loaded: at a switch from one armed thread to another, at a
 * migration to another CPU, when a CPU comes online.  So one of these precedes
 * every access here, and every trap is still exact.
 */
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tracee_group.h"
#include "harness.h"

/* Number of traps of a run, for any numbers of tracers and tracees */
#define TOTAL_TRAPS	160

enum spread { ONE_CPU, SPREAD, ROAMING };

FIXTURE(concurrent) {
	struct group_area *area;
};

FIXTURE_VARIANT(concurrent) {
	enum spread spread;
};

FIXTURE_VARIANT_ADD(concurrent, one_cpu) {
	.spread = ONE_CPU,
};

FIXTURE_VARIANT_ADD(concurrent, spread) {
	.spread = SPREAD,
};

FIXTURE_VARIANT_ADD(concurrent, roaming) {
	.spread = ROAMING,
};

FIXTURE_SETUP(concurrent)
{
	skip_if_cannot_trace(_metadata);
	self->area = group_areas();
}

FIXTURE_TEARDOWN(concurrent)
{
}

struct concurrent {
	struct group_area *area;
	unsigned int tracers, tracees;
	enum spread spread;
	enum group_pace pace;
	unsigned int rounds;
};

/*
 * One tracer of several.  From four tracees on, pairs of them have the same
 * addresses.  Odd ones are armed, disarmed and armed again as they start, while
 * the others run.
 */
static int trace_group(unsigned int nr, void *arg)
{
	const struct concurrent *g = arg;
	struct tracee t[GROUP_MAX] = { 0 };
	struct group_tracee m[GROUP_MAX];
	int cpus[64], n = allowed_cpus(cpus, 64), err = 0;
	unsigned int i, of = g->tracers * g->tracees, same = of < 4 ? 1 : 2;

	if (g->spread == ONE_CPU)
		err = pin_to_cpu(0, cpus[0]);
	else if (g->spread == SPREAD)
		err = pin_to_cpu(0, cpus[nr % n]);
	for (i = 0; i < g->tracees && !err; i++) {
		m[i] = (struct group_tracee){
			.area = g->area, .rounds = g->rounds, .armed = true,
			.nr = (nr * g->tracees + i) / same, .of = of,
			.pace = g->pace };
		err = group_start(&t[i], &m[i], i % 3);
	}
	side_by_side_ready();
	for (i = 1; i < g->tracees && !err; i += 2) {
		err = tracee_disarm_all(&t[i]);
		if (!err)
			err = group_arm(&t[i]);
	}
	if (!err)
		err = group_run(t, g->tracees);
	for (i = 0; i < g->tracees; i++)
		tracee_stop(&t[i]);
	return err;
}

static void run_concurrent(struct __test_metadata *_metadata,
			   struct group_area *area, enum spread spread,
			   unsigned int tracers, unsigned int tracees)
{
	unsigned int rounds = iterations(TOTAL_TRAPS) / (tracers * tracees * GROUP_TRAPS_PER_ROUND);
	struct concurrent g = {
		.area = area, .spread = spread, .tracers = tracers,
		.tracees = tracees, .rounds = rounds ? rounds : 1,
	};

	int err = run_side_by_side(tracers, trace_group, &g);

	skip_if_few_processes(_metadata, err);
	ASSERT_EQ(0, err) {
		TH_LOG("number of failed tracers, of %u with %u tracees each",
		       tracers, tracees);
	}
}

#define RUN(tracers, tracees)						\
	run_concurrent(_metadata, self->area, variant->spread, tracers, tracees)

TEST_F(concurrent, one_tracer)
{
	RUN(1, 1);
	RUN(1, 4);
	RUN(1, 16);
}

TEST_F(concurrent, two_tracers)
{
	RUN(2, 1);
	RUN(2, 4);
	RUN(2, 16);
}

TEST_F(concurrent, four_tracers)
{
	RUN(4, 1);
	RUN(4, 4);
	RUN(4, 16);
}

TEST_F(concurrent, sixteen_tracers)
{
	RUN(16, 1);
	RUN(16, 4);
}

/*
 * Armed threads that pass one CPU to each other at every access, with their
 * tracer on another CPU if there is one: each time all four registers are
 * replaced by those of the next thread.
 */
FIXTURE(handover) {
	struct group_area *area;
	struct tracee t[GROUP_MAX];
	struct group_tracee m[GROUP_MAX];
};

FIXTURE_VARIANT(handover) {
	unsigned int tracees;
	enum group_pace pace;
	bool others_unarmed;
};

FIXTURE_VARIANT_ADD(handover, two_by_yield) {
	.tracees = 2, .pace = PACE_YIELD,
};

FIXTURE_VARIANT_ADD(handover, eight_by_yield) {
	.tracees = 8, .pace = PACE_YIELD,
};

FIXTURE_VARIANT_ADD(handover, two_by_futex) {
	.tracees = 2, .pace = PACE_TOKEN,
};

FIXTURE_VARIANT_ADD(handover, eight_by_futex) {
	.tracees = 8, .pace = PACE_TOKEN,
};

/* Armed, then unarmed, then armed again: nothing leaks into the unarmed one */
FIXTURE_VARIANT_ADD(handover, every_other_unarmed_by_yield) {
	.tracees = 8, .pace = PACE_YIELD, .others_unarmed = true,
};

FIXTURE_VARIANT_ADD(handover, every_other_unarmed_by_futex) {
	.tracees = 3, .pace = PACE_TOKEN, .others_unarmed = true,
};

FIXTURE_SETUP(handover)
{
	self->area = group_areas();
}

FIXTURE_TEARDOWN(handover)
{
	unsigned int i;

	for (i = 0; i < GROUP_MAX; i++)
		tracee_stop(&self->t[i]);
}

TEST_F(handover, at_every_access)
{
	unsigned long switches = 0, traps = 0;
	unsigned int i, n = variant->tracees;
	int cpus[2], ncpus = allowed_cpus(cpus, 2);

	for (i = 0; i < n; i++) {
		self->m[i] = (struct group_tracee){
			.area = self->area, .nr = i, .of = n, .rounds = iterations(120 / n),
			.armed = !variant->others_unarmed || i % 2 == 0,
			.pace = variant->pace };
		skip_if_refused(_metadata, group_start(&self->t[i], &self->m[i],
						       TRACEE_TRACEME), "ptrace");
		ASSERT_EQ(0, pin_to_cpu(self->t[i].tid, cpus[0]));
	}
	ASSERT_EQ(0, pin_to_cpu(0, cpus[ncpus - 1]));

	ASSERT_EQ(0, group_run(self->t, n));
	for (i = 0; i < n; i++) {
		switches += self->area[i].switches;
		traps += self->t[i].traps;
	}
	TH_LOG("%lu traps, %lu switches of armed threads on one CPU", traps,
	       switches);
}

#define MIGRATION_ROUNDS	20

/* A tracee that is on another CPU at every access */
FIXTURE(migration) {
	struct group_area *area;
	struct tracee t[4];
	struct group_tracee m[4];
	int cpus[64];
	int ncpus;
};

FIXTURE_SETUP(migration)
{
	unsigned int i;

	self->ncpus = allowed_cpus(self->cpus, 64);
	if (self->ncpus < 2)
		SKIP(return, SKIP_ONE_CPU);
	self->area = group_areas();
	for (i = 0; i < 4; i++) {
		self->m[i] = (struct group_tracee){
			.area = self->area, .nr = i, .of = 4,
			.rounds = iterations(MIGRATION_ROUNDS),
			.armed = true };
		skip_if_refused(_metadata, group_start(&self->t[i], &self->m[i],
						       TRACEE_TRACEME), "ptrace");
	}
}

FIXTURE_TEARDOWN(migration)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		tracee_stop(&self->t[i]);
}

static unsigned long migrations(const struct group_area *area, unsigned int n)
{
	unsigned long sum = 0;

	while (n--)
		sum += area[n].moves;
	return sum;
}

/* The pace is copied by the tracee: it must be set before it starts */
TEST_F(migration, by_itself)
{
	unsigned int i;

	/* The harness of 6.1 runs the test even if the setup has skipped it */
	if (self->ncpus < 2)
		return;
	for (i = 0; i < 4; i++) {
		tracee_stop(&self->t[i]);
		self->m[i].pace = PACE_MOVE;
		ASSERT_EQ(0, group_start(&self->t[i], &self->m[i],
					 TRACEE_TRACEME));
	}
	ASSERT_EQ(0, group_run(self->t, 4));
	ASSERT_LT(4 * iterations(MIGRATION_ROUNDS), migrations(self->area, 4));
}

TEST_F(migration, by_tracer_while_stopped)
{
	unsigned int i;

	if (self->ncpus < 2)
		return;
	for (i = 0; i < 4; i++)
		self->m[i].moved = true;
	ASSERT_EQ(0, group_run(self->t, 4));
	ASSERT_LT(4 * iterations(MIGRATION_ROUNDS), migrations(self->area, 4));
}

/* A third process keeps moving them, whether they run or are stopped */
TEST_F(migration, by_third_process)
{
	unsigned long *moved = shared_alloc(sizeof(*moved));
	int *keep_moving = shared_alloc(sizeof(*keep_moving));
	int status, i, turn;
	pid_t mover;

	if (self->ncpus < 2)
		return;
	*keep_moving = 1;
	mover = fork_or_skip(_metadata);
	for (turn = 0; !mover && __atomic_load_n(keep_moving, __ATOMIC_RELAXED); turn++)
		for (i = 0; i < 4; i++)
			if (!pin_to_cpu(self->t[i].tid,
					self->cpus[(turn + i) % self->ncpus]))
				__atomic_add_fetch(moved, 1, __ATOMIC_RELAXED);
	if (!mover)
		_exit(0);
	while (!__atomic_load_n(moved, __ATOMIC_RELAXED))
		let_others_run();
	EXPECT_EQ(0, group_run(self->t, 4));
	__atomic_store_n(keep_moving, 0, __ATOMIC_RELAXED);
	ASSERT_EQ(mover, waitpid(mover, &status, 0));
	ASSERT_EQ(0, status);
}

/* Move each thread read from @ask to the next CPU, and confirm it */
static void move_on_request(int ask, int reply, const int *cpus, int ncpus)
{
	unsigned int turn = 0;
	pid_t tid;
	int err;

	while (read(ask, &tid, sizeof(tid)) == sizeof(tid)) {
		err = pin_to_cpu(tid, cpus[turn++ % ncpus]);
		if (write(reply, &err, sizeof(err)) != sizeof(err))
			break;
	}
}

/* Moved at each of its traps, before it is continued */
TEST_F(migration, by_third_process_while_stopped)
{
	int ask[2], reply[2], err, i, left = 4;
	struct tracee *t;
	struct stop s;
	pid_t mover;

	if (self->ncpus < 2)
		return;
	ASSERT_EQ(0, pipe(ask));
	ASSERT_EQ(0, pipe(reply));
	mover = fork_or_skip(_metadata);
	if (!mover) {
		close(ask[1]);
		move_on_request(ask[0], reply[1], self->cpus, self->ncpus);
		_exit(0);
	}
	/* Its death must end the read() */
	close(reply[1]);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_cont(&self->t[i])) {
			TH_LOG("tracee %d", i);
		}
	}
	while (left) {
		t = tracee_wait_any(self->t, 4, &s);
		ASSERT_TRUE(!!t);
		if (t->tid > 0) {
			ASSERT_EQ(sizeof(t->tid), write(ask[1], &t->tid,
							sizeof(t->tid)));
			ASSERT_EQ(sizeof(err), read(reply[0], &err, sizeof(err)));
			ASSERT_EQ(0, err);
		}
		ASSERT_EQ(0, group_event(t, &s));
		if (t->tid < 0)
			left--;
	}
	close(ask[1]);
	ASSERT_EQ(mover, waitpid(mover, &err, 0));
	ASSERT_EQ(0, err);
}

#define TRACERS		8
#define TRACEES		4

FIXTURE(tracees) {
	struct group_area *area;
	struct tracee t[GROUP_MAX];
	struct group_tracee m[GROUP_MAX];
};

FIXTURE_SETUP(tracees)
{
	unsigned int i;

	self->area = group_areas();
	for (i = 0; i < GROUP_MAX; i++)
		self->m[i] = (struct group_tracee){
			.area = self->area, .nr = i, .of = GROUP_MAX,
			.rounds = iterations(5), .armed = true };
}

FIXTURE_TEARDOWN(tracees)
{
	unsigned int i;

	for (i = 0; i < GROUP_MAX; i++)
		tracee_stop(&self->t[i]);
}

TEST_F(tracees, sixty_four_of_one_tracer)
{
	unsigned int i;

	for (i = 0; i < GROUP_MAX; i++)
		skip_if_refused(_metadata,
				group_start(&self->t[i], &self->m[i], i % 3),
				"ptrace");
	ASSERT_EQ(0, group_run(self->t, GROUP_MAX));
}

/*
 * Every other tracee has nothing armed, and accesses what its neighbour watches
 */
TEST_F(tracees, unarmed_between_armed)
{
	unsigned int i, n = 16;
	int cpu;

	ASSERT_EQ(1, allowed_cpus(&cpu, 1));
	ASSERT_EQ(0, pin_to_cpu(0, cpu));
	for (i = 0; i < n; i++) {
		self->m[i].of = n;
		self->m[i].rounds = iterations(10);
		self->m[i].armed = i % 2;
		skip_if_refused(_metadata,
				group_start(&self->t[i], &self->m[i], i % 3),
				"ptrace");
	}
	ASSERT_EQ(0, group_run(self->t, n));
}

/* Concurrent tracers, started together */
struct tracers {
	struct group_area *area;
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

	skip_if_cannot_trace(_metadata);
	self->all.area = group_areas();
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
	struct group_tracee m[TRACEES];
	unsigned int i;
	int err = 0;

	for (i = 0; i < TRACEES && !err; i++) {
		m[i] = (struct group_tracee){
			.area = all->area, .rounds = all->rounds,
			.armed = true, .of = TRACERS * TRACEES,
			.nr = (all->same_addresses ? 0 : nr * TRACEES) + i };
		err = group_start(&t[i], &m[i], TRACEE_SEIZE);
	}
	side_by_side_ready();
	if (!err)
		err = group_run(t, TRACEES);
	for (i = 0; i < TRACEES; i++)
		tracee_stop(&t[i]);
	return err;
}

/* A neighbour that is not traced; a trap that leaks to it kills it */
static int access_until_stopped(const struct group_tracee *m, const int *stop)
{
	unsigned long step;

	report_unexpected_sigtrap();
	for (step = 0; !__atomic_load_n(stop, __ATOMIC_RELAXED); step++) {
		group_access(m, step);
		let_others_run();
	}
	return 0;
}

TEST_F(tracers, eight_with_four_each)
{
	int err;

	self->all.rounds = iterations(6);
	err = run_side_by_side(TRACERS, trace_four, &self->all);
	skip_if_few_processes(_metadata, err);
	ASSERT_EQ(0, err);
}

TEST_F(tracers, untraced_neighbours_not_hit)
{
	struct group_tracee m[TRACEES];
	pid_t neighbour[TRACEES];
	unsigned int i;
	int status, err;

	for (i = 0; i < TRACEES; i++) {
		m[i] = (struct group_tracee){ .area = self->all.area, .nr = i,
					     .of = TRACERS * TRACEES };
		neighbour[i] = fork_or_skip(_metadata);
		if (!neighbour[i])
			_exit(access_until_stopped(&m[i], self->stop));
	}
	self->all.rounds = iterations(4);
	err = run_side_by_side(TRACERS, trace_four, &self->all);
	/* Number of those that failed */
	EXPECT_GE(0, err);
	__atomic_store_n(self->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < TRACEES; i++) {
		ASSERT_EQ(neighbour[i], waitpid(neighbour[i], &status, 0));
		ASSERT_EQ(0, status) {
			TH_LOG("untraced neighbour %u: wait status %#x, a trap leaked?",
			       i, status);
		}
	}
	skip_if_few_processes(_metadata, err);
}

TEST_HARNESS_MAIN
