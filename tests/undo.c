// SPDX-License-Identifier: GPL-2.0
/*
 * Changes to the machine that must be undone whatever happens to the test: see
 * undo.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "environment.h"
#include "tracee.h"
#include "undo.h"

/**
 * undo_on_exit() - undo a change to the machine even if the caller is killed
 * @fd: to be closed by the caller to undo the change; any exit closes it as
 *	well
 * @undo: called then, in a separate process
 * @arg: for @undo; in shared memory if it is filled in later
 *
 * Call it before the change: a kill between the two would leave that.
 *
 * Return: the process, to be waited for after @fd was closed; -1 on failure.
 */
pid_t undo_on_exit(int *fd, void (*undo)(const void *arg), const void *arg)
{
	int ends[2], ready[2];
	pid_t pid;
	char c;

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	if (pipe2(ready, O_CLOEXEC)) {
		close(ends[0]);
		close(ends[1]);
		return -1;
	}
	pid = fork();
	if (!pid) {
		/* Outlive the test, and out of reach of its signals */
		prctl(PR_SET_PDEATHSIG, 0);
		setsid();
		signal(SIGINT, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		close(ends[1]);
		close(ready[0]);
		close(ready[1]);
		while (read(ends[0], &c, 1) > 0)
			;
		undo(arg);
		_exit(0);
	}
	/* Until then it ends together with the caller */
	close(ready[1]);
	while (read(ready[0], &c, 1) < 0 && errno == EINTR)
		;
	close(ready[0]);
	close(ends[0]);
	*fd = ends[1];
	return pid;
}

/**
 * write_file() - write a line to an existing file of the kernel
 * @path: the file
 * @text: the line
 *
 * Return: 0 or a negative errno.
 */
int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* How long a change is tried to be undone: tries, a millisecond apart */
#define UNDO_TRIES	60000

/* Busy until the last of its processes has been reaped */
static void remove_cgroup(const char *dir)
{
	int i;

	for (i = 0; i < UNDO_TRIES && rmdir(dir) && errno == EBUSY; i++)
		poll(NULL, 0, 1);
}

/*
 * undo_on_exit() first, then the cgroup.  Return: the process; 0 if it could not be
 * created; -1 on failure.
 */
static pid_t make_cgroup(int *fd, bool (*create)(void *arg), void (*undo)(const void *arg),
			 void *arg)
{
	pid_t pid = undo_on_exit(fd, undo, arg);

	if (pid < 0 || create(arg))
		return pid;
	close(*fd);
	waitpid(pid, NULL, 0);
	return 0;
}

/* Thaw the cgroup, and remove it once it is empty */
static void remove_freezer(const void *arg)
{
	const struct freezer *f = arg;

	write_file(f->state, f->thaw);
	remove_cgroup(f->dir);
}

/* Fills in what remove_freezer() needs before the cgroup exists */
static bool create_freezer(void *arg)
{
	enum { FREEZERS = 3 };
	static const struct {
		const char *root, *state, *freeze, *thaw;
	} kinds[FREEZERS] = {
		{ "/sys/fs/cgroup", "cgroup.freeze", "1", "0" },
		{ "/sys/fs/cgroup/unified", "cgroup.freeze", "1", "0" },
		{ "/sys/fs/cgroup/freezer", "freezer.state", "FROZEN",
		  "THAWED" },
	};
	struct freezer *f = arg;
	unsigned int i;

	if (!environment_may_change())
		return false;
	for (i = 0; i < FREEZERS; i++) {
		snprintf(f->dir, sizeof(f->dir), "%s/hw_breakpoint.%d",
			 kinds[i].root, getpid());
		snprintf(f->procs, sizeof(f->procs), "%s/cgroup.procs", f->dir);
		snprintf(f->state, sizeof(f->state), "%s/%s", f->dir,
			 kinds[i].state);
		f->freeze = kinds[i].freeze;
		f->thaw = kinds[i].thaw;
		if (mkdir(f->dir, 0700))
			continue;
		if (!access(f->state, W_OK) && !access(f->procs, W_OK))
			return true;
		rmdir(f->dir);
	}
	return false;
}

/**
 * make_freezer() - create a cgroup that can be frozen, until the caller exits
 * @f: filled in; in shared memory
 * @fd: as with undo_on_exit()
 *
 * Return: as with undo_on_exit(), or 0 if that is not permitted or not supported.
 */
pid_t make_freezer(struct freezer *f, int *fd)
{
	return make_cgroup(fd, create_freezer, remove_freezer, f);
}

/* Remove the cgroup once it is empty */
static void remove_cpuset(const void *arg)
{
	const struct cpuset *c = arg;

	remove_cgroup(c->dir);
}

/* Fills in what remove_cpuset() needs before the cgroup exists */
static bool create_cpuset(void *arg)
{
	enum { CPUSETS = 3 };
	static const char * const roots[CPUSETS] = {
		"/sys/fs/cgroup", "/sys/fs/cgroup/unified",
		"/sys/fs/cgroup/cpuset",
	};
	struct cpuset *c = arg;
	char mems[200];
	unsigned int i;

	if (!environment_may_change())
		return false;
	for (i = 0; i < CPUSETS; i++) {
		snprintf(c->dir, sizeof(c->dir), "%s/hw_breakpoint.cpuset.%d",
			 roots[i], getpid());
		snprintf(c->procs, sizeof(c->procs), "%s/cgroup.procs", c->dir);
		snprintf(c->cpus, sizeof(c->cpus), "%s/cpuset.cpus", c->dir);
		snprintf(mems, sizeof(mems), "%s/cpuset.mems", c->dir);
		if (mkdir(c->dir, 0700))
			continue;
		/*
		 * With version 1 a cpuset without memory nodes cannot have
		 * tasks
		 */
		if (!access(c->cpus, W_OK) && !access(c->procs, W_OK) &&
		    !write_file(mems, "0"))
			return true;
		rmdir(c->dir);
	}
	return false;
}

/**
 * make_cpuset() - create a cgroup that restricts its processes to some CPUs, until the
 * caller exits
 * @c: filled in; in shared memory
 * @fd: as with undo_on_exit()
 *
 * Return: as with undo_on_exit(), or 0 if that is not permitted or not supported.
 */
pid_t make_cpuset(struct cpuset *c, int *fd)
{
	return make_cgroup(fd, create_cpuset, remove_cpuset, c);
}

/**
 * take_cpu_online() - bring a CPU online again, with retries
 * @arg: a struct hotplug; for undo_on_exit()
 */
void take_cpu_online(const void *arg)
{
	const struct hotplug *h = arg;
	int i, err = 0;

	/* EBUSY is temporary, but the probe of a PCI device may last for seconds */
	for (i = 0; i < UNDO_TRIES && (err = write_file(h->path, "1")); i++)
		poll(NULL, 0, 1);
	if (err)
		driver_msg("%s: cannot be taken online: %s", h->path, strerror(-err));
}

/**
 * find_hotplug() - find a CPU that can be taken offline, the last of our first 64
 * @h: filled in
 *
 * Return: 0; -ENXIO if it is the only one; -EPERM if !environment_may_change(), or a
 * negative errno of writing.
 */
int find_hotplug(struct hotplug *h)
{
	int cpus[64], n = allowed_cpus(cpus, 64);

	if (n < 2)
		return -ENXIO;
	if (!environment_may_change())
		return -EPERM;
	h->cpu = cpus[n - 1];
	snprintf(h->path, sizeof(h->path),
		 "/sys/devices/system/cpu/cpu%d/online", h->cpu);
	return write_file(h->path, "1");
}
