/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Company for armed tracees: processes that keep the kernel busy with what
 * goes through the code that saves, loads, inherits or gives up debug
 * registers.
 */
#ifndef HW_BREAKPOINT_COMPANY_H
#define HW_BREAKPOINT_COMPANY_H

#include <sys/types.h>

#include "tracee.h"

/* Exit code of company that lacks the right to do what it does */
#define COMPANY_CANNOT	4

/**
 * struct company - one process of company
 * @t: the tracees that it disturbs; args are crew members
 * @n: how many
 * @pid: the process
 * @told: that it is to end
 * @done: how often it has done what it does, while it runs
 * @did: the same, once it has been stopped
 */
struct company {
	struct tracee *t;
	unsigned int n;
	pid_t pid;
	int *told;
	unsigned long *done;
	unsigned long did;
};

/**
 * struct company_kind - what company does
 * @name: for messages
 * @disturb: does it once
 */
struct company_kind {
	const char *name;
	void (*disturb)(struct company *c);
};

enum {
	COMPANY_FORKS,
	COMPANY_EXECS,
	COMPANY_PAGE_FAULTS,
	COMPANY_TIMERS,
	COMPANY_KERNEL_THREADS,
	COMPANY_STOPS,
	COMPANY_ATTACHES,
	COMPANY_PERF_EVENTS,
	COMPANY_FREEZES,
	COMPANY_MOVES,
	COMPANY_CPUSETS,
	COMPANY_TAKEOVERS,
	COMPANY_CPU_EVENTS,
	COMPANY_HOTPLUG,
	COMPANY_KINDS,
};

/**
 * struct freezer - a cgroup, and how it is frozen
 * @dir: its directory
 * @procs: where a process is put in
 * @state: where @freeze and @thaw are written
 * @freeze: stops what is in it
 * @thaw: lets it go on
 */
struct freezer {
	char dir[128], procs[160], state[160];
	const char *freeze, *thaw;
};

/**
 * struct cpuset - a cgroup that says on which CPUs its processes run
 * @dir: its directory
 * @procs: where a process is put in
 * @cpus: where the CPUs are written
 */
struct cpuset {
	char dir[128], procs[160], cpus[160];
};

/**
 * struct hotplug - a CPU that may be taken offline
 * @path: where its state is written, "0" or "1"
 * @cpu: CPU number
 */
struct hotplug {
	char path[64];
	int cpu;
};

#define TAKEOVER_STORES	2000	/* at most, for take_over() */

pid_t guard(int *fd, void (*undo)(const void *arg), const void *arg);
int write_file(const char *path, const char *text);
void freezer_away(const void *arg);
bool make_freezer(struct freezer *f);
void cpuset_away(const void *arg);
bool make_cpuset(struct cpuset *c);
void cpu_back(const void *arg);
int find_hotplug(struct hotplug *h);
int take_over(unsigned long stores);

extern const struct company_kind company_kinds[COMPANY_KINDS];

int open_breakpoint(const void *addr, pid_t pid, int cpu);
int company_start(struct company *c, const struct company_kind *kind);
void company_came(struct company *c);
int company_stop(struct company *c);

#endif /* HW_BREAKPOINT_COMPANY_H */
