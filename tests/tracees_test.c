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

#include "harness.h"
#include "probes.h"

#define MAX_TRACEES	PROBE_TARGETS
#define TRACERS		8
#define TRACEES		4

/* What one tracee watches and touches; a page, so that no two share a line */
struct area {
	unsigned long sink;
	unsigned int written;
	unsigned int read;
	char rest[4096 - sizeof(long) - 2 * sizeof(int)];
};

/*
 * One tracee of several.  Its slots stand on execute targets @nr and
 * @nr + 32, on area[nr].written (write) and on area[nr].read (rw), and which
 * slot has which is turned round by @nr.
 */
struct role {
	struct area *area;
	unsigned int nr;
	unsigned int others;
	unsigned int rounds;
	unsigned long step;
	bool armed;
};

enum {
	OWN_TARGET, OTHER_TARGET, OWN_WRITTEN, OWN_READ, OWN_READ_STORE,
	NEXT_TARGET, NEXT_WRITTEN, NEXT_READ, STEPS
};

static unsigned int second_target(unsigned int nr)
{
	return (nr + PROBE_TARGETS / 2) % PROBE_TARGETS;
}

/* Access number 1 + step; what comes after the first five is not owed a trap */
static void make_access(const struct role *r, unsigned long step)
{
	struct area *own = &r->area[r->nr];
	unsigned int next_nr = (r->nr + 1) % r->others;
	struct area *next = &r->area[next_nr];

	switch (step % STEPS) {
	case OWN_TARGET:
		probe_visit(r->nr, &own->sink, step);
		break;
	case OTHER_TARGET:
		probe_visit(second_target(r->nr), &own->sink, step);
		break;
	case OWN_WRITTEN:
		probe_store4(&own->written, step);
		break;
	case OWN_READ:
		probe_load4(&own->read, 0);
		break;
	case OWN_READ_STORE:
		probe_store4(&own->read, step);
		break;
	case NEXT_TARGET:
		probe_visit(next_nr, &own->sink, step);
		break;
	case NEXT_WRITTEN:
		probe_store4(&next->written, step);
		break;
	case NEXT_READ:
		probe_load4(&next->read, 0);
		break;
	}
}

static bool is_owed(const struct role *r, unsigned long step, struct trap *trap)
{
	unsigned int what = step % STEPS;
	unsigned int nth = what == OWN_READ_STORE ? OWN_READ : what;
	static const char * const ips[] = {
		[OWN_WRITTEN] = probe_store4_next,
		[OWN_READ] = probe_load4_next,
		[OWN_READ_STORE] = probe_store4_next,
	};

	if (!r->armed || what > OWN_READ_STORE || step / STEPS >= r->rounds)
		return false;

	trap->slots = 1U << ((nth + r->nr) % DR_SLOTS);
	trap->progress = 1 + step;
	if (what == OWN_TARGET)
		trap->ip = probe_target(r->nr);
	else if (what == OTHER_TARGET)
		trap->ip = probe_target(second_target(r->nr));
	else
		trap->ip = ips[what];
	return true;
}

static void play(struct tracee *t)
{
	struct role *r = t->arg;
	unsigned long step;

	for (step = 0; step < (unsigned long)r->rounds * STEPS; step++) {
		*t->progress = 1 + step;
		make_access(r, step);
	}
}

static void describe_step(struct tracee *t, unsigned long n, char *buf,
			  size_t size)
{
	static const char * const names[] = {
		"visits its first target", "visits its second target",
		"stores to its write watchpoint",
		"loads from its rw watchpoint", "stores to its rw watchpoint",
		"visits another's target", "stores to another's watchpoint",
		"loads from another's watchpoint",
	};
	struct role *r = t->arg;

	snprintf(buf, size, "%s tracee %u %s", r->armed ? "armed" : "unarmed",
		 r->nr, n ? names[(n - 1) % STEPS] : "has not begun");
}

