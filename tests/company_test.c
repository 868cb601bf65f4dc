// SPDX-License-Identifier: GPL-2.0
/*
 * Company: armed tracees in the middle of whatever else a machine does.
 *
 * Each kind of company goes through kernel code that saves, loads, inherits
 * or gives up debug registers: fork and exec, page faults, timers, perf
 * events, migration threads, stops and the freezer, other tracers, a CPU that
 * goes and comes back.  Meanwhile four tracees run, and each trap is exact.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "company.h"
#include "crew.h"
#include "harness.h"
#include "probes.h"

#define MEMBERS	4

FIXTURE(beside) {
	struct crew_area *area;
	struct tracee t[MEMBERS];
	struct crew_member m[MEMBERS];
};

FIXTURE_VARIANT(beside) {
	int kind;
};

FIXTURE_VARIANT_ADD(beside, forks) {
	.kind = COMPANY_FORKS,
};

FIXTURE_VARIANT_ADD(beside, execs) {
	.kind = COMPANY_EXECS,
};

FIXTURE_VARIANT_ADD(beside, page_faults) {
	.kind = COMPANY_PAGE_FAULTS,
};

FIXTURE_VARIANT_ADD(beside, timers) {
	.kind = COMPANY_TIMERS,
};

FIXTURE_VARIANT_ADD(beside, kernel_threads) {
	.kind = COMPANY_KERNEL_THREADS,
};

FIXTURE_VARIANT_ADD(beside, stops_and_continues) {
	.kind = COMPANY_STOPS,
};

FIXTURE_VARIANT_ADD(beside, attaches) {
	.kind = COMPANY_ATTACHES,
};

FIXTURE_VARIANT_ADD(beside, perf_events) {
	.kind = COMPANY_PERF_EVENTS,
};

FIXTURE_SETUP(beside)
{
	unsigned int i;

	self->area = crew_areas();
	for (i = 0; i < MEMBERS; i++) {
		self->m[i] = (struct crew_member){
			.area = self->area, .nr = i, .of = MEMBERS,
			.rounds = 15, .armed = true,
			.stops = variant->kind == COMPANY_STOPS };
		if (!may_go_on(_metadata,
			       crew_start(&self->t[i], &self->m[i], i % 3),
			       "start and arm"))
			return;
	}
}

FIXTURE_TEARDOWN(beside)
{
	unsigned int i;

	for (i = 0; i < MEMBERS; i++)
		tracee_stop(&self->t[i]);
}

/*
 * The company is there before the first trap, and has done something by the
 * time of the last: otherwise there was none.
 */
TEST_F(beside, every_trap_is_exact)
{
	struct company c = { .t = self->t, .n = MEMBERS };
	int err;

	ASSERT_EQ(0, company_start(&c, &company_kinds[variant->kind]));
	company_came(&c);
	EXPECT_EQ(0, crew_run(self->t, MEMBERS));
	err = company_stop(&c);
	if (err == COMPANY_CANNOT)
		SKIP(return, "no perf breakpoints");
	EXPECT_EQ(0, err);
	EXPECT_LT(0, c.did);
}

/*
 * Breakpoints of a whole CPU take a register on it from every thread: tracees
 * get along with three slots, the fourth is refused, and once the events are
 * closed it can be had again.
 */
FIXTURE(cpu_wide) {
	struct crew_area *area;
	struct tracee t[MEMBERS];
	struct crew_member m[MEMBERS];
	int cpus[64], fds[64];
	int ncpus;
	bool ready;
};

