// SPDX-License-Identifier: GPL-2.0
/*
 * Armed tracees and reserved slots while a CPU is taken offline and comes back.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "stressor.h"
#include "tracee_group.h"

#define TRACEES	4

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
	int err;

	skip_if_no_changes(_metadata);
	err = find_hotplug(h);
	if (err == -ENXIO)
		SKIP(return -1, SKIP_ONE_CPU);
	if (err)
		SKIP(return -1, SKIP_NO_HOTPLUG);
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
		if (online)
			take_cpu_online(&self->h);
		err = write_file(self->h.path, online ? "1" : "0");
		if (err == -EBUSY || err == -EPERM || err == -EOPNOTSUPP)
			SKIP(return, SKIP_NO_HOTPLUG);
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
			SKIP(return, SKIP_SLOTS_TAKEN);
		skip_if_refused(_metadata, fd[i] < 0 ? fd[i] : 0,
				"perf_event_open");
	}
	err = write_file(self->h.path, "0");
	if (err == -EBUSY || err == -EPERM || err == -EOPNOTSUPP)
		SKIP(return, SKIP_NO_HOTPLUG);
	ASSERT_EQ(0, err);
	/* For any CPU it runs on: also on that one later */
	EXPECT_EQ(-ENOSPC, open_breakpoint(&self->words[4], 0, -1));
	ASSERT_EQ(0, write_file(self->h.path, "1"));
	EXPECT_EQ(-ENOSPC, open_breakpoint(&self->words[4], 0, -1));
	close(fd[0]);
	EXPECT_LE(0, open_breakpoint(&self->words[4], 0, -1));
}

TEST_HARNESS_MAIN
