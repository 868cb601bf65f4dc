/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A broken kernel, as a library to preload: it stands between a test and the
 * C library's system calls, and HWBP_FAULT names the one thing that goes
 * wrong.  A test that stays green under every fault tests nothing.
 *
 *   LD_PRELOAD=./shim.so HWBP_FAULT=never_armed ./slots_test_64
 *
 * tools/faults/list says what each fault does.  The tracee runs with the shim
 * as well, so that both sides of a test can be lied to; what a test does in
 * assembly, and what it executes anew without its environment, is not.
 */
#ifndef HW_BREAKPOINT_SHIM_H
#define HW_BREAKPOINT_SHIM_H

#include <stdbool.h>
#include <string.h>

extern const char *fault_name;

/* The caller has armed a tracee */
extern bool slots_were_armed;

/**
 * fault() - is this the fault that was asked for?
 * @name: as in tools/faults/list
 *
 * Return: true where it is.
 */
static inline bool fault(const char *name)
{
	return !strcmp(fault_name, name);
}

#endif /* HW_BREAKPOINT_SHIM_H */