static int arm_role(struct tracee *t)
{
	struct role *r = t->arg;
	const struct {
		enum bp_type type;
		unsigned int len;
		const void *addr;
	} want[DR_SLOTS] = {
		{ BP_EXECUTE, 1, probe_target(r->nr) },
		{ BP_EXECUTE, 1, probe_target(second_target(r->nr)) },
		{ BP_WRITE, 4, &r->area[r->nr].written },
		{ BP_RW, 4, &r->area[r->nr].read },
	};
	unsigned int i;
	int err = 0;

	for (i = 0; i < DR_SLOTS && !err; i++)
		err = tracee_arm(t, (i + r->nr) % DR_SLOTS, want[i].type,
				 want[i].len, want[i].addr);
	return err;
}

/* Give one event to the ledger of the tracee it belongs to */
static int take_event(struct tracee *t, const struct stop *s)
{
	struct role *r = t->arg;
	unsigned long end = (unsigned long)r->rounds * STEPS;
	struct trap trap = { 0 };

	while (r->step < end && !is_owed(r, r->step, &trap))
		r->step++;
	if (r->step == end)
		return tracee_check_exit(t, s);

	r->step++;
	return tracee_check_trap(t, s, &trap) ?: tracee_cont(t);
}

/* From the armed and stopped tracees to the last exit */
static int run_to_the_end(struct tracee *set, unsigned int n)
{
	unsigned int i, left = n;
	struct tracee *t;
	struct stop s;

	for (i = 0; i < n; i++)
		if (tracee_cont(&set[i]))
			return 1;
	while (left) {
		t = tracee_wait_any(set, n, &s);
		if (!t || take_event(t, &s))
			return 1;
		if (t->tid < 0)
			left--;
	}
	return 0;
}

static int start_role(struct tracee *t, struct role *r, enum tracee_how how)
{
	int err;

	t->body = play;
	t->arg = r;
	t->id = r->nr;
	t->describe = describe_step;
	err = tracee_start(t, how);
	if (!err && r->armed)
		err = arm_role(t);
	return err;
}

FIXTURE(tracees) {
	struct area *area;
	struct tracee t[MAX_TRACEES];
	struct role role[MAX_TRACEES];
};

FIXTURE_SETUP(tracees)
{
	unsigned int i;

	self->area = shared_alloc(MAX_TRACEES * sizeof(*self->area));
	for (i = 0; i < MAX_TRACEES; i++)
		self->role[i] = (struct role){
			.area = self->area, .nr = i, .others = MAX_TRACEES,
			.rounds = 10, .armed = true };
}

FIXTURE_TEARDOWN(tracees)
{
	unsigned int i;

	for (i = 0; i < MAX_TRACEES; i++)
		tracee_stop(&self->t[i]);
}

TEST_F(tracees, one_tracer_and_64)
{
	unsigned int i;

	for (i = 0; i < MAX_TRACEES; i++)
		if (!may_go_on(_metadata,
			       start_role(&self->t[i], &self->role[i], i % 3),
			       "start and arm"))
			return;
	ASSERT_EQ(0, run_to_the_end(self->t, MAX_TRACEES));
}

/* Every other tracee has nothing armed, and touches what its neighbour watches */
TEST_F(tracees, unarmed_between_armed_on_one_cpu)
{
	unsigned int i, n = 16;
	int cpu;

	ASSERT_EQ(1, allowed_cpus(&cpu, 1));
	ASSERT_EQ(0, pin_to_cpu(0, cpu));
	for (i = 0; i < n; i++) {
		self->role[i].others = n;
		self->role[i].rounds = 20;
		self->role[i].armed = i % 2;
		if (!may_go_on(_metadata,
			       start_role(&self->t[i], &self->role[i], i % 3),
			       "start and arm"))
			return;
	}
	ASSERT_EQ(0, run_to_the_end(self->t, n));
}

/*
 * Tracers side by side.  They begin together: each says that it is ready, and
 * waits for the end of a pipe that its parent closes when all are.
 */
