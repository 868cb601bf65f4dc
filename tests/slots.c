// SPDX-License-Identifier: GPL-2.0
/*
 * Slots that have been lost, as told from slots that others have.
 *
 * A slot on a CPU is free only where no task at all has it reserved, now or
 * through a leak: four breakpoints on a CPU fit only where nothing has been
 * lost (max_task_bp_pinned() in kernel/events/hw_breakpoint.c).  No event of
 * another task can see that, and to ask takes privilege (perf_event_paranoid).
 */
#include <dirent.h>
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "slots.h"
#include "tracee.h"

/* Tries, a millisecond apart, for others to let go of their slots */
#define PATIENCE	1000

/* An address that no program is likely to use */
#define UNLIKELY	0x2a5a5000UL

/* The process id namespace in which all processes are (PROC_PID_INIT_INO) */
#define FIRST_PID_NS	"pid:[4026531836]"

/**
 * slots_take() - have some of a CPU's slots
 * @cpu: CPU number
 * @fd: for file descriptors, to be closed by the caller
 * @n: how many, 0 to 4
 *
 * The events are disabled: counted, but not armed.
 *
 * Return: 0, or a negative errno, of perf_event_open(2), and none is taken.
 */
int slots_take(int cpu, int *fd, int n)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT, .size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_W, .bp_len = HW_BREAKPOINT_LEN_4,
		.bp_addr = UNLIKELY, .disabled = 1, .exclude_kernel = 1,
		.exclude_hv = 1,
	};
	int i, err;

	for (i = 0; i < n; i++) {
		fd[i] = syscall(SYS_perf_event_open, &attr, -1, cpu, -1,
				PERF_FLAG_FD_CLOEXEC);
		if (fd[i] >= 0)
			continue;
		err = -errno;
		while (i--)
			close(fd[i]);
		return err;
	}
	return 0;
}

/* Whether an entry of @dir is a link to a perf event */
static bool has_perf_event(const char *dir)
{
	struct dirent *e;
	bool has = false;
	char link[64];
	DIR *d = opendir(dir);

	while (d && !has && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, link,
				       sizeof(link) - 1);

		link[n < 0 ? 0 : n] = '\0';
		has = !strcmp(link, "anon_inode:[perf_event]");
	}
	if (d)
		closedir(d);
	return has;
}

static bool is_traced(const char *status)
{
	FILE *f = fopen(status, "re");
	char line[128];
	int tracer = 0;

	while (f && !tracer && fgets(line, sizeof(line), f))
		sscanf(line, "TracerPid: %d", &tracer);
	if (f)
		fclose(f);
	return tracer;
}

/*
 * Whether a thread on this machine is traced or has a perf event, or may be:
 * in a container, or without /proc, not all of them are to be seen.
 */
static bool others_may_have_slots(void)
{
	struct dirent *p, *t;
	bool may = false;
	char path[600];
	DIR *proc, *task;
	ssize_t n;

	/* No such link, no namespaces */
	n = readlink("/proc/self/ns/pid", path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	if (access("/proc/self/status", R_OK) ||
	    (n > 0 && strcmp(path, FIRST_PID_NS)))
		return true;
	proc = opendir("/proc");
	while (proc && !may && (p = readdir(proc))) {
		if (p->d_name[0] < '1' || p->d_name[0] > '9' ||
		    atoi(p->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/fd", p->d_name);
		may = has_perf_event(path);
		snprintf(path, sizeof(path), "/proc/%s/task", p->d_name);
		task = opendir(path);
		while (task && !may && (t = readdir(task))) {
			snprintf(path, sizeof(path),
				 "/proc/%.20s/task/%.20s/status", p->d_name,
				 t->d_name);
			may = is_traced(path);
		}
		if (task)
			closedir(task);
	}
	if (proc)
		closedir(proc);
	return may;
}

static int wait_until_free(const int *cpus, int n)
{
	int fd[DR_SLOTS], i, j, tries, err = 0;

	for (i = 0; i < n && !err; i++) {
		for (tries = 0; ; tries++) {
			err = slots_take(cpus[i], fd, DR_SLOTS);
			for (j = 0; j < DR_SLOTS && !err; j++)
				close(fd[j]);
			if (err != -ENOSPC || tries >= PATIENCE)
				break;
			poll(NULL, 0, 1);
		}
	}
	return err;
}

/**
 * slots_all_free() - whether nobody has a slot, if need be after a while
 * @cpus: CPU numbers
 * @n: how many
 *
 * The caller has none itself: it must have closed its events, and its tracees
 * must have ended.
 *
 * Return: 0; -ENOSPC where slots are counted that nobody has, which means that
 * the kernel has lost them; -EBUSY where others have some, or may have;
 * another negative errno where CPUs cannot be asked.
 */
int slots_all_free(const int *cpus, int n)
{
	int err = wait_until_free(cpus, n);

	if (err != -ENOSPC)
		return err;
	if (others_may_have_slots())
		return -EBUSY;
	/* Who had them may have gone in the meantime */
	err = wait_until_free(cpus, n);
	return err == -ENOSPC && others_may_have_slots() ? -EBUSY : err;
}
