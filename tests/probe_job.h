/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A tracee that calls one probe repeatedly.
 */
#ifndef HW_BREAKPOINT_PROBE_JOB_H
#define HW_BREAKPOINT_PROBE_JOB_H

#include "harness.h"
#include "probes.h"
#include "tracee.h"

/**
 * struct probe_job - what the tracee calls; its arg
 * @fn: the probe
 * @memory: its first argument
 * @val: its second argument
 */
struct probe_job {
	void (*fn)(void *addr, unsigned long val);
	void *memory;
	unsigned long val;
};

/* The body: progress is 1 in the probe, and 2 at the tracee_sync() after it */
static inline void run_probe_job(struct tracee *t)
{
	const struct probe_job *job = t->arg;

	for (;;) {
		*t->progress = 1;
		job->fn(job->memory, job->val);
		*t->progress = 2;
		tracee_sync();
	}
}

/**
 * start_probe_job() - start_tracee() with a body that calls a probe
 * @_metadata: the test's
 * @t: tracee
 * @fn: the probe
 * @memory: its first argument; the second is 0
 */
static inline void start_probe_job(struct __test_metadata *_metadata, struct tracee *t,
				   void (*fn)(void *addr, unsigned long val),
				   void *memory)
{
	struct probe_job *job = shared_alloc(sizeof(*job));

	*job = (struct probe_job){ .fn = fn, .memory = memory };
	t->body = run_probe_job;
	t->arg = job;
	start_tracee(_metadata, t, TRACEE_TRACEME);
}

#endif /* HW_BREAKPOINT_PROBE_JOB_H */
