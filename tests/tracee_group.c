// SPDX-License-Identifier: GPL-2.0
/*
 * Several tracees at once: see tracee_group.h.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracee_group.h"
#include "firing.h"
#include "probes.h"

/* The accesses of a round; only the first five are expected to trap */
enum {
	OWN_TARGET, OTHER_TARGET, OWN_WRITTEN, OWN_READ, OWN_READ_STORE,
	NEXT_TARGET, NEXT_WRITTEN, NEXT_READ, STEPS
};

static unsigned int second_target(unsigned int nr)
{
	return (nr + PROBE_TARGETS / 2) % PROBE_TARGETS;
}

/* The last armed thread on each CPU; shared by all groups */
static pid_t *last_armed;

/**
 * group_areas() - allocate the memory of a group
 *
 * Groups whose context switches are counted together are forked by a process
 * that has called this before.
 *
 * Return: GROUP_MAX areas, shared with children.
 */
struct group_area *group_areas(void)
{
	if (!last_armed)
		last_armed = shared_alloc(CPU_SETSIZE * sizeof(*last_armed));
	return shared_alloc(GROUP_MAX * sizeof(struct group_area));
}

/**
 * group_switched_from() - detect a context switch; called by an armed thread
 * @tid: its thread id
 * @cpu: the CPU that it is on
 *
 * Return: the last armed thread that called this on @cpu if it was another one;
 * otherwise 0.
 */
pid_t group_switched_from(pid_t tid, int cpu)
{
	pid_t last;

	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return 0;
	last = __atomic_exchange_n(&last_armed[cpu], tid, __ATOMIC_RELAXED);
	return last == tid ? 0 : last;
}

/* An armed tracee is about to make an access: has there been a switch? */
static void note_switch(struct group_area *own, pid_t tid, int cpu)
{
	pid_t switched_from = group_switched_from(tid, cpu);

	if (!switched_from)
		return;
	own->switched_at = monotonic_ns();
	own->switches++;
	own->switched_from = switched_from;
}

/**
 * group_access() - make one access
 * @m: the tracee
 * @step: number of the access, from 0; its progress is 1 + @step
 */
void group_access(const struct group_tracee *m, unsigned long step)
{
	struct group_area *own = &m->area[m->nr];
	unsigned int next_nr = (m->nr + 1) % m->of;
	struct group_area *next = &m->area[next_nr];

	switch (step % STEPS) {
	case OWN_TARGET:
		probe_call_target(m->nr, &own->sink, step);
		break;
	case OTHER_TARGET:
		probe_call_target(second_target(m->nr), &own->sink, step);
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
		/*
		 * A single tracee has no next one, and of 33 the last one watches
		 * the first one's: use a target that is not watched
		 */
		if (m->of == 1 || next_nr == second_target(m->nr))
			next_nr = m->nr + 1;
		probe_call_target(next_nr, &own->sink, step);
		break;
	case NEXT_WRITTEN:
		if (m->of > 1)
			probe_store4(&next->written, step);
		break;
	case NEXT_READ:
		if (m->of > 1)
			probe_load4(&next->read, 0);
		break;
	}
}

static bool next_expected(const struct group_tracee *m, unsigned long step,
			  struct trap *trap)
{
	unsigned int what = step % STEPS;
	unsigned int nth = what == OWN_READ_STORE ? OWN_READ : what;
	static const char * const ips[] = {
		[OWN_WRITTEN] = probe_store4_next,
		[OWN_READ] = probe_load4_next,
		[OWN_READ_STORE] = probe_store4_next,
	};

	if (!m->armed || what > OWN_READ_STORE || nth >= DR_SLOTS - m->spare)
		return false;

	trap->slots = 1U << ((nth + m->nr) % DR_SLOTS);
	trap->progress = 1 + step;
	if (what == OWN_TARGET)
		trap->ip = probe_target(m->nr);
	else if (what == OTHER_TARGET)
		trap->ip = probe_target(second_target(m->nr));
	else
		trap->ip = ips[what];
	return true;
}

