// SPDX-License-Identifier: GPL-2.0
/*
 * Storms: debug registers that are replaced at full speed, in company.
 *
 * The bug of 2016 showed only where two armed threads met on one CPU, and then
 * after minutes.  What finds such bugs is not the number of traps but of
 * reloads: a switch from one armed thread to another, a thread that comes to
 * another CPU, a CPU that goes and comes back.  So here every access has one
 * in front of it, and every trap is still exact.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crew.h"
#include "harness.h"

/* Tracers times tracees, with about the same number of traps each */
#define GRID_TRAPS	320

enum spread { ONE_CPU, SPREAD, ROAMING };

FIXTURE(grid) {
	struct crew_area *area;
};

FIXTURE_VARIANT(grid) {
	enum spread spread;
};

FIXTURE_VARIANT_ADD(grid, one_cpu) {
	.spread = ONE_CPU,
};

FIXTURE_VARIANT_ADD(grid, spread) {
	.spread = SPREAD,
};

FIXTURE_VARIANT_ADD(grid, roaming) {
	.spread = ROAMING,
};

FIXTURE_SETUP(grid)
{
	if (can_trace(_metadata))
		self->area = crew_areas();
}

FIXTURE_TEARDOWN(grid)
{
}

struct grid {
	struct crew_area *area;
	unsigned int tracers, tracees;
	enum spread spread;
	enum crew_pace pace;
	unsigned int rounds;
};

/*
 * One tracer of several.  From four members on, two and two have the same
 * addresses, and more of them where there are more members than addresses.
 * Odd ones are armed, disarmed and armed again as they start, while their
 * neighbours run.
 */
static int trace_some(unsigned int nr, void *arg)
{
	const struct grid *g = arg;
	struct tracee t[CREW_MAX] = { 0 };
	struct crew_member m[CREW_MAX];
	int cpus[64], n = allowed_cpus(cpus, 64), err = 0;
	unsigned int i, of = g->tracers * g->tracees, same = of < 4 ? 1 : 2;

	if (g->spread == ONE_CPU)
		err = pin_to_cpu(0, cpus[0]);
	else if (g->spread == SPREAD)
		err = pin_to_cpu(0, cpus[nr % n]);
	if (of > CREW_MAX)
		of = CREW_MAX;
	for (i = 0; i < g->tracees && !err; i++) {
		m[i] = (struct crew_member){
			.area = g->area, .rounds = g->rounds, .armed = true,
			.nr = (nr * g->tracees + i) / same % of, .of = of,
			.pace = g->pace };
		err = crew_start(&t[i], &m[i], i % 3);
	}
	crew_ready();
	for (i = 1; i < g->tracees && !err; i += 2) {
		err = tracee_disarm_all(&t[i]);
		if (!err)
			err = crew_arm(&t[i]);
	}
	if (!err)
		err = crew_run(t, g->tracees);
	for (i = 0; i < g->tracees; i++)
		tracee_stop(&t[i]);
	return err;
}

static void run_grid(struct __test_metadata *_metadata, struct crew_area *area,
		     enum spread spread, unsigned int tracers,
		     unsigned int tracees)
{
	unsigned int rounds = GRID_TRAPS / (tracers * tracees * CREW_TRAPS);
	struct grid g = {
		.area = area, .spread = spread, .tracers = tracers,
		.tracees = tracees, .rounds = rounds ? rounds : 1,
	};

	ASSERT_EQ(0, crew_side_by_side(tracers, trace_some, &g)) {
		TH_LOG("that many of %u tracers with %u tracees each failed",
		       tracers, tracees);
	}
}

#define GRID(tracers, tracees)						\
	run_grid(_metadata, self->area, variant->spread, tracers, tracees)

TEST_F(grid, of_1_tracer)
{
	GRID(1, 1);
	GRID(1, 4);
	GRID(1, 16);
}

TEST_F(grid, of_2_tracers)
{
	GRID(2, 1);
	GRID(2, 4);
	GRID(2, 16);
}

TEST_F(grid, of_4_tracers)
{
	GRID(4, 1);
	GRID(4, 4);
	GRID(4, 16);
}

TEST_F(grid, of_16_tracers)
{
	GRID(16, 1);
	GRID(16, 4);
	GRID(16, 16);
}

