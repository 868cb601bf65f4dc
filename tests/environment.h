/* SPDX-License-Identifier: GPL-2.0 */
#ifndef HW_BREAKPOINT_ENVIRONMENT_H
#define HW_BREAKPOINT_ENVIRONMENT_H

#include <sched.h>
#include <stdbool.h>

/*
 * Where memory can be mapped at a fixed address, in either bitness.  Below it may be
 * heap: that of a static program begins up to 1 GB after it (arch_randomize_brk()),
 * that of a 32-bit PIE ends below 0x70000000.
 */
#define FIXED_ADDRESS	0x80000000UL

/**
 * let_others_run() - for a loop that waits for others, or that is only a load for them
 *
 * They may be on this CPU or on another one.  Emulators that run one virtual CPU
 * after the other, as QEMU without KVM does with thread=single, change to the next
 * one at PAUSE; otherwise only after 100 ms (TCG_KICK_PERIOD in accel/tcg).
 */
static inline void let_others_run(void)
{
	__builtin_ia32_pause();
	sched_yield();
}

const char *environment(void);
void print_environment(void);
bool environment_has_pidfd(void);
bool environment_cpu_lacks(const char *flag);
bool environment_is_tcg(void);
bool environment_may_change(void);
bool environment_hangs_on_step_and_hit(void);
unsigned int iterations(unsigned int n);

#endif /* HW_BREAKPOINT_ENVIRONMENT_H */
