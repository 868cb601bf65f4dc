/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A broken kernel, as a library to preload: it stands between a test and the
 * C library's system calls, and HWBP_FAULT names the one thing that goes
 * wrong.  A test that stays green under every fault tests nothing.
 *
 *   LD_PRELOAD=./shim.so HWBP_FAULT=never_armed ./slot_test_64
 *
 * tools/faults/list says what each fault does.  The tracee runs with the shim
 * as well, so that either side of a test can be deceived; what a test does in
 * assembly, and what it executes anew without its environment, is not.
 */
#ifndef HW_BREAKPOINT_SHIM_H
#define HW_BREAKPOINT_SHIM_H

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

extern const char *fault_name;

/* The process that the program was started as; its tests are children of it */
extern pid_t started_as;

/* The caller has armed a tracee */
extern bool slots_were_armed;

/**
 * fault_from_start() - is this the fault that was asked for?
 * @name: as in tools/faults/list
 *
 * Before its tests a program finds out which breakpoints fire, and skips what
 * needs one that never does.
 *
 * Return: true where it is, for those tries too.
 */
static inline bool fault_from_start(const char *name)
{
	return !strcmp(fault_name, name);
}

/**
 * fault() - is this the fault that was asked for, and has a test begun?
 * @name: as in tools/faults/list
 *
 * Return: true where it is, in every process but the program's first.
 */
static inline bool fault(const char *name)
{
	return fault_from_start(name) && getpid() != started_as;
}

#endif /* HW_BREAKPOINT_SHIM_H */
