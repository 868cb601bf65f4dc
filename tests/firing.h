/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which types of breakpoint fire on this machine.
 *
 * Some hypervisors accept every breakpoint and return it when it is read back,
 * but never deliver a #DB, so that only a trap proves anything.  Each program
 * tries every type before main().  A type that never fires is dead:
 * first_trap_test fails for it, and all other tests that need it are skipped.
 * For a type that has fired even once every missed trap is a failure.
 */
#ifndef HW_BREAKPOINT_FIRING_H
#define HW_BREAKPOINT_FIRING_H

#include <stdbool.h>
#include <stddef.h>

#include "debugreg.h"

/* Number of tries without a trap after which a type is regarded as dead */
#define FIRING_TRIES	64

/**
 * enum firing_by - interface through which a breakpoint is set
 * @BY_PTRACE: PTRACE_POKEUSER of the debug registers
 * @BY_PERF: perf_event_open(2)
 * @FIRING_WAYS: number of interfaces
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
 * struct firing - result of trying one type of breakpoint
 * @tried: number of times it was armed
 * @fired: number of times it fired
 * @err: 0, or the negative errno of the refusal
 * @reads_back: whether the registers read back as written
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
