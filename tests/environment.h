/* SPDX-License-Identifier: GPL-2.0 */
#ifndef HW_BREAKPOINT_ENVIRONMENT_H
#define HW_BREAKPOINT_ENVIRONMENT_H

#include <stdbool.h>

const char *environment(void);
void print_environment(void);
bool environment_cpu_lacks(const char *flag);
bool environment_is_tcg(void);
bool environment_may_change(void);
bool environment_hangs_on_step_and_hit(void);
unsigned int iterations(unsigned int n);

#endif /* HW_BREAKPOINT_ENVIRONMENT_H */
