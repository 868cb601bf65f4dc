/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Background load for armed tracees: processes that keep the kernel busy in the
 * code that saves, loads, inherits or releases debug registers.
 */
#ifndef HW_BREAKPOINT_STRESSOR_H
#define HW_BREAKPOINT_STRESSOR_H

#include <sys/types.h>

#include "tracee.h"
#include "undo.h"

/* Exit code of a stressor that is not permitted to do what it does */
#define STRESSOR_REFUSED	4

/**
 * struct stressor - one stressor process
 * @t: the tracees that it disturbs; their args are struct group_tracee
 * @n: number of tracees
 * @pid: the process
 * @stop: asks it to stop
 * @count: number of iterations so far, shared
 * @iterations: number of iterations, after it has stopped
 */
struct stressor {
	struct tracee *t;
	unsigned int n;
	pid_t pid;
	int *stop;
	unsigned long *count;
	unsigned long iterations;
};

/**
 * struct stressor_kind - kind of background load
 * @name: for messages
 * @run: one iteration
 */
struct stressor_kind {
	const char *name;
	void (*run)(struct stressor *c);
};

enum {
	STRESSOR_FORKS,
	STRESSOR_EXECS,
	STRESSOR_PAGE_FAULTS,
	STRESSOR_TIMERS,
	STRESSOR_KERNEL_THREADS,
	STRESSOR_STOPS,
	STRESSOR_ATTACHES,
	STRESSOR_PERF_EVENTS,
	STRESSOR_STEPS,
	STRESSOR_FREEZES,
	STRESSOR_MOVES,
	STRESSOR_CPUSETS,
	STRESSOR_TAKEOVERS,
	STRESSOR_CPU_EVENTS,
	STRESSOR_HOTPLUG,
	STRESSOR_KINDS,
};

#define TAKEOVER_STORES	2000	/* at most, for tracer_takeover() */

extern const struct stressor_kind stressor_kinds[STRESSOR_KINDS];

int open_breakpoint(const void *addr, pid_t pid, int cpu);
int stressor_start(struct stressor *c, const struct stressor_kind *kind);
void stressor_wait_started(struct stressor *c);
int stressor_stop(struct stressor *c);
int tracer_takeover(unsigned long stores);

#endif /* HW_BREAKPOINT_STRESSOR_H */
