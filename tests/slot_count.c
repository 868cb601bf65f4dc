// SPDX-License-Identifier: GPL-2.0
/*
 * Detection of leaked slots.
 *
 * A slot on a CPU is free only if no task has it reserved, or has leaked it:
 * four breakpoints on a CPU are accepted only if nothing was leaked
 * (max_task_bp_pinned() in kernel/events/hw_breakpoint.c).  No event on another
 * task can detect that, and CPU events need privilege (perf_event_paranoid).
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

#include "slot_count.h"
#include "tracee.h"

/* Tries while others hold slots for a moment: at least so many, and for so long */
#define MIN_TRIES	100
#define MOMENT		1	/* s */
#define MOMENT_PAUSE	1	/* ms */

/*
 * And until slots count as leaked: a thread that was detached from a debugger, or has
 * lost it, may have breakpoints and be traced by nobody.  Once a leak was found, others
 * are likely to be leaks, too.
 */
#define PATIENCE	7	/* s */
#define LATER_PATIENCE	1	/* s */
#define PATIENCE_PAUSE	10	/* ms: without using up the CPU time of the test */

/* An address that no program is likely to use */
#define UNLIKELY	0x2a5a5000UL

/* The initial pid namespace (PROC_PID_INIT_INO) */
#define FIRST_PID_NS	"pid:[4026531836]"

/**
 * cpu_slots_take() - reserve slots of a CPU
 * @cpu: CPU number; -1: of the calling thread, on any CPU
 * @fd: filled with file descriptors, to be closed by the caller
 * @n: how many, 0 to 4
 *
 * The events are disabled: they are counted, but not armed.
 *
 * Return: 0; or the negative errno of perf_event_open(2), with no slot
 * reserved.
 */
int cpu_slots_take(int cpu, int *fd, int n)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT, .size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_W, .bp_len = HW_BREAKPOINT_LEN_4,
		.bp_addr = UNLIKELY, .disabled = 1, .exclude_kernel = 1,
		.exclude_hv = 1,
	};
	int i, err;

	for (i = 0; i < n; i++) {
		fd[i] = syscall(SYS_perf_event_open, &attr, cpu < 0 ? 0 : -1, cpu, -1,
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

/* Whether the files of a process were not to be seen */
static bool hidden_files;

/* Whether a link in @dir is to a perf event */
static bool has_perf_event(const char *dir)
{
	struct dirent *e;
	bool has = false;
	char link[64];
	DIR *d = opendir(dir);

	if (!d && (errno == EACCES || errno == EPERM))
		hidden_files = true;
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

/* Whether another process has a perf event or, if @or_traced, is traced */
static bool others_have_slots(bool or_traced)
{
	struct dirent *p, *t;
	bool have = false;
	char path[600];
	DIR *proc, *task;

	proc = opendir("/proc");
	while (proc && !have && (p = readdir(proc))) {
		if (p->d_name[0] < '1' || p->d_name[0] > '9' ||
		    atoi(p->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/fd", p->d_name);
		have = has_perf_event(path);
		if (!or_traced)
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task", p->d_name);
		task = opendir(path);
		while (task && !have && (t = readdir(task))) {
			snprintf(path, sizeof(path),
				 "/proc/%.20s/task/%.20s/status", p->d_name,
				 t->d_name);
			have = is_traced(path);
		}
		if (task)
			closedir(task);
	}
	if (proc)
		closedir(proc);
	return have;
}

/*
 * The same; in a container, or without /proc, not all of them are visible, nor are the
 * events of other users without root
 */
static bool others_may_have_slots(void)
{
	char ns[64];
	ssize_t n;

	/* Without such a link there are no namespaces */
	n = readlink("/proc/self/ns/pid", ns, sizeof(ns) - 1);
	ns[n < 0 ? 0 : n] = '\0';
	if (access("/proc/self/status", R_OK) || (n > 0 && strcmp(ns, FIRST_PID_NS)))
		return true;
	return others_have_slots(true) || hidden_files;
}

static long seconds_now(void)
{
	return monotonic_ns() / 1000000000;
}

static int wait_until_free(const int *cpus, int n, int seconds, int pause_ms)
{
	long end = seconds_now() + seconds;
	int fd[DR_SLOTS], i, j, tries = 0, err = 0;

	for (i = 0; i < n && !err; i++) {
		for (;;) {
			err = cpu_slots_take(cpus[i], fd, DR_SLOTS);
			if (err != -ENOSPC)
				break;
			if (++tries >= MIN_TRIES && seconds_now() > end)
				break;
			poll(NULL, 0, pause_ms);
		}
		for (j = 0; j < DR_SLOTS && !err; j++)
			close(fd[j]);
	}
	return err;
}

/* Whether a test of this program has found a leak; shared by all of them */
static bool *leak_found;

static void __attribute__((constructor)) init_leak_found(void)
{
	leak_found = shared_alloc(sizeof(*leak_found));
}

/**
 * all_slots_free() - check that no slot of these CPUs is in use
 * @cpus: CPU numbers
 * @n: how many
 *
 * The caller must have closed its events, and its tracees must have exited.
 * Waits for slots that other processes hold for a moment.
 *
 * Return: 0; -ENOSPC if slots are in use that no process holds, which means
 * that the kernel has leaked them; -EBUSY if others hold some, or may; another
 * negative errno if breakpoints on CPUs are not permitted.
 */
int all_slots_free(const int *cpus, int n)
{
	int err = wait_until_free(cpus, n, MOMENT, MOMENT_PAUSE);

	if (err != -ENOSPC)
		return err;
	if (others_may_have_slots())
		return -EBUSY;
	err = wait_until_free(cpus, n, *leak_found ? LATER_PATIENCE : PATIENCE,
			      PATIENCE_PAUSE);
	if (err != -ENOSPC)
		return err;
	if (others_may_have_slots())
		return -EBUSY;
	*leak_found = true;
	return err;
}

/**
 * slots_taken_by_others() - whether other processes leave too few slots for tests
 *
 * That is the case if they have breakpoints of a CPU, as "perf record -e mem:... -a"
 * has.  Waits for those that hold slots for a moment.
 *
 * Return: true if this thread cannot have four breakpoints, and the events of others are
 * visible (without root: one's own).  If the kernel has lost slots, nobody has them.
 */
bool slots_taken_by_others(void)
{
	int own = -1;

	return wait_until_free(&own, 1, MOMENT, MOMENT_PAUSE) == -ENOSPC &&
	       others_have_slots(false);
}
