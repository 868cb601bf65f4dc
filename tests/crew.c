// SPDX-License-Identifier: GPL-2.0
/*
 * Several tracees at once: see crew.h.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crew.h"
#include "firing.h"
#include "probes.h"

/* A round; what comes after the first five is not owed a trap */
enum {
	OWN_TARGET, OTHER_TARGET, OWN_WRITTEN, OWN_READ, OWN_READ_STORE,
	NEXT_TARGET, NEXT_WRITTEN, NEXT_READ, STEPS
};

static unsigned int second_target(unsigned int nr)
{
	return (nr + PROBE_TARGETS / 2) % PROBE_TARGETS;
}

/* Who was the last armed thread on each CPU; shared by all crews */
static pid_t *last_armed;

/**
 * crew_areas() - the memory of a crew
 *
 * Crews whose switches are to be counted as one come from a process that has
 * called this before it forked.
 *
 * Return: CREW_MAX areas, shared over fork().
 */
struct crew_area *crew_areas(void)
{
	if (!last_armed)
		last_armed = shared_alloc(CPU_SETSIZE * sizeof(*last_armed));
	return shared_alloc(CREW_MAX * sizeof(struct crew_area));
}

/**
 * crew_switched() - called by an armed thread: has another been here since?
 * @tid: its thread id
 * @cpu: the CPU that it is on
 *
 * Return: the last armed thread that called this on @cpu, where it was another;
 * otherwise 0.
 */
pid_t crew_switched(pid_t tid, int cpu)
{
	pid_t last;

	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return 0;
	last = __atomic_exchange_n(&last_armed[cpu], tid, __ATOMIC_RELAXED);
	return last == tid ? 0 : last;
}

/* An armed member is about to make an access: has it just come in? */
static void come_in(struct crew_area *own, pid_t tid, int cpu)
{
	pid_t from = crew_switched(tid, cpu);
	struct timespec now;

	if (!from)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	own->switches++;
	own->since = now.tv_sec * 1000000000ULL + now.tv_nsec;
	own->from = from;
}

/**
 * crew_access() - make one access
 * @m: whose
 * @step: which, from 0; access number 1 + @step of the ledger
 */