/*
 * Armed threads that hand one CPU to each other at every access, with their
 * tracer on another CPU where there is one: every time, all four registers of
 * the one are replaced by those of the other.
 */
FIXTURE(handover) {
	struct crew_area *area;
	struct tracee t[CREW_MAX];
	struct crew_member m[CREW_MAX];
};

FIXTURE_VARIANT(handover) {
	unsigned int members;
	enum crew_pace pace;
	bool fifo;
	bool others_unarmed;
};

FIXTURE_VARIANT_ADD(handover, two_by_yield) {
	.members = 2, .pace = CREW_YIELD,
};

FIXTURE_VARIANT_ADD(handover, eight_by_yield) {
	.members = 8, .pace = CREW_YIELD,
};

FIXTURE_VARIANT_ADD(handover, two_by_futex) {
	.members = 2, .pace = CREW_BATON,
};

FIXTURE_VARIANT_ADD(handover, eight_by_futex) {
	.members = 8, .pace = CREW_BATON,
};

FIXTURE_VARIANT_ADD(handover, eight_by_yield_fifo) {
	.members = 8, .pace = CREW_YIELD, .fifo = true,
};

/* Armed, then unarmed, then armed again: nothing leaks into the unarmed one */
FIXTURE_VARIANT_ADD(handover, every_other_unarmed_by_yield) {
	.members = 8, .pace = CREW_YIELD, .others_unarmed = true,
};

FIXTURE_VARIANT_ADD(handover, every_other_unarmed_by_futex) {
	.members = 3, .pace = CREW_BATON, .others_unarmed = true,
};

FIXTURE_SETUP(handover)
{
	self->area = crew_areas();
}

FIXTURE_TEARDOWN(handover)
{
	unsigned int i;

	for (i = 0; i < CREW_MAX; i++)
		tracee_stop(&self->t[i]);
}

TEST_F(handover, at_every_access)
{
	struct sched_param prio = { .sched_priority = 1 };
	unsigned long switches = 0, traps = 0;
	unsigned int i, n = variant->members;
	int cpus[2], ncpus = allowed_cpus(cpus, 2);

	for (i = 0; i < n; i++) {
		self->m[i] = (struct crew_member){
			.area = self->area, .nr = i, .of = n, .rounds = 240 / n,
			.armed = !variant->others_unarmed || i % 2 == 0,
			.pace = variant->pace };
		if (!may_go_on(_metadata,
			       crew_start(&self->t[i], &self->m[i],
					  TRACEE_TRACEME), "start and arm"))
			return;
		ASSERT_EQ(0, pin_to_cpu(self->t[i].tid, cpus[0]));
		if (variant->fifo &&
		    sched_setscheduler(self->t[i].tid, SCHED_FIFO, &prio)) {
			if (errno == EPERM)
				SKIP(return, "SCHED_FIFO: %s", strerror(errno));
			ASSERT_EQ(0, errno);
		}
	}
	/* With one CPU only, the tracer would starve behind SCHED_FIFO */
	if (ncpus < 2 && variant->fifo)
		SKIP(return, "one CPU: the tracer needs another");
	ASSERT_EQ(0, pin_to_cpu(0, cpus[ncpus - 1]));

	ASSERT_EQ(0, crew_run(self->t, n));
	for (i = 0; i < n; i++) {
		switches += self->area[i].switches;
		traps += self->t[i].traps;
	}
	TH_LOG("%lu traps, %lu switches of armed threads on one CPU", traps,
	       switches);
}

/* A tracee that is on another CPU at every access */
FIXTURE(migration) {
	struct crew_area *area;
	struct tracee t[4];
	struct crew_member m[4];
	int cpus[64];
	int ncpus;
};

FIXTURE_SETUP(migration)
{
	unsigned int i;

	self->ncpus = allowed_cpus(self->cpus, 64);
	if (self->ncpus < 2)
		SKIP(return, "one CPU only");
	self->area = crew_areas();
	for (i = 0; i < 4; i++) {
		self->m[i] = (struct crew_member){
			.area = self->area, .nr = i, .of = 4, .rounds = 40,
			.armed = true };
		if (!may_go_on(_metadata,
			       crew_start(&self->t[i], &self->m[i],
					  TRACEE_TRACEME), "start and arm"))
			return;
	}
}