/* Wait for the token, and pass it on; the bitset wakes only the next one */
static void token_wait(int *token, int nr)
{
	int now;

	while ((now = __atomic_load_n(token, __ATOMIC_ACQUIRE)) != nr)
		syscall(SYS_futex, token, FUTEX_WAIT_BITSET, now, NULL, NULL,
			1U << nr % 32);
}

static void token_pass(int *token, int nr)
{
	__atomic_store_n(token, nr, __ATOMIC_RELEASE);
	syscall(SYS_futex, token, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL,
		1U << nr % 32);
}

static void run_rounds(struct tracee *t)
{
	struct group_tracee *m = t->arg;
	int *token = &m->area[0].token;
	unsigned long step, end = (unsigned long)m->rounds * STEPS;
	int cpus[64], n = allowed_cpus(cpus, 64);
	struct group_area *own = &m->area[m->nr];

	for (step = 0; step < end; step++) {
		if (m->pace == PACE_TOKEN)
			token_wait(token, m->nr);
		*t->progress = 1 + step;
		*t->cpu = sched_getcpu();
		if (m->armed)
			note_switch(own, t->tid, *t->cpu);
		group_access(m, step);
		if (m->pace == PACE_TOKEN)
			token_pass(token, (m->nr + 1) % m->of);
		else if (m->pace == PACE_YIELD)
			sched_yield();
		else if (m->pace == PACE_MOVE &&
			 !pin_to_cpu(0, cpus[(m->nr + step) % n]))
			own->moves++;
	}
}

static void describe_step(struct tracee *t, unsigned long n, char *buf,
			  size_t size)
{
	static const char * const names[] = {
		"calls its first target", "calls its second target",
		"stores to its write watchpoint",
		"loads from its rw watchpoint", "stores to its rw watchpoint",
		"calls another's target", "stores to another's watchpoint",
		"loads from another's watchpoint",
	};
	struct group_tracee *m = t->arg;

	snprintf(buf, size, "%s tracee %u of %u %s",
		 m->armed ? "armed" : "unarmed", m->nr, m->of,
		 n ? names[(n - 1) % STEPS] : "has not begun");
}

/**
 * group_arm() - arm the slots of a tracee
 * @t: stopped tracee; arg is its struct group_tracee
 *
 * The assignment of addresses to slots is rotated by the tracee's number.
 *
 * Return: 0 or a negative errno.
 */
int group_arm(struct tracee *t)
{
	const struct group_tracee *m = t->arg;
	const struct {
		enum bp_type type;
		unsigned int len;
		const void *addr;
	} want[DR_SLOTS] = {
		{ BP_EXECUTE, 1, probe_target(m->nr) },
		{ BP_EXECUTE, 1, probe_target(second_target(m->nr)) },
		{ BP_WRITE, 4, &m->area[m->nr].written },
		{ BP_RW, 4, &m->area[m->nr].read },
	};
	unsigned int i;
	int err = 0;

	for (i = 0; i < DR_SLOTS - m->spare && !err; i++)
		err = tracee_arm(t, (i + m->nr) % DR_SLOTS, want[i].type,
				 want[i].len, want[i].addr);
	/* Not at the first trap: the others may be waiting for this one */
	if (!err && tracee_on_dead_type && firing_dead(BY_PTRACE, NEEDS_ALL))
		tracee_on_dead_type();
	return err;
}

/**
 * group_start() - start and arm a tracee
 * @t: filled in
 * @m: filled in by the caller
 * @how: as for tracee_start()
 *
 * Return: as for tracee_start() and tracee_arm().
 */
int group_start(struct tracee *t, struct group_tracee *m, enum tracee_how how)
{
	int err;

	t->body = run_rounds;
	t->arg = m;
	t->id = m->nr;
	t->describe = describe_step;
	err = tracee_start(t, how);
	if (!err && m->armed)
		err = group_arm(t);
	return err;
}

/* To the next of the CPUs that the tracer may use */
static void move_tracee(struct tracee *t)
{
	struct group_tracee *m = t->arg;
	static int cpus[64], n;

	if (!n)
		n = allowed_cpus(cpus, 64);
	if (!pin_to_cpu(t->tid, cpus[(m->nr + t->traps) % n]))
		m->area[m->nr].moves++;
}

