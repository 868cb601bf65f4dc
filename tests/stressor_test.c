// SPDX-License-Identifier: GPL-2.0
/*
 * Armed tracees under background load.
 *
 * Each stressor runs through kernel code that saves, loads, inherits or
 * releases debug registers: fork and exec, page faults, timers, perf events,
 * migration threads, job control and the freezer, other tracers, CPU hotplug.
 * Meanwhile four tracees run, and each trap is exact.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stressor.h"
#include "tracee_group.h"
#include "harness.h"
#include "probes.h"

#define TRACEES	4

FIXTURE(stressor) {
	struct group_area *area;
	struct tracee t[TRACEES];
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

FIXTURE_SETUP(stressor)
{
	unsigned int i;

	self->area = group_areas();
	for (i = 0; i < TRACEES; i++) {
		self->m[i] = (struct group_tracee){
			.area = self->area, .nr = i, .of = TRACEES,
			.rounds = 15, .armed = true,
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

/*
 * The stressor runs before the first trap, and must have completed an iteration
 * before the last one.
 */
TEST_F(stressor, every_trap_arrives)
{
	struct stressor c = { .t = self->t, .n = TRACEES };
	int err;

	ASSERT_EQ(0, stressor_start(&c, &stressor_kinds[variant->kind]));
	stressor_wait_started(&c);
	EXPECT_EQ(0, group_run(self->t, TRACEES));
	err = stressor_stop(&c);
	if (err == STRESSOR_REFUSED)
		SKIP(return, "no perf breakpoints");
	EXPECT_EQ(0, err);
	EXPECT_LT(0, c.iterations);
}

/*
 * Breakpoints on a CPU take a slot there from every thread: the tracees use
 * three slots, a fourth is refused, and it is free again once the events are
 * closed.
 */
FIXTURE(cpu_event) {
	struct group_area *area;
	struct tracee t[TRACEES];
	struct group_tracee m[TRACEES];
	int cpus[64], fds[64];
	int ncpus;
	bool ready;
};

/*
 * The tracees first: events that are open when they are forked would stay open
 * in them
 */
FIXTURE_SETUP(cpu_event)
{
	const void *addr;
	unsigned int i;
	int cpu, fd;

	self->area = group_areas();
	for (i = 0; i < TRACEES; i++) {
		self->m[i] = (struct group_tracee){
			.area = self->area, .nr = i, .of = TRACEES,
			.rounds = 20, .armed = true, .spare = DR_SLOTS };
		skip_if_refused(_metadata,
				group_start(&self->t[i], &self->m[i], i % 3),
				"ptrace");
		self->m[i].spare = 1;
	}
	addr = &self->area[GROUP_MAX - 1].written;
	self->ncpus = allowed_cpus(self->cpus, 64);
	for (cpu = 0; cpu < self->ncpus; cpu++) {
		fd = open_breakpoint(addr, -1, self->cpus[cpu]);
		/*
		 * Any thread of the machine may use all four, for instance of a
		 * debugger
		 */
		if (fd == -ENOSPC)
			SKIP(return, "another thread has all the slots");
		skip_if_refused(_metadata, fd < 0 ? fd : 0,
				"perf event of a CPU");
		self->fds[cpu] = fd;
	}
	for (i = 0; i < TRACEES; i++) {
		ASSERT_EQ(0, group_arm(&self->t[i])) {
			TH_LOG("tracee %u", i);
		}
	}
	self->ready = true;
}

FIXTURE_TEARDOWN(cpu_event)
{
	unsigned int i;

	for (i = 0; i < TRACEES; i++)
		tracee_stop(&self->t[i]);
}

TEST_F(cpu_event, three_slots_remain)
{
	unsigned long long count, sum = 0;
	unsigned int i;
	int cpu;

	if (!self->ready)
		return;
	tracee_retries_enospc = false;
	for (i = 0; i < TRACEES; i++) {
		ASSERT_EQ(-ENOSPC, tracee_arm(&self->t[i], (3 + i) % DR_SLOTS,
					      BP_RW, 4, &self->area[i].read));
	}
	tracee_retries_enospc = true;
	ASSERT_EQ(0, group_run(self->t, TRACEES));

	/* Its own count is exact as well: all stores of this thread */
	for (i = 0; i < 100; i++)
		probe_store4(&self->area[GROUP_MAX - 1].written, i);
	for (cpu = 0; cpu < self->ncpus; cpu++) {
		ASSERT_EQ(sizeof(count), read(self->fds[cpu], &count,
					      sizeof(count)));
		sum += count;
	}
	ASSERT_EQ(100, sum);
}