FIXTURE_TEARDOWN(migration)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		tracee_stop(&self->t[i]);
}

static unsigned long moves(const struct crew_area *area, unsigned int n)
{
	unsigned long sum = 0;

	while (n--)
		sum += area[n].moves;
	return sum;
}

/* The pace is the tracee's own copy: it has to be there before it starts */
TEST_F(migration, by_itself)
{
	unsigned int i;

	/* The harness of 6.1 goes on where the set-up has skipped */
	if (self->ncpus < 2)
		return;
	for (i = 0; i < 4; i++) {
		tracee_stop(&self->t[i]);
		self->m[i].pace = CREW_MOVE;
		ASSERT_EQ(0, crew_start(&self->t[i], &self->m[i],
					TRACEE_TRACEME));
	}
	ASSERT_EQ(0, crew_run(self->t, 4));
	ASSERT_LT(100, moves(self->area, 4));
}

TEST_F(migration, by_its_tracer_while_stopped)
{
	unsigned int i;

	if (self->ncpus < 2)
		return;
	for (i = 0; i < 4; i++)
		self->m[i].moved = true;
	ASSERT_EQ(0, crew_run(self->t, 4));
	ASSERT_LT(100, moves(self->area, 4));
}

/* Running or stopped, as it comes: a third process keeps on moving them */
TEST_F(migration, by_a_third_process)
{
	unsigned long *moved = shared_alloc(sizeof(*moved));
	int *go_on = shared_alloc(sizeof(*go_on));
	int status, i, turn;
	pid_t mover;

	if (self->ncpus < 2)
		return;
	*go_on = 1;
	mover = fork();
	ASSERT_LE(0, mover);
	for (turn = 0; !mover && __atomic_load_n(go_on, __ATOMIC_RELAXED); turn++)
		for (i = 0; i < 4; i++)
			if (!pin_to_cpu(self->t[i].tid,
					self->cpus[(turn + i) % self->ncpus]))
				__atomic_add_fetch(moved, 1, __ATOMIC_RELAXED);
	if (!mover)
		_exit(0);
	while (!__atomic_load_n(moved, __ATOMIC_RELAXED))
		sched_yield();
	EXPECT_EQ(0, crew_run(self->t, 4));
	__atomic_store_n(go_on, 0, __ATOMIC_RELAXED);
	ASSERT_EQ(mover, waitpid(mover, &status, 0));
	ASSERT_EQ(0, status);
}

/* Moves whom it reads from @ask, each time to the next CPU, and says so */
static void move_on_request(int ask, int tell, const int *cpus, int ncpus)
{
	unsigned int turn = 0;
	pid_t tid;
	int err;

	while (read(ask, &tid, sizeof(tid)) == sizeof(tid)) {
		err = pin_to_cpu(tid, cpus[turn++ % ncpus]);
		if (write(tell, &err, sizeof(err)) != sizeof(err))
			break;
	}
}

/* Moved at each of its traps, before it goes on */
TEST_F(migration, by_a_third_process_while_stopped)
{
	int ask[2], tell[2], err, i, left = 4;
	struct tracee *t;
	struct stop s;
	pid_t mover;

	if (self->ncpus < 2)
		return;
	ASSERT_EQ(0, pipe(ask));
	ASSERT_EQ(0, pipe(tell));
	mover = fork();
	ASSERT_LE(0, mover);
	if (!mover) {
		close(ask[1]);
		move_on_request(ask[0], tell[1], self->cpus, self->ncpus);
		_exit(0);
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_cont(&self->t[i])) {
			TH_LOG("member %d", i);
		}
	}
	while (left) {
		t = tracee_wait_any(self->t, 4, &s);
		ASSERT_TRUE(!!t);
		if (t->tid > 0) {
			ASSERT_EQ(sizeof(t->tid), write(ask[1], &t->tid,
							sizeof(t->tid)));
			ASSERT_EQ(sizeof(err), read(tell[0], &err, sizeof(err)));
			ASSERT_EQ(0, err);
		}
		ASSERT_EQ(0, crew_event(t, &s));
		if (t->tid < 0)
			left--;
	}
	close(ask[1]);
	ASSERT_EQ(mover, waitpid(mover, &err, 0));
	ASSERT_EQ(0, err);
}

TEST_HARNESS_MAIN