void crew_access(const struct crew_member *m, unsigned long step)
{
	struct crew_area *own = &m->area[m->nr];
	unsigned int next_nr = (m->nr + 1) % m->of;
	struct crew_area *next = &m->area[next_nr];

	switch (step % STEPS) {
	case OWN_TARGET:
		probe_visit(m->nr, &own->sink, step);
		break;
	case OTHER_TARGET:
		probe_visit(second_target(m->nr), &own->sink, step);
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
		/* Alone, the next is itself: then a target nobody watches */
		probe_visit(m->of > 1 ? next_nr : m->nr + 1, &own->sink, step);
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

static bool is_owed(const struct crew_member *m, unsigned long step,
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

/* Wait for one's turn, and pass it on; the bitset wakes the next one only */
static void baton_wait(int *baton, int nr)
{
	int now;

	while ((now = __atomic_load_n(baton, __ATOMIC_ACQUIRE)) != nr)
		syscall(SYS_futex, baton, FUTEX_WAIT_BITSET, now, NULL, NULL,
			1U << nr % 32);
}

static void baton_pass(int *baton, int nr)
{
	__atomic_store_n(baton, nr, __ATOMIC_RELEASE);
	syscall(SYS_futex, baton, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL,
		1U << nr % 32);
}

static void play(struct tracee *t)
{
	struct crew_member *m = t->arg;
	int *baton = &m->area[0].baton;
	unsigned long step, end = (unsigned long)m->rounds * STEPS;
	int cpus[64], n = allowed_cpus(cpus, 64);
	struct crew_area *own = &m->area[m->nr];

	for (step = 0; step < end; step++) {
		if (m->pace == CREW_BATON)
			baton_wait(baton, m->nr);
		*t->progress = 1 + step;
		*t->cpu = sched_getcpu();
		if (m->armed)
			come_in(own, t->tid, *t->cpu);
		crew_access(m, step);
		if (m->pace == CREW_BATON)
			baton_pass(baton, (m->nr + 1) % m->of);
		else if (m->pace == CREW_YIELD)
			sched_yield();
		else if (m->pace == CREW_MOVE &&
			 !pin_to_cpu(0, cpus[(m->nr + step) % n]))
			own->moves++;
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
	struct crew_member *m = t->arg;

	snprintf(buf, size, "%s member %u of %u %s",
		 m->armed ? "armed" : "unarmed", m->nr, m->of,
		 n ? names[(n - 1) % STEPS] : "has not begun");
}

/**
 * crew_arm() - arm the slots of a member
 * @t: stopped tracee; arg is the member
 *
 * Which slot has which address is turned round by the member's number.
 *
 * Return: 0, or a negative errno.
 */
int crew_arm(struct tracee *t)
{
	const struct crew_member *m = t->arg;
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
	/* Not at the first trap: the others might wait for it in vain */
	if (!err && tracee_on_dead_type && firing_dead(BY_PTRACE, NEEDS_ALL))
		tracee_on_dead_type();
	return err;
}

/**
 * crew_start() - start and arm a member
 * @t: filled in
 * @m: filled in by the caller
 * @how: as for tracee_start()
 *
 * Return: as for tracee_start() and tracee_arm().
 */
int crew_start(struct tracee *t, struct crew_member *m, enum tracee_how how)
{
	int err;

	t->body = play;
	t->arg = m;
	t->id = m->nr;
	t->describe = describe_step;
	err = tracee_start(t, how);
	if (!err && m->armed)
		err = crew_arm(t);
	return err;
}

/* To the next of the CPUs that the tracer may use */
static void move_member(struct tracee *t)
{
	struct crew_member *m = t->arg;
	static int cpus[64], n;

	if (!n)
		n = allowed_cpus(cpus, 64);
	if (!pin_to_cpu(t->tid, cpus[(m->nr + t->traps) % n]))
		m->area[m->nr].moves++;
}

/**
 * crew_event() - give one event to the ledger it belongs to, and go on
 * @t: the member's tracee
 * @s: its event
 *
 * Return: 0; 1 after a report, or a negative errno, where it was not what
 * the member owes.
 */
int crew_event(struct tracee *t, const struct stop *s)
{
	struct crew_member *m = t->arg;
	unsigned long end = (unsigned long)m->rounds * STEPS;
	struct trap trap = { 0 };
	int err;

	if (m->stops && WIFSTOPPED(s->status) &&
	    (WSTOPSIG(s->status) == SIGSTOP || WSTOPSIG(s->status) == SIGCONT ||
	     s->status >> 16 == PTRACE_EVENT_STOP))
		return tracee_cont(t);
	while (m->step < end && !is_owed(m, m->step, &trap))
		m->step++;
	if (m->step == end)
		return tracee_check_exit(t, s);

	m->step++;
	err = tracee_check_trap(t, s, &trap);
	if (!err && m->moved)
		move_member(t);
	return err ?: tracee_cont(t);
}

/**
 * crew_run() - run stopped members to their exits
 * @set: their tracees
 * @n: how many
 *
 * Return: 0; 1 after a report, or a negative errno, at the first event that
 * nobody owes.
 */
int crew_run(struct tracee *set, unsigned int n)
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
		err = crew_event(t, &s);
		if (err)
			return err;
		if (t->tid < 0)
			left--;
	}
	return 0;
}

/* Ends of the two pipes that let processes begin together */
static int ready_fd = -1, go_fd = -1;

/**
 * crew_ready() - called in crew_side_by_side(): wait until all are ready
 */
void crew_ready(void)
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
 * crew_side_by_side() - several processes that begin together
 * @n: how many, at most CREW_MAX
 * @run: what each does; it gets a number below @n and @arg, and calls
 *	crew_ready() once it is set up
 * @arg: for @run
 *
 * Return: how many failed: returned anything but 0, or died.
 */
int crew_side_by_side(unsigned int n, int (*run)(unsigned int nr, void *arg),
		      void *arg)
{
	int ready[2], go[2], status, failed = 0;
	pid_t pids[CREW_MAX];
	unsigned int i, forked;
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
		if (pids[forked] < 0)
			break;
		if (!pids[forked]) {
			close(ready[0]);
			close(go[1]);
			ready_fd = ready[1];
			go_fd = go[0];
			_exit(!!run(forked, arg));
		}
	}
	close(ready[1]);
	close(go[0]);
	/* Ready or dead: the end of the pipe comes when all are one of them */
	for (i = 0; i < forked && read(ready[0], &c, 1) == 1; i++)
		;
	close(ready[0]);
	close(go[1]);
	for (i = 0; i < forked; i++)
		if (waitpid(pids[i], &status, 0) != pids[i] || status)
			failed++;
	return failed + n - forked;
}