/* The tracees first: what is open when they are forked would stay open there */
FIXTURE_SETUP(cpu_wide)
{
	const void *addr;
	unsigned int i;
	int cpu, fd;

	self->area = crew_areas();
	for (i = 0; i < MEMBERS; i++) {
		self->m[i] = (struct crew_member){
			.area = self->area, .nr = i, .of = MEMBERS,
			.rounds = 20, .armed = true, .spare = DR_SLOTS };
		if (!may_go_on(_metadata,
			       crew_start(&self->t[i], &self->m[i], i % 3),
			       "start"))
			return;
		self->m[i].spare = 1;
	}
	addr = &self->area[CREW_MAX - 1].written;
	self->ncpus = allowed_cpus(self->cpus, 64);
	for (cpu = 0; cpu < self->ncpus; cpu++) {
		fd = open_breakpoint(addr, -1, self->cpus[cpu]);
		/* Any thread of the machine may have all four, a debugger's too */
		if (fd == -ENOSPC)
			SKIP(return, "another thread has all the slots");
		if (!may_go_on(_metadata, fd < 0 ? fd : 0,
			       "perf event of a CPU"))
			return;
		self->fds[cpu] = fd;
	}
	for (i = 0; i < MEMBERS; i++) {
		ASSERT_EQ(0, crew_arm(&self->t[i])) {
			TH_LOG("member %u", i);
		}
	}
	self->ready = true;
}

FIXTURE_TEARDOWN(cpu_wide)
{
	unsigned int i;

	for (i = 0; i < MEMBERS; i++)
		tracee_stop(&self->t[i]);
}

TEST_F(cpu_wide, three_slots_beside_it)
{
	unsigned long long count, sum = 0;
	unsigned int i;
	int cpu;

	if (!self->ready)
		return;
	tracee_waits_for_slots = false;
	for (i = 0; i < MEMBERS; i++) {
		ASSERT_EQ(-ENOSPC, tracee_arm(&self->t[i], (3 + i) % DR_SLOTS,
					      BP_RW, 4, &self->area[i].read));
	}
	tracee_waits_for_slots = true;
	ASSERT_EQ(0, crew_run(self->t, MEMBERS));

	/* Its own count has lost nothing either: all that this thread stores */
	for (i = 0; i < 100; i++)
		probe_store4(&self->area[CREW_MAX - 1].written, i);
	for (cpu = 0; cpu < self->ncpus; cpu++) {
		ASSERT_EQ(sizeof(count), read(self->fds[cpu], &count,
					      sizeof(count)));
		sum += count;
	}
	ASSERT_EQ(100, sum);
}

TEST_F(cpu_wide, the_fourth_slot_comes_back)
{
	unsigned int i;
	int cpu;

	if (!self->ready)
		return;
	for (cpu = 0; cpu < self->ncpus; cpu++)
		close(self->fds[cpu]);
	for (i = 0; i < MEMBERS; i++) {
		self->m[i].spare = 0;
		ASSERT_EQ(0, crew_arm(&self->t[i]));
	}
	ASSERT_EQ(0, crew_run(self->t, MEMBERS));
}

FIXTURE(hotplug) {
	struct crew_area *area;
	struct tracee t[MEMBERS];
	struct crew_member m[MEMBERS];
	struct hotplug h;
	pid_t guard;
	int guard_fd;
};

/* The last CPU of several, that may be taken offline; -1 after a skip */
static int last_cpu(struct __test_metadata *_metadata, struct hotplug *h)
{
	int err = find_hotplug(h);

	if (err == -ENOENT)
		SKIP(return -1, "one CPU only");
	if (err)
		SKIP(return -1, "%s: %s", h->path, strerror(-err));
	return h->cpu;
}

FIXTURE_SETUP(hotplug)
{
	int cpu = last_cpu(_metadata, &self->h);
	unsigned int i;

	if (cpu < 0)
		return;
	self->guard = guard(&self->guard_fd, cpu_back, &self->h);
	ASSERT_LT(0, self->guard);

	self->area = crew_areas();
	for (i = 0; i < MEMBERS; i++) {
		self->m[i] = (struct crew_member){
			.area = self->area, .nr = i, .of = MEMBERS,
			.rounds = 20, .armed = true };
		if (!may_go_on(_metadata,
			       crew_start(&self->t[i], &self->m[i], i % 3),
			       "start and arm"))
			return;
		ASSERT_EQ(0, pin_to_cpu(self->t[i].tid, cpu));
	}
}