TEST_F(cpu_event, fourth_slot_free_after_close)
{
	unsigned int i;
	int cpu;

	if (!self->ready)
		return;
	for (cpu = 0; cpu < self->ncpus; cpu++)
		close(self->fds[cpu]);
	for (i = 0; i < TRACEES; i++) {
		self->m[i].spare = 0;
		ASSERT_EQ(0, group_arm(&self->t[i]));
	}
	ASSERT_EQ(0, group_run(self->t, TRACEES));
}

FIXTURE(hotplug) {
	struct group_area *area;
	struct tracee t[TRACEES];
	struct group_tracee m[TRACEES];
	struct hotplug h;
	pid_t undo_pid;
	int undo_fd;
};

/* The last of several CPUs that can be taken offline; -1 after a skip */
static int last_cpu(struct __test_metadata *_metadata, struct hotplug *h)
{
	int err = find_hotplug(h);

	if (err == -ENOENT)
		SKIP(return -1, "one CPU only");
	if (err)
		SKIP(return -1, "no CPU can be taken offline");
	return h->cpu;
}

FIXTURE_SETUP(hotplug)
{
	int cpu = last_cpu(_metadata, &self->h);
	unsigned int i;

	if (cpu < 0)
		return;
	self->undo_pid = undo_on_exit(&self->undo_fd, take_cpu_online, &self->h);
	ASSERT_LT(0, self->undo_pid);

	self->area = group_areas();
	for (i = 0; i < TRACEES; i++) {
		self->m[i] = (struct group_tracee){
			.area = self->area, .nr = i, .of = TRACEES,
			.rounds = 20, .armed = true };
		skip_if_refused(_metadata,
				group_start(&self->t[i], &self->m[i], i % 3),
				"ptrace");
		ASSERT_EQ(0, pin_to_cpu(self->t[i].tid, cpu));
	}
}

FIXTURE_TEARDOWN(hotplug)
{
	unsigned int i;

	for (i = 0; i < TRACEES; i++)
		tracee_stop(&self->t[i]);
	if (self->undo_pid > 0) {
		close(self->undo_fd);
		waitpid(self->undo_pid, NULL, 0);
	}
}

/*
 * The CPU that all of them run on is taken offline, which breaks their
 * affinity, comes back, and gets them back, while they run.
 */
TEST_F(hotplug, every_trap_arrives)
{
	struct tracee *t;
	unsigned int i, left = TRACEES, events = 0;
	int cpus[64], n = allowed_cpus(cpus, 64), err;
	bool online = true;
	struct stop s;

	/* The harness of 6.1 runs the test even if the setup has skipped it */
	if (self->undo_pid <= 0)
		return;
	for (i = 0; i < TRACEES; i++) {
		ASSERT_EQ(0, tracee_cont(&self->t[i])) {
			TH_LOG("tracee %u", i);
		}
	}
	while (left) {
		t = tracee_wait_any(self->t, TRACEES, &s);
		ASSERT_TRUE(!!t);
		ASSERT_EQ(0, group_event(t, &s));
		if (t->tid < 0)
			left--;
		if (++events % 100)
			continue;
		online = !online;
		err = write_file(self->h.path, online ? "1" : "0");
		if (err == -EBUSY || err == -EPERM || err == -EOPNOTSUPP)
			SKIP(return, "the CPU cannot be taken offline");
		ASSERT_EQ(0, err);
		for (i = 0; online && i < TRACEES; i++)
			if (self->t[i].tid > 0)
				pin_to_cpu(self->t[i].tid, cpus[n - 1]);
	}
	ASSERT_EQ(0, write_file(self->h.path, "1"));
}

/*
 * Slots are counted on each possible CPU, online or not: those of a CPU that is
 * offline are still used when it comes back.
 *
 * Regression test for c790b0ad23f4.
 */
FIXTURE(offline_cpu) {
	unsigned int *words;
	struct hotplug h;
	pid_t undo_pid;
	int cpu, undo_fd;
};

FIXTURE_SETUP(offline_cpu)
{
	self->words = shared_alloc(5 * sizeof(*self->words));
	self->cpu = last_cpu(_metadata, &self->h);
	if (self->cpu < 0)
		return;
	self->undo_pid = undo_on_exit(&self->undo_fd, take_cpu_online, &self->h);
	ASSERT_LT(0, self->undo_pid);
}

FIXTURE_TEARDOWN(offline_cpu)
{
	if (self->undo_pid > 0) {
		close(self->undo_fd);
		waitpid(self->undo_pid, NULL, 0);
	}
}

