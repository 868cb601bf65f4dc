// SPDX-License-Identifier: GPL-2.0
/*
 * Armed tracees that are frozen, and moved between CPUs, by cgroups.  Each test
 * creates the cgroup it needs, if that is permitted, and removes it.
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "stressor.h"
#include "tracee_group.h"

#define TRACEES	4

/* Frozen and thawed while they run and while they are stopped */
TEST(frozen_and_thawed)
{
	struct group_tracee m[TRACEES];
	struct tracee t[TRACEES] = { 0 };
	struct freezer *f = shared_alloc(sizeof(*f));
	int *stop = shared_alloc(sizeof(*stop));
	pid_t undo_pid, freezer_pid;
	int undo_fd, status;
	unsigned int i;
	char pid[16];

	skip_if_no_changes(_metadata);
	for (i = 0; i < TRACEES; i++) {
		m[i] = (struct group_tracee){
			.area = i ? m[0].area : group_areas(), .nr = i,
			.of = TRACEES, .rounds = 10, .armed = true };
		skip_if_refused(_metadata, group_start(&t[i], &m[i], i % 3),
				"ptrace");
	}
	/* They must not have undo_fd: those frozen by version 1 do not die of SIGKILL */
	undo_pid = make_freezer(f, &undo_fd);
	ASSERT_LE(0, undo_pid);
	if (!undo_pid)
		SKIP(return, SKIP_NO_CGROUP);
	for (i = 0; i < TRACEES; i++) {
		snprintf(pid, sizeof(pid), "%d", t[i].tid);
		ASSERT_EQ(0, write_file(f->procs, pid));
	}
	freezer_pid = fork();
	ASSERT_LE(0, freezer_pid);
	while (!freezer_pid && !__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		write_file(f->state, f->freeze);
		write_file(f->state, f->thaw);
		let_others_run();
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

/* Moved by a cpuset that gets another CPU at every trap */
TEST(moved_by_cpuset)
{
	struct group_tracee m = { .of = 1, .rounds = 6, .armed = true };
	int cpus[64], n = allowed_cpus(cpus, 64), undo_fd, turn = 0;
	struct cpuset *set = shared_alloc(sizeof(*set));
	struct tracee t = { 0 };
	struct stop s;
	pid_t undo_pid;
	char text[16];

	if (n < 2)
		SKIP(return, SKIP_ONE_CPU);
	skip_if_no_changes(_metadata);
	undo_pid = make_cpuset(set, &undo_fd);
	ASSERT_LE(0, undo_pid);
	if (!undo_pid)
		SKIP(return, SKIP_NO_CGROUP);
	m.area = group_areas();
	skip_if_refused(_metadata, group_start(&t, &m, TRACEE_SEIZE), "ptrace");
	do {
		snprintf(text, sizeof(text), "%d", cpus[turn % n]);
		ASSERT_EQ(0, write_file(set->cpus, text));
		if (!turn) {
			snprintf(text, sizeof(text), "%d", t.tid);
			ASSERT_EQ(0, write_file(set->procs, text));
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

TEST_HARNESS_MAIN
