// SPDX-License-Identifier: GPL-2.0
/*
 * What a fully verified trap costs, against the cheapest thing a tracer can
 * do: PTRACE_SINGLESTEP and waitpid(), with nothing looked at.  Both by one
 * tracer with one tracee on one CPU, in turn, batch by batch, so that whatever
 * else the machine does meets both alike.  Then with all CPUs at once, and with
 * many tracees under one tracer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crew.h"

#include "probes.h"
#include "tracee.h"

#define BATCH	2000
#define BATCHES	31
#define MANY	1000

static void visit_for_ever(struct tracee *t)
{
	unsigned long *sink = t->arg;

	for (;;) {
		++*t->progress;
		probe_visit(0, sink, 0);
	}
}

static void step_for_ever(struct tracee *t)
{
	unsigned long *sink = t->arg;

	for (;;)
		probe_visit(1, sink, 0);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e6 + ts.tv_nsec / 1e3;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Microseconds a round trip */
static double steps(struct tracee *t)
{
	double begin = now();
	int i, status;

	for (i = 0; i < BATCH; i++)
		if (ptrace(PTRACE_SINGLESTEP, t->tid, NULL, NULL) ||
		    waitpid(t->tid, &status, __WALL) != t->tid)
			die("single-step");
	return (now() - begin) / BATCH;
}

/* Microseconds a trap */
static double traps(struct tracee *t, unsigned long *n)
{
	double begin = now();
	int i;

	for (i = 0; i < BATCH; i++)
		if (tracee_expect_hit(t, 1, probe_target(0), ++*n))
			exit(1);
	return (now() - begin) / BATCH;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, BATCHES, sizeof(*v), by_value);
	return v[BATCHES / 2];
}

/* One tracer of several, each with a CPU of its own */
static int trap_on_cpu(unsigned int nr, void *arg)
{
	unsigned long *sink = shared_alloc(sizeof(*sink)), n = 0;
	struct tracee t = { .body = visit_for_ever, .arg = sink };
	const int *cpus = arg;
	int i;

	if (pin_to_cpu(0, cpus[nr]) || tracee_start(&t, TRACEE_TRACEME) ||
	    tracee_arm(&t, 0, BP_EXECUTE, 1, probe_target(0)))
		return 1;
	crew_ready();
	for (i = 0; i < 10; i++)
		traps(&t, &n);
	tracee_stop(&t);
	return 0;
}

static double side_by_side(unsigned int n, int *cpus)
{
	double begin = now();

	if (crew_side_by_side(n, trap_on_cpu, cpus))
		die("side by side");
	return n * 10 * BATCH / (now() - begin) * 1e6;
}

static long available_kb(void)
{
	char line[128];
	long kb = 0;
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

/* @n tracees with all four slots armed, each trapped in its turn */
static void many(unsigned int n, unsigned long *sink)
{
	struct tracee *t = calloc(n, sizeof(*t));
	unsigned long *visits = calloc(n, sizeof(*visits));
	long before = available_kb(), kb;
	unsigned int i, round, slot, rounds = 20000 / n;
	double begin, us;

	if (!t || !visits)
		die("memory");
	for (i = 0; i < n; i++) {
		t[i] = (struct tracee){ .body = visit_for_ever, .arg = sink };
		if (tracee_start(&t[i], TRACEE_TRACEME))
			die("start");
		for (slot = 0; slot < DR_SLOTS; slot++)
			if (tracee_arm(&t[i], slot, BP_EXECUTE, 1,
				       probe_target(slot)))
				die("arm");
	}
	kb = before - available_kb();
	begin = now();
	for (round = 0; round < rounds; round++)
		for (i = 0; i < n; i++)
			if (tracee_expect_hit(&t[i], 1, probe_target(0),
					      ++visits[i]))
				exit(1);
	us = (now() - begin) / rounds / n;
	for (i = 0; i < n; i++)
		tracee_stop(&t[i]);
	printf("%4u tracees with 4 slots each       %6.2f us a trap, %4.0f kB a tracee\n",
	       n, us, (double)kb / n);
	free(visits);
	free(t);
}

int main(void)
{
	static double step[BATCHES], trap[BATCHES], ratio[BATCHES];
	unsigned long *sink = shared_alloc(sizeof(*sink)), n = 0;
	struct tracee stepped = { .body = step_for_ever, .arg = sink };
	struct tracee trapped = { .body = visit_for_ever, .arg = sink };
	int cpus[64], ncpus = allowed_cpus(cpus, 64), i;
	double one, all;

	if (ncpus < 1 || pin_to_cpu(0, cpus[0]))
		die("one CPU");
	if (tracee_start(&stepped, TRACEE_TRACEME) ||
	    tracee_start(&trapped, TRACEE_TRACEME) ||
	    tracee_arm(&trapped, 0, BP_EXECUTE, 1, probe_target(0)))
		die("start");

	for (i = 0; i < BATCHES; i++) {
		step[i] = steps(&stepped);
		trap[i] = traps(&trapped, &n);
		ratio[i] = trap[i] / step[i];
	}
	tracee_stop(&stepped);
	tracee_stop(&trapped);
	printf("bare PTRACE_SINGLESTEP and waitpid  %6.2f us\n", median(step));
	printf("fully verified trap                 %6.2f us\n", median(trap));
	printf("ratio                               %6.2f (medians of %d batches of %d)\n",
	       median(ratio), BATCHES, BATCH);
	one = side_by_side(1, cpus);
	all = side_by_side(ncpus, cpus);
	printf("traps/s on one CPU                  %6.0f\n", one);
	printf("traps/s on all %2d                   %6.0f, %.2f times one\n",
	       ncpus, all, all / one);
	for (i = 1; i <= MANY; i *= 10)
		many(i, sink);
	return 0;
}
