/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Faults that can be switched on in a running kernel, to see whether a test
 * suite notices. apply.sh puts this file into a kernel source tree.
 */
#ifndef _LINUX_HWBP_FAULT_H
#define _LINUX_HWBP_FAULT_H

#include <linux/compiler.h>
#include <linux/types.h>

struct task_struct;

enum hwbp_fault_id {
	HWBP_none,
#define HWBP_FAULT(name) HWBP_##name
#include <linux/hwbp_fault_list.h>
#undef HWBP_FAULT
	HWBP_NR
};

extern unsigned int hwbp_fault_active;
extern unsigned long hwbp_fault_reached[HWBP_NR];

/*
 * Only a count and a compare: it is called from noinstr code too. The count is
 * not exact when several CPUs are at one site, which does not matter for the
 * question whether the site is reached.
 */
static __always_inline bool __hwbp_fault(enum hwbp_fault_id id)
{
	hwbp_fault_reached[id]++;
	return unlikely(READ_ONCE(hwbp_fault_active) == id);
}

/**
 * hwbp_fault() - whether this fault is the one that is active
 * @name: the name of the fault in the list
 */
#define hwbp_fault(name) __hwbp_fault(HWBP_##name)

/**
 * hwbp_fault_nth() - as hwbp_fault(), but true only each time in so many
 * @name: the name of the fault in the list
 * @n: the number of times
 */
#define hwbp_fault_nth(name, n) \
	(__hwbp_fault(HWBP_##name) && !(hwbp_fault_reached[HWBP_##name] % (n)))

/* For kernel_hit_eats_next: the next hit in user space is to be lost. */
extern bool hwbp_fault_eat;

void hwbp_fault_note_switch(void);
void hwbp_fault_note_uninstall(struct task_struct *task);
bool hwbp_fault_direct_switch(struct task_struct *task);
bool hwbp_fault_cpu_replugged(void);

#endif