FIXTURE_TEARDOWN(hotplug)
{
	unsigned int i;

	for (i = 0; i < MEMBERS; i++)
		tracee_stop(&self->t[i]);
	if (self->guard > 0) {
		close(self->guard_fd);
		waitpid(self->guard, NULL, 0);
	}
}

/*
 * The CPU on which all of them are goes away, which breaks their affinity,
 * comes back, and gets them back, while they run.
 */
TEST_F(hotplug, traps_come_while_a_cpu_goes_and_comes)
{
	struct tracee *t;
	unsigned int i, left = MEMBERS, events = 0;
	int cpus[64], n = allowed_cpus(cpus, 64), err;
	bool online = true;
	struct stop s;

	/* The harness of 6.1 goes on where the set-up has skipped */
	if (self->guard <= 0)
		return;
	for (i = 0; i < MEMBERS; i++) {
		ASSERT_EQ(0, tracee_cont(&self->t[i])) {
			TH_LOG("member %u", i);
		}
	}
	while (left) {
		t = tracee_wait_any(self->t, MEMBERS, &s);
		ASSERT_TRUE(!!t);
		ASSERT_EQ(0, crew_event(t, &s));
		if (t->tid < 0)
			left--;
		if (++events % 100)
			continue;
		online = !online;
		err = write_file(self->h.path, online ? "1" : "0");
		if (err == -EBUSY || err == -EPERM || err == -EOPNOTSUPP)
			SKIP(return, "offline: %s", strerror(-err));
		ASSERT_EQ(0, err);
		for (i = 0; online && i < MEMBERS; i++)
			if (self->t[i].tid > 0)
				pin_to_cpu(self->t[i].tid, cpus[n - 1]);
	}
	ASSERT_EQ(0, write_file(self->h.path, "1"));
}

/*
 * Slots are counted on each CPU that there may be, online or not: those of a
 * CPU that is away are still taken when it comes back.
 *
 * Regression test for c790b0ad23f4.
 */
FIXTURE(cpu_away) {
	unsigned int *words;
	struct hotplug h;
	pid_t guard;
	int cpu, guard_fd;
};

FIXTURE_SETUP(cpu_away)
{
	self->words = shared_alloc(5 * sizeof(*self->words));
	self->cpu = last_cpu(_metadata, &self->h);
	if (self->cpu < 0)
		return;
	self->guard = guard(&self->guard_fd, cpu_back, &self->h);
	ASSERT_LT(0, self->guard);
}

FIXTURE_TEARDOWN(cpu_away)
{
	if (self->guard > 0) {
		close(self->guard_fd);
		waitpid(self->guard, NULL, 0);
	}
}

TEST_F(cpu_away, its_slots_stay_taken)
{
	int fd[DR_SLOTS], err;
	unsigned int i;

	/* The harness of 6.1 goes on where the set-up has skipped */
	if (self->guard <= 0)
		return;
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = open_breakpoint(&self->words[i], 0, self->cpu);
		if (fd[i] == -ENOSPC)
			SKIP(return, "others have breakpoints on that CPU");
		if (!may_go_on(_metadata, fd[i] < 0 ? fd[i] : 0,
			       "perf_event_open"))
			return;
	}
	err = write_file(self->h.path, "0");
	if (err == -EBUSY || err == -EPERM || err == -EOPNOTSUPP)
		SKIP(return, "offline: %s", strerror(-err));
	ASSERT_EQ(0, err);
	/* On whatever CPU it runs: on that one too, one day */
	EXPECT_EQ(-ENOSPC, open_breakpoint(&self->words[4], 0, -1));
	ASSERT_EQ(0, write_file(self->h.path, "1"));
	EXPECT_EQ(-ENOSPC, open_breakpoint(&self->words[4], 0, -1));
	close(fd[0]);
	EXPECT_LE(0, open_breakpoint(&self->words[4], 0, -1));
}

/* A fixture of nothing: what cannot have the crew that the others begin with */
FIXTURE(alone) {
};

