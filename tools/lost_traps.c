// SPDX-License-Identifier: GPL-2.0
/*
 * Does this machine lose watchpoint traps?  Without anything of the suite, for those who
 * doubt it: one process on each CPU counts 20 stores at a time with perf.
 *
 *	gcc -O2 THIS-FILE && ./a.out [SECONDS]		(10)
 *
 * Prints a line for each CPU: how many of the stores were not counted, and how many
 * SIGTRAPs came, which nobody has asked for: the kernel sends one for a #DB without a
 * bit in DR6.  Exit code: 0 none, 1 some were lost, 4 no watchpoint could be set.
 */
#define _GNU_SOURCE
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STORES	20

static volatile unsigned int word;
static volatile sig_atomic_t sigtraps;

static void on_sigtrap(int sig)
{
	(void)sig;
	sigtraps++;
}

static int open_watchpoint(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_W,
		.bp_addr = (unsigned long)&word,
		.bp_len = HW_BREAKPOINT_LEN_4,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static int run(int cpu, int seconds)
{
	unsigned long all = 0, lost = 0, extra = 0;
	unsigned long long before, after;
	time_t end = time(NULL) + seconds;
	int fd = open_watchpoint(), i;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (fd < 0 || sched_setaffinity(0, sizeof(set), &set)) {
		perror("no watchpoint");
		return 4;
	}
	signal(SIGTRAP, on_sigtrap);
	while (time(NULL) < end) {
		if (read(fd, &before, sizeof(before)) != sizeof(before))
			return 4;
		for (i = 0; i < STORES; i++)
			word = i;
		if (read(fd, &after, sizeof(after)) != sizeof(after))
			return 4;
		all += STORES;
		if (after - before < STORES)
			lost += STORES - (after - before);
		else
			extra += after - before - STORES;
	}
	printf("CPU %d: %lu of %lu lost, %lu too many, %d SIGTRAPs\n", cpu, lost, all, extra,
	       (int)sigtraps);
	fflush(stdout);
	return lost || extra || sigtraps;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 10;
	int cpu, status, code = 0;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 4;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &set) && !fork())
			exit(run(cpu, seconds));
	}
	while (wait(&status) > 0) {
		if (!WIFEXITED(status))
			code = 1;
		else if (WEXITSTATUS(status) > code)
			code = WEXITSTATUS(status);
	}
	return code;
}
