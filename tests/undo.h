/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Changes to the machine, and what undoes them: cgroups and offline CPUs.
 */
#ifndef HW_BREAKPOINT_UNDO_H
#define HW_BREAKPOINT_UNDO_H

#include <sys/types.h>

/**
 * struct freezer - a cgroup, and how it is frozen
 * @dir: its directory
 * @procs: file to which a process id is written
 * @state: file to which @freeze and @thaw are written
 * @freeze: freezes its processes
 * @thaw: thaws them
 */
struct freezer {
	char dir[128], procs[160], state[160];
	const char *freeze, *thaw;
};

/**
 * struct cpuset - a cgroup that restricts its processes to some CPUs
 * @dir: its directory
 * @procs: file to which a process id is written
 * @cpus: file to which the CPUs are written
 */
struct cpuset {
	char dir[128], procs[160], cpus[160];
};

/**
 * struct hotplug - a CPU that can be taken offline
 * @path: file to which its state is written, "0" or "1"
 * @cpu: CPU number
 */
struct hotplug {
	char path[64];
	int cpu;
};

pid_t undo_on_exit(int *fd, void (*undo)(const void *arg), const void *arg);
int write_file(const char *path, const char *text);
pid_t make_freezer(struct freezer *f, int *fd);
pid_t make_cpuset(struct cpuset *c, int *fd);
void take_cpu_online(const void *arg);
int find_hotplug(struct hotplug *h);

#endif /* HW_BREAKPOINT_UNDO_H */
