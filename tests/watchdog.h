/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Waits that end: a test never hangs on an event that does not come.
 */
#ifndef HW_BREAKPOINT_WATCHDOG_H
#define HW_BREAKPOINT_WATCHDOG_H

#include <sys/types.h>

struct tracee;

/*
 * Seconds without an event after which a wait fails: less than the timeout in
 * settings.  The program has failed then, and its later waits are short; programs
 * that run after it start with WATCHDOG_LATER.
 */
#define WATCHDOG_FIRST	40
#define WATCHDOG_LATER	15
#define WATCHDOG_SHORT	5

unsigned int watchdog_seconds(void);
void watchdog_expired(void);
void watchdog_limit_cpu(void);
int watchdog_start(void);
void watchdog_expect(const struct tracee *t, unsigned long progress);
pid_t watchdog_wait(pid_t pid, int *status);

#endif /* HW_BREAKPOINT_WATCHDOG_H */
