// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints around an NMI.
 *
 * The NMI handler disables all breakpoints of its CPU and restores them
 * (local_db_save() and local_db_restore() in exc_nmi(), arch/x86/kernel/nmi.c).
 * Breakpoints that are not restored are lost until the next context switch, so
 * the NMI must arrive while the thread runs, and the access must follow it.
 *
 * If there is a PMU, its overflows are NMIs.  Any machine has the NMIs by which
 * sysrq-l makes CPUs print their backtraces, but they fill the kernel log with
 * what looks like an error: only with HW_BREAKPOINT_SYSRQ in the environment.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "perf_event.h"
#include "probes.h"

#define ACCESSES	4
#define ROUNDS		4
#define PERIOD		100003	/* cycles from one NMI to the next */
#define SPINS		200000	/* of a loop, which take the time of some NMIs */

struct nmi {
	unsigned long sink;
	unsigned int words[2];
	int running;	/* the access that comes next, counted from 1 */
	int go;		/* the last one that may be made */
	bool spins;
};

FIXTURE(nmi) {
	struct tracee t;
	struct nmi *nmi;
	unsigned long before;
};

/* The number of NMIs of all CPUs, from /proc */
static unsigned long nmis(void)
{
	FILE *f = fopen("/proc/interrupts", "re");
	unsigned long n, sum = 0;
	char word[32];

	/* "NMI: 1 2 3 Non-maskable interrupts", a column for each online CPU */
	while (f && fscanf(f, "%31s", word) == 1 && strcmp(word, "NMI:"))
		;
	while (f && fscanf(f, "%lu", &n) == 1)
		sum += n;
	if (f)
		fclose(f);
	return sum;
}

static void access_after_nmis(struct tracee *t)
{
	struct nmi *nmi = t->arg;
	volatile unsigned int turn;
	int n;

	for (n = 1; n <= ROUNDS * ACCESSES; n++) {
		*t->progress = n;
		__atomic_store_n(&nmi->running, n, __ATOMIC_SEQ_CST);
		if (nmi->spins)
			for (turn = 0; turn < SPINS; turn++)
				;
		else
			while (__atomic_load_n(&nmi->go, __ATOMIC_SEQ_CST) < n)
				;
		if (n % 4 < 2)
			probe_call_target(n % 4, &nmi->sink, n);
		else if (n % 4 == 2)
			probe_store4(&nmi->words[0], n);
		else
			probe_load4(&nmi->words[1], 0);
		/* Where a lost trap is detected */
		tracee_sync();
	}
}

/* The expected trap of access @n */
static struct trap expected_trap(int n)
{
	const void *const ips[ACCESSES] = {
		probe_target(0), probe_target(1), probe_store4_next,
		probe_load4_next,
	};

	return (struct trap){
		.slots = 1U << n % ACCESSES, .ip = ips[n % ACCESSES],
		.progress = n };
}

/* All four slots armed, on the last CPU: the tracer may use another one */
FIXTURE_SETUP(nmi)
{
	int cpus[64], n = allowed_cpus(cpus, 64);
	struct tracee *t = &self->t;

	self->nmi = shared_alloc(sizeof(*self->nmi));
	t->body = access_after_nmis;
	t->arg = self->nmi;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, pin_to_cpu(t->tid, cpus[n - 1]));
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, probe_target(0)));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, probe_target(1)));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_WRITE, 4, &self->nmi->words[0]));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_RW, 4, &self->nmi->words[1]));
	self->before = nmis();
}

FIXTURE_TEARDOWN(nmi)
{
	tracee_stop(&self->t);
}

/* Overflows of the cycle counter of the tracee */
TEST_F(nmi, pmu_overflow)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr),
		.config = PERF_COUNT_HW_CPU_CYCLES, .sample_period = PERIOD,
		.exclude_kernel = 1, .exclude_hv = 1,
	};
	struct trap trap;
	int fd, n;

	fd = perf_try_once(&attr, self->t.tid, -1);
	if (fd < 0)
		SKIP(return, SKIP_NO_NMI);
	self->nmi->spins = true;
	for (n = 1; n <= ROUNDS * ACCESSES; n++) {
		trap = expected_trap(n);
		ASSERT_EQ(0, tracee_expect_trap(&self->t, &trap)) {
			TH_LOG("after %lu NMIs", nmis() - self->before);
		}
		ASSERT_EQ(0, tracee_expect_sync(&self->t, n));
	}
	ASSERT_EQ(0, tracee_expect_exit(&self->t));
	close(fd);
	if (nmis() == self->before)
		SKIP(return, SKIP_NO_NMI);
}

/* One NMI for each access, while its thread waits for it */
TEST_F(nmi, sysrq_backtrace)
{
	struct nmi *nmi = self->nmi;
	int fd, n, cpus[64];
	struct trap trap;
	struct stop s;

	if (!getenv("HW_BREAKPOINT_SYSRQ"))
		SKIP(return, SKIP_SYSRQ);
	skip_if_no_changes(_metadata);
	if (allowed_cpus(cpus, 64) < 2)
		SKIP(return, SKIP_ONE_CPU);
	fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, SKIP_REFUSED, "sysrq");
	ASSERT_EQ(0, pin_to_cpu(0, cpus[0]));
	for (n = 1; n <= ROUNDS * ACCESSES; n++) {
		ASSERT_EQ(0, tracee_cont(&self->t));
		while (__atomic_load_n(&nmi->running, __ATOMIC_SEQ_CST) < n)
			let_others_run();
		ASSERT_EQ(1, write(fd, "l", 1));
		__atomic_store_n(&nmi->go, n, __ATOMIC_SEQ_CST);
		ASSERT_EQ(0, tracee_wait(&self->t, &s));
		trap = expected_trap(n);
		ASSERT_EQ(0, tracee_check_trap(&self->t, &s, &trap)) {
			TH_LOG("after %lu NMIs", nmis() - self->before);
		}
		ASSERT_EQ(0, tracee_expect_sync(&self->t, n));
	}
	ASSERT_EQ(0, tracee_expect_exit(&self->t));
	if (nmis() - self->before < ROUNDS * ACCESSES)
		SKIP(return, SKIP_NO_NMI);
	close(fd);
}

TEST_HARNESS_MAIN