FIXTURE(tracers) {
	struct area *area;
	int *stop;
	int ready[2];
	int go[2];
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

static void do_nothing(struct tracee *t)
{
	(void)t;
}

FIXTURE_SETUP(tracers)
{
	struct tracee t = { .body = do_nothing };
	int cpu;

	/* Whether we may trace is found out here, where a test can skip */
	if (!start(_metadata, &t, TRACEE_SEIZE))
		return;
	tracee_stop(&t);

	self->area = shared_alloc(MAX_TRACEES * sizeof(*self->area));
	self->stop = shared_alloc(sizeof(*self->stop));
	ASSERT_EQ(0, pipe(self->ready));
	ASSERT_EQ(0, pipe(self->go));
	if (variant->pinned) {
		ASSERT_EQ(1, allowed_cpus(&cpu, 1));
		ASSERT_EQ(0, pin_to_cpu(0, cpu));
	}
}

FIXTURE_TEARDOWN(tracers)
{
}

static int trace_four(unsigned int nr, struct area *area, bool same,
		      unsigned int rounds, int ready, int go)
{
	struct tracee t[TRACEES] = { 0 };
	struct role r[TRACEES];
	unsigned int i;
	int err = 0;
	char c = 0;

	for (i = 0; i < TRACEES && !err; i++) {
		r[i] = (struct role){
			.area = area, .rounds = rounds, .armed = true,
			.nr = (same ? 0 : nr * TRACEES) + i,
			.others = TRACERS * TRACEES };
		err = start_role(&t[i], &r[i], TRACEE_SEIZE);
	}
	if (write(ready, &c, 1) != 1 || read(go, &c, 1))
		err = -EPIPE;
	if (!err)
		err = run_to_the_end(t, TRACEES);
	for (i = 0; i < TRACEES; i++)
		tracee_stop(&t[i]);
	return err;
}

/* A neighbour that nobody traces; a trap that leaks to it kills it */
static int touch_until_told(const struct role *r, const int *stop)
{
	unsigned long step;

	for (step = 0; !__atomic_load_n(stop, __ATOMIC_RELAXED); step++) {
		make_access(r, step);
		sched_yield();
	}
	return 0;
}

/* @rounds of @n tracers, all begun together; their exit codes */
static void run_tracers(struct __test_metadata *_metadata, int ready[2],
			int go[2], struct area *area, bool same,
			unsigned int rounds)
{
	pid_t tracer[TRACERS];
	int status[TRACERS];
	unsigned int i;
	char c;

	for (i = 0; i < TRACERS; i++) {
		tracer[i] = fork();
		ASSERT_LE(0, tracer[i]);
		if (!tracer[i]) {
			close(go[1]);
			close(ready[0]);
			_exit(!!trace_four(i, area, same, rounds, ready[1],
					   go[0]));
		}
	}
	close(ready[1]);
	for (i = 0; i < TRACERS && read(ready[0], &c, 1) == 1; i++)
		;
	close(go[1]);
	for (i = 0; i < TRACERS; i++)
		ASSERT_EQ(tracer[i], waitpid(tracer[i], &status[i], 0));
	for (i = 0; i < TRACERS; i++) {
		EXPECT_EQ(0, status[i]) {
			TH_LOG("tracer %u of %u", i, TRACERS);
		}
	}
}

TEST_F(tracers, eight_with_four_each)
{
	run_tracers(_metadata, self->ready, self->go, self->area,
		    variant->same_addresses, 12);
}

TEST_F(tracers, nothing_leaks_to_untraced_neighbours)
{
	struct role r[TRACEES];
	pid_t neighbour[TRACEES];
	unsigned int i;
	int status;

	for (i = 0; i < TRACEES; i++) {
		r[i] = (struct role){ .area = self->area, .nr = i,
				      .others = TRACERS * TRACEES };
		neighbour[i] = fork();
		ASSERT_LE(0, neighbour[i]);
		if (!neighbour[i]) {
			close(self->go[1]);
			_exit(touch_until_told(&r[i], self->stop));
		}
	}
	run_tracers(_metadata, self->ready, self->go, self->area,
		    variant->same_addresses, 4);
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