FIXTURE_SETUP(alone)
{
}

FIXTURE_TEARDOWN(alone)
{
}

/* Frozen and thawed while they run and while they stand */
TEST_F(alone, frozen_and_thawed)
{
	struct crew_member m[MEMBERS];
	struct tracee t[MEMBERS] = { 0 };
	struct freezer f;
	int *told = shared_alloc(sizeof(*told));
	pid_t guarding, freezing;
	int guard_fd, status;
	unsigned int i;
	char pid[16];

	if (!make_freezer(&f))
		SKIP(return, "no cgroup freezer that we may use");
	guarding = guard(&guard_fd, freezer_away, &f);
	ASSERT_LT(0, guarding);
	for (i = 0; i < MEMBERS; i++) {
		m[i] = (struct crew_member){
			.area = i ? m[0].area : crew_areas(), .nr = i,
			.of = MEMBERS, .rounds = 10, .armed = true };
		if (!may_go_on(_metadata, crew_start(&t[i], &m[i], i % 3),
			       "start and arm"))
			goto out;
		snprintf(pid, sizeof(pid), "%d", t[i].tid);
		ASSERT_EQ(0, write_file(f.procs, pid));
	}
	freezing = fork();
	ASSERT_LE(0, freezing);
	while (!freezing && !__atomic_load_n(told, __ATOMIC_RELAXED)) {
		write_file(f.state, f.freeze);
		write_file(f.state, f.thaw);
		sched_yield();
	}
	if (!freezing)
		_exit(0);
	EXPECT_EQ(0, crew_run(t, MEMBERS));
	__atomic_store_n(told, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(freezing, waitpid(freezing, &status, 0));
	EXPECT_EQ(0, status);
out:
	for (i = 0; i < MEMBERS; i++)
		tracee_stop(&t[i]);
	close(guard_fd);
	waitpid(guarding, NULL, 0);
}

/*
 * Moved by a cpuset that gives it another CPU at every trap.  One of our own
 * where there are cpusets that we may use; it goes away with the test.
 */
TEST_F(alone, moved_by_a_cpuset)
{
	struct crew_member m = { .of = 1, .rounds = 6, .armed = true };
	int cpus[64], n = allowed_cpus(cpus, 64), guard_fd, turn = 0;
	struct tracee t = { 0 };
	struct cpuset set;
	struct stop s;
	pid_t guarding;
	char text[16];

	if (n < 2)
		SKIP(return, "one CPU only");
	if (!make_cpuset(&set))
		SKIP(return, "no cpusets that we may use");
	guarding = guard(&guard_fd, cpuset_away, &set);
	ASSERT_LT(0, guarding);
	m.area = crew_areas();
	if (!may_go_on(_metadata, crew_start(&t, &m, TRACEE_SEIZE),
		       "start and arm"))
		goto out;
	do {
		snprintf(text, sizeof(text), "%d", cpus[turn % n]);
		ASSERT_EQ(0, write_file(set.cpus, text));
		if (!turn) {
			snprintf(text, sizeof(text), "%d", t.tid);
			ASSERT_EQ(0, write_file(set.procs, text));
			ASSERT_EQ(0, tracee_cont(&t));
		} else {
			ASSERT_EQ(0, crew_event(&t, &s));
		}
		ASSERT_EQ(0, tracee_wait(&t, &s));
		/* The access behind which it stands was made on that CPU */
		EXPECT_EQ(cpus[turn % n], *t.cpu);
		turn++;
	} while (WIFSTOPPED(s.status));
	ASSERT_EQ(0, crew_event(&t, &s));
	ASSERT_EQ(6UL * CREW_TRAPS, t.traps);
out:
	tracee_stop(&t);
	close(guard_fd);
	waitpid(guarding, NULL, 0);
}

TEST_F(alone, tracer_killed_and_another_takes_over)
{
	if (can_trace(_metadata))
		ASSERT_EQ(0, take_over(TAKEOVER_STORES));
}

TEST_HARNESS_MAIN