TEST_F(offline_cpu, slots_stay_reserved)
{
	int fd[DR_SLOTS], err;
	unsigned int i;

	/* The harness of 6.1 runs the test even if the setup has skipped it */
	if (self->undo_pid <= 0)
		return;
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = open_breakpoint(&self->words[i], 0, self->cpu);
		if (fd[i] == -ENOSPC)
			SKIP(return, "others have breakpoints on that CPU");
		skip_if_refused(_metadata, fd[i] < 0 ? fd[i] : 0,
				"perf_event_open");
	}
	err = write_file(self->h.path, "0");
	if (err == -EBUSY || err == -EPERM || err == -EOPNOTSUPP)
		SKIP(return, "the CPU cannot be taken offline");
	ASSERT_EQ(0, err);
	/* For any CPU it runs on: also on that one later */
	EXPECT_EQ(-ENOSPC, open_breakpoint(&self->words[4], 0, -1));
	ASSERT_EQ(0, write_file(self->h.path, "1"));
	EXPECT_EQ(-ENOSPC, open_breakpoint(&self->words[4], 0, -1));
	close(fd[0]);
	EXPECT_LE(0, open_breakpoint(&self->words[4], 0, -1));
}

/* Without the tracees of the other fixtures */
FIXTURE(tracee) {
};

FIXTURE_SETUP(tracee)
{
}

FIXTURE_TEARDOWN(tracee)
{
}

/* Frozen and thawed while they run and while they are stopped */
TEST_F(tracee, frozen_and_thawed)
{
	struct group_tracee m[TRACEES];
	struct tracee t[TRACEES] = { 0 };
	struct freezer f;
	int *stop = shared_alloc(sizeof(*stop));
	pid_t undo_pid, freezer_pid;
	int undo_fd, status;
	unsigned int i;
	char pid[16];

	if (!make_freezer(&f))
		SKIP(return, "no usable cgroup freezer");
	undo_pid = undo_on_exit(&undo_fd, remove_freezer, &f);
	ASSERT_LT(0, undo_pid);
	for (i = 0; i < TRACEES; i++) {
		m[i] = (struct group_tracee){
			.area = i ? m[0].area : group_areas(), .nr = i,
			.of = TRACEES, .rounds = 10, .armed = true };
		skip_if_refused(_metadata, group_start(&t[i], &m[i], i % 3),
				"ptrace");
		snprintf(pid, sizeof(pid), "%d", t[i].tid);
		ASSERT_EQ(0, write_file(f.procs, pid));
	}
	freezer_pid = fork();
	ASSERT_LE(0, freezer_pid);
	while (!freezer_pid && !__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		write_file(f.state, f.freeze);
		write_file(f.state, f.thaw);
		sched_yield();
	}
	if (!freezer_pid)
		_exit(0);
	EXPECT_EQ(0, group_run(t, TRACEES));
	__atomic_store_n(stop, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(freezer_pid, waitpid(freezer_pid, &status, 0));
	EXPECT_EQ(0, status);
	for (i = 0; i < TRACEES; i++)
		tracee_stop(&t[i]);
	close(undo_fd);
	waitpid(undo_pid, NULL, 0);
}

/*
 * Moved by a cpuset that gets another CPU at every trap.  The cgroup is created
 * for the test if that is permitted, and removed with it.
 */
TEST_F(tracee, moved_by_cpuset)
{
	struct group_tracee m = { .of = 1, .rounds = 6, .armed = true };
	int cpus[64], n = allowed_cpus(cpus, 64), undo_fd, turn = 0;
	struct tracee t = { 0 };
	struct cpuset set;
	struct stop s;
	pid_t undo_pid;
	char text[16];

	if (n < 2)
		SKIP(return, "one CPU only");
	if (!make_cpuset(&set))
		SKIP(return, "no usable cpuset");
	undo_pid = undo_on_exit(&undo_fd, remove_cpuset, &set);
	ASSERT_LT(0, undo_pid);
	m.area = group_areas();
	skip_if_refused(_metadata, group_start(&t, &m, TRACEE_SEIZE), "ptrace");
	do {
		snprintf(text, sizeof(text), "%d", cpus[turn % n]);
		ASSERT_EQ(0, write_file(set.cpus, text));
		if (!turn) {
			snprintf(text, sizeof(text), "%d", t.tid);
			ASSERT_EQ(0, write_file(set.procs, text));
			ASSERT_EQ(0, tracee_cont(&t));
		} else {
			ASSERT_EQ(0, group_event(&t, &s));
		}
		ASSERT_EQ(0, tracee_wait(&t, &s));
		/* The access before the stop was made on that CPU */
		EXPECT_EQ(cpus[turn % n], *t.cpu);
		turn++;
	} while (WIFSTOPPED(s.status));
	ASSERT_EQ(0, group_event(&t, &s));
	ASSERT_EQ(6UL * GROUP_TRAPS_PER_ROUND, t.traps);
	tracee_stop(&t);
	close(undo_fd);
	waitpid(undo_pid, NULL, 0);
}

TEST_F(tracee, taken_over_after_tracer_is_killed)
{
	skip_if_cannot_trace(_metadata);
	ASSERT_EQ(0, tracer_takeover(TAKEOVER_STORES));
}

TEST_HARNESS_MAIN
