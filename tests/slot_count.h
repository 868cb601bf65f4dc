/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Detection of leaked slots.
 */
#ifndef HW_BREAKPOINT_SLOT_COUNT_H
#define HW_BREAKPOINT_SLOT_COUNT_H

#include <stdbool.h>

int cpu_slots_take(int cpu, int *fd, int n);
int all_slots_free(const int *cpus, int n);
bool slots_taken_by_others(void);

#endif /* HW_BREAKPOINT_SLOT_COUNT_H */