/**
 * group_event() - check an event against the expected one, and continue
 * @t: the tracee
 * @s: its event
 *
 * Return: 0; 1 after a report, or a negative errno, if it was not the expected
 * event.
 */
int group_event(struct tracee *t, const struct stop *s)
{
	struct group_tracee *m = t->arg;
	unsigned long end = (unsigned long)m->rounds * STEPS;
	struct trap trap = { 0 };
	int err;

	if (m->stops && WIFSTOPPED(s->status) &&
	    (WSTOPSIG(s->status) == SIGSTOP || WSTOPSIG(s->status) == SIGCONT ||
	     s->status >> 16 == PTRACE_EVENT_STOP))
		return tracee_cont(t);
	while (m->step < end && !next_expected(m, m->step, &trap))
		m->step++;
	if (m->step == end)
		return tracee_check_exit(t, s);

	m->step++;
	err = tracee_check_trap(t, s, &trap);
	if (!err && m->moved)
		move_tracee(t);
	return err ?: tracee_cont(t);
}

/**
 * group_run() - run stopped tracees until they exit
 * @set: the tracees
 * @n: how many
 *
 * Return: 0; 1 after a report, or a negative errno, at the first event that was
 * not expected.
 */
int group_run(struct tracee *set, unsigned int n)
{
	unsigned int i, left = n;
	struct tracee *t;
	struct stop s;
	int err;

	for (i = 0; i < n; i++) {
		err = tracee_cont(&set[i]);
		if (err)
			return err;
	}
	while (left) {
		t = tracee_wait_any(set, n, &s);
		if (!t)
			return 1;
		err = group_event(t, &s);
		if (err)
			return err;
		if (t->tid < 0)
			left--;
	}
	return 0;
}

/* Exit code of a process of run_side_by_side() that could not create others */
#define EXIT_FEW_PROCESSES 2

/* Ends of the two pipes that let processes start together */
static int ready_fd = -1, go_fd = -1;

/**
 * side_by_side_ready() - called in run_side_by_side(): wait until all are ready
 */
void side_by_side_ready(void)
{
	char c = 0;

	if (ready_fd < 0)
		return;
	if (write(ready_fd, &c, 1) != 1 || read(go_fd, &c, 1))
		_exit(1);
	close(ready_fd);
	close(go_fd);
	ready_fd = -1;
}

/**
 * run_side_by_side() - run several processes that start together
 * @n: how many, at most GROUP_MAX
 * @run: called in each with a number below @n and @arg; must call
 *	side_by_side_ready() once it is set up
 * @arg: for @run
 *
 * Return: how many have failed: returned anything but 0, or died.  If none has,
 * -EAGAIN if not all processes could be created: by @run, which returned that, or
 * here.
 */
int run_side_by_side(unsigned int n, int (*run)(unsigned int nr, void *arg),
		     void *arg)
{
	int ready[2], go[2], status, err, failed = 0;
	pid_t pids[GROUP_MAX];
	unsigned int i, forked;
	bool few = false;
	char c;

	if (pipe(ready))
		return n;
	if (pipe(go)) {
		close(ready[0]);
		close(ready[1]);
		return n;
	}
	for (forked = 0; forked < n; forked++) {
		pids[forked] = fork();
		if (pids[forked] < 0) {
			few = errno == EAGAIN;
			if (!few)
				failed = n - forked;
			break;
		}
		if (!pids[forked]) {
			close(ready[0]);
			close(go[1]);
			ready_fd = ready[1];
			go_fd = go[0];
			err = run(forked, arg);
			_exit(err == -EAGAIN ? EXIT_FEW_PROCESSES : !!err);
		}
	}
	close(ready[1]);
	close(go[0]);
	/* The pipe ends when each of them is ready or has died */
	for (i = 0; i < forked && read(ready[0], &c, 1) == 1; i++)
		;
	close(ready[0]);
	close(go[1]);
	for (i = 0; i < forked; i++) {
		if (waitpid(pids[i], &status, 0) != pids[i])
			status = -1;
		if (status == EXIT_FEW_PROCESSES << 8)
			few = true;
		else if (status)
			failed++;
	}
	return few && !failed ? -EAGAIN : failed;
}
