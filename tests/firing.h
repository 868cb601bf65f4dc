/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which types of breakpoint fire on this machine.
 *
 * Some hypervisors accept every breakpoint, show it when it is read back, and
 * never deliver a #DB: there only a trap is proof.  Each program tries every
 * type before main().  One that never fires is dead: first_trap_test fails for
 * it, and what else needs it is skipped.  One that has fired even once is
 * alive, and each of its traps is expected.
 */
#ifndef HW_BREAKPOINT_FIRING_H
#define HW_BREAKPOINT_FIRING_H

#include <stdbool.h>
#include <stddef.h>

#include "debugreg.h"

/* Tries without a trap after which a type is called dead */
#define FIRING_TRIES	64

/* What a test is skipped with that needs a dead type; other tools match it */
#define FIRING_SKIP	"this type of breakpoint never fires here, see first_trap_test"

/**
 * enum firing_by - how a breakpoint is asked for
 * @BY_PTRACE: PTRACE_POKEUSER of the debug registers
 * @BY_PERF: perf_event_open(2)
 * @FIRING_WAYS: how many ways there are
 */
enum firing_by {
	BY_PTRACE,
	BY_PERF,
	FIRING_WAYS,
};

/* Sets of types, for firing_dead() */
enum {
	NEEDS_EXECUTE	= 1U << BP_EXECUTE,
	NEEDS_WRITE	= 1U << BP_WRITE,
	NEEDS_RW	= 1U << BP_RW,
	NEEDS_DATA	= NEEDS_WRITE | NEEDS_RW,
	NEEDS_ALL	= NEEDS_EXECUTE | NEEDS_DATA,
};

/**
 * struct firing - what became of one type of breakpoint
 * @tried: how often it was armed
 * @fired: how often it fired
 * @err: 0, or the negative errno with which it was refused
 * @reads_back: the registers were read back as they were written
 */
struct firing {
	unsigned int tried;
	unsigned int fired;
	int err;
	bool reads_back;
};

void firing_probe(void);
const struct firing *firing_of(enum firing_by by, enum bp_type type);
bool firing_dead(enum firing_by by, unsigned int types);
void firing_text(enum firing_by by, char *buf, size_t size);

#endif /* HW_BREAKPOINT_FIRING_H */
