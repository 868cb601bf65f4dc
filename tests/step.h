/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Single steps: watched instructions and expected reports.
 */
#ifndef HW_BREAKPOINT_STEP_H
#define HW_BREAKPOINT_STEP_H

#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "probes.h"
#include "tracee.h"

struct words {
	unsigned int word[DR_SLOTS];
};

/* One-byte instructions, to be stepped through */
DECLARE_PROBE(step_nops);
DEFINE_PROBE(step_nops, "", "nop", "nop\n\tnop\n\tnop\n\tnop");

/* A nop, a store of two bytes after it, and nops again */
DECLARE_PROBE(step_store);
DEFINE_PROBE(step_store, "", "nop", "movl %eax, (" PROBE_PTR ")\n\tnop\n\tnop");

#define STORE		step_store_next
#define STORE_NEXT	(step_store_next + 2)

/* One step and its report; @slots must be shown in the same stop */
static inline int expect_step_and_hit(struct tracee *t, const void *ip,
				      unsigned int slots, unsigned long progress)
{
	struct trap trap = {
		.ip = ip, .slots = slots, .step = true, .progress = progress,
	};
	struct stop s;

	if (tracee_resume(t, PTRACE_SINGLESTEP, 0) || tracee_wait(t, &s))
		return -1;
	return tracee_check_trap(t, &s, &trap);
}

static inline int expect_step(struct tracee *t, const void *ip, unsigned long progress)
{
	return expect_step_and_hit(t, ip, 0, progress);
}

/* Resume with @request, and expect a hit without a step */
static inline int expect_hit_by(struct tracee *t, int request, unsigned int slots,
				const void *ip, unsigned long progress)
{
	struct trap trap = { .ip = ip, .slots = slots, .progress = progress };
	struct stop s;

	if (tracee_resume(t, request, 0) || tracee_wait(t, &s))
		return -1;
	return tracee_check_trap(t, &s, &trap);
}

#define FLAGS	offsetof(struct user, regs.eflags)
#define TF	0x100

static inline long trap_flag(struct tracee *t)
{
	return ptrace(PTRACE_PEEKUSER, t->tid, FLAGS, NULL) & TF;
}

static inline long set_trap_flag(struct tracee *t, bool on)
{
	long flags = ptrace(PTRACE_PEEKUSER, t->tid, FLAGS, NULL);

	return ptrace(PTRACE_POKEUSER, t->tid, FLAGS,
		      on ? flags | TF : flags & ~TF);
}

#endif /* HW_BREAKPOINT_STEP_H */
