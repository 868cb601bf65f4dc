/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The signals of perf events with attr.sigtrap, and a handler that checks them.
 */
#ifndef HW_BREAKPOINT_PERF_SIGTRAP_H
#define HW_BREAKPOINT_PERF_SIGTRAP_H

#include <signal.h>
#include <ucontext.h>

#include "perf_event.h"
#include "probes.h"

/* uapi asm-generic/siginfo.h, for older C libraries */
#ifndef TRAP_PERF
#define TRAP_PERF	6
#endif
#ifndef TRAP_PERF_FLAG_ASYNC
#define TRAP_PERF_FLAG_ASYNC	1
#endif

#ifdef __x86_64__
#define SIG_DATA	0x123456789abcdef0UL
#else
#define SIG_DATA	0x9abcdef0UL
#endif

/* siginfo_t for TRAP_PERF, struct _perf in the kernel */
struct perf_siginfo {
	int signo, err, code;
	void *addr;
	unsigned long data;
	unsigned int type, flags;
};

static unsigned char area[64] __attribute__((__aligned__(64)));

#define MIDDLE	(&area[24])

/* What the handler has found, what it must expect, and what it must do */
static struct {
	unsigned int signals;
	unsigned int wrong;
	unsigned long last_data;

	void *addr;
	unsigned long data;
	unsigned int flags;
	/* 0 if any address is accepted */
	unsigned long ip;
	void (*action)(void);
} trap;

static inline void on_trap(int sig, siginfo_t *siginfo, void *context)
{
	struct perf_siginfo *info = (struct perf_siginfo *)siginfo;
	ucontext_t *uc = context;
	unsigned long ip = uc->uc_mcontext.gregs[UC_IP];

	__atomic_add_fetch(&trap.signals, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&trap.last_data, info->data, __ATOMIC_RELAXED);
	if (sig != SIGTRAP || info->code != TRAP_PERF ||
	    info->addr != trap.addr || info->data != trap.data ||
	    info->type != PERF_TYPE_BREAKPOINT || info->flags != trap.flags ||
	    (trap.ip && ip != trap.ip)) {
		/* Printed at once, since it may explain the next failure */
		if (!__atomic_fetch_add(&trap.wrong, 1, __ATOMIC_SEQ_CST))
			test_err("wrong signal %d: code %d, addr %p, data %#lx, type %u, flags %u, ip %#lx",
				 sig, info->code, info->addr, info->data,
				info->type, info->flags, ip);
	}
	if (trap.action)
		trap.action();
}

/* The types of the events so far */
static unsigned int event_types;

/* The number of signals; skips the test if the type never fires here */
static inline unsigned int signals(void)
{
	if (firing_dead(BY_PERF, event_types))
		skip_running_test();
	return __atomic_load_n(&trap.signals, __ATOMIC_SEQ_CST);
}

/* The number of wrong signals; the first one was reported */
static inline unsigned int wrong(void)
{
	return __atomic_load_n(&trap.wrong, __ATOMIC_SEQ_CST);
}

/* Install the handler, with more flags of sigaction(2) */
static inline int handle(int flags)
{
	struct sigaction action = {
		.sa_sigaction = on_trap,
		.sa_flags = SA_SIGINFO | flags,
	};

	return sigaction(SIGTRAP, &action, NULL);
}

/* @n stores of four bytes */
static inline void store4(void *addr, unsigned int n)
{
	while (n--)
		probe_store4(addr, n);
}

/* An event that sends SIGTRAP at each hit */
static inline struct perf_event_attr sigtrap_attr(unsigned int type, const void *addr,
						  unsigned int len)
{
	struct perf_event_attr attr = perf_attr(type, addr, len);

	attr.sample_period = 1;
	attr.sigtrap = 1;
	attr.remove_on_exec = 1;
	attr.sig_data = SIG_DATA;
	event_types |= perf_type_of(&attr);
	return attr;
}

/**
 * expect_sigtrap() - sigtrap_attr(), and a handler that checks its signals
 * @_metadata: the test's
 * @type: HW_BREAKPOINT_W, HW_BREAKPOINT_RW or HW_BREAKPOINT_X
 * @addr: watched address
 * @len: length of the breakpoint
 * @ip: where each hit is reported, 0 for anywhere
 *
 * Skips the test if the kernel has no attr.sigtrap.
 */
static inline struct perf_event_attr expect_sigtrap(struct __test_metadata *_metadata,
						    unsigned int type, void *addr,
						    unsigned int len, const void *ip)
{
	if (!kernel_is(5, 13))
		SKIP(_exit(EXIT_SKIPPED), SKIP_OLD_KERNEL);
	ASSERT_EQ(0, handle(0));
	trap.addr = addr;
	trap.data = SIG_DATA;
	trap.ip = (unsigned long)ip;
	return sigtrap_attr(type, addr, len);
}

#endif /* HW_BREAKPOINT_PERF_SIGTRAP_H */
