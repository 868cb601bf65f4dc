// SPDX-License-Identifier: GPL-2.0
/*
 * Company for armed tracees: see company.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "company.h"
#include "crew.h"
#include "probes.h"

#define COMPANY_PAGE	4096

static void forks(struct company *c)
{
	pid_t pid = fork();

	(void)c;
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static void execs(struct company *c)
{
	pid_t pid;

	(void)c;
	pid = fork();
	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void page_faults(struct company *c)
{
	size_t size = 16 * 4096, i;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)c;
	if (p == MAP_FAILED)
		return;
	for (i = 0; i < size; i += 4096)
		p[i] = 1;
	munmap(p, size);
}

static void nothing(int sig)
{
	(void)sig;
}

/* Ten thousand interrupts a second, on whichever CPU */
static void timers(struct company *c)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1,
	};
	struct itimerspec often = {
		.it_value.tv_nsec = 100000, .it_interval.tv_nsec = 100000,
	};
	timer_t timer;

	signal(SIGUSR1, nothing);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &often, NULL))
		_exit(1);
	while (!__atomic_load_n(c->told, __ATOMIC_RELAXED)) {
		pause();
		++*c->done;
	}
	timer_delete(timer);
}

/* The migration threads of both CPUs, and interrupts between them */
static void kernel_threads(struct company *c)
{
	int cpus[64], n = allowed_cpus(cpus, 64);

	pin_to_cpu(0, cpus[*c->done % n]);
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

static void stops(struct company *c)
{
	unsigned int i;

	for (i = 0; i < c->n; i++) {
		/* One that has ended is no more a thread, and 0 is all of us */
		pid_t tid = __atomic_load_n(&c->t[i].tid, __ATOMIC_RELAXED);

		if (tid > 0) {
			kill(tid, SIGSTOP);
			kill(tid, SIGCONT);
		}
	}
	sched_yield();
}

/* All refused, since they have a tracer; and none may cost a trap */
static void attaches(struct company *c)
{
	unsigned int i;

	for (i = 0; i < c->n; i++) {
		pid_t tid = __atomic_load_n(&c->t[i].tid, __ATOMIC_RELAXED);

		if (tid > 0 &&
		    (!ptrace(PTRACE_SEIZE, tid, NULL, NULL) ||
		     !ptrace(PTRACE_ATTACH, tid, NULL, NULL) ||
		     !ptrace(PTRACE_POKEUSER, tid, dr_offset(7), NULL)))
			_exit(1);
	}
}

/**
 * open_breakpoint() - a write breakpoint of 4 bytes as a counting perf event
 * @addr: aligned to 4
 * @pid: as for perf_event_open(2)
 * @cpu: as for perf_event_open(2)
 *
 * Return: a file descriptor, or a negative errno.
 */
int open_breakpoint(const void *addr, pid_t pid, int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT, .size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_W, .bp_len = HW_BREAKPOINT_LEN_4,
		.bp_addr = (unsigned long)addr, .exclude_kernel = 1,
		.exclude_hv = 1,
	};
	int fd = syscall(SYS_perf_event_open, &attr, pid, cpu, -1,
			 PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* A breakpoint of its own on the words that the tracees watch, counted */
static void perf_events(struct company *c)
{
	const struct crew_member *m = c->t[0].arg;
	unsigned long long count = 0;
	unsigned int i;
	int fd;

	do {
		fd = open_breakpoint(&m->area[0].written, 0, -1);
	} while (slots_may_come_back(fd));
	if (fd < 0)
		_exit(fd == -EACCES || fd == -EPERM ? COMPANY_CANNOT : 1);
	for (i = 0; i < 10; i++)
		probe_store4(&m->area[0].written, i);
	if (read(fd, &count, sizeof(count)) != sizeof(count) || count != 10) {
		fprintf(stderr, "# perf event beside tracees: %llu of 10\n",
			count);
		_exit(1);
	}
	close(fd);
}

/**
 * guard() - have something undone whatever happens to the caller
 * @fd: to be closed when it is to be undone; closed by any death too
 * @undo: what to do then, in a process of its own
 * @arg: for @undo
 *
 * Return: the process, to be waited for once @fd is closed; -1 on failure.
 */
pid_t guard(int *fd, void (*undo)(const void *arg), const void *arg)
{
	int ends[2];
	pid_t pid;
	char c;

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		/* Outlive the test, and out of reach of its signals */
		prctl(PR_SET_PDEATHSIG, 0);
		setsid();
		close(ends[1]);
		while (read(ends[0], &c, 1) > 0)
			;
		undo(arg);
		_exit(0);
	}
	close(ends[0]);
	*fd = ends[1];
	return pid;
}

/**
 * write_file() - write a line to a file of the kernel's
 * @path: that is there
 * @text: the line
 *
 * Return: 0, or a negative errno.
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

/**
 * freezer_away() - thaw, and take away the cgroup once it is empty
 * @arg: a struct freezer; for guard()
 */
void freezer_away(const void *arg)
{
	const struct freezer *f = arg;
	int i;

	write_file(f->state, f->thaw);
	/* Not before the last of its dead has been reaped */
	for (i = 0; i < 100000 && rmdir(f->dir) && errno == EBUSY; i++)
		sched_yield();
}

/**
 * make_freezer() - a cgroup of our own that can be frozen
 * @f: filled in
 *
 * Return: false where there is none that we may use.
 */
bool make_freezer(struct freezer *f)
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
	unsigned int i;

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

/* Frozen and thawed, running or stopped as it comes */
static void freezes(struct company *c)
{
	static struct freezer f;
	unsigned int i;
	char pid[16];
	int fd;

	if (!*f.dir) {
		if (!make_freezer(&f))
			_exit(COMPANY_CANNOT);
		if (guard(&fd, freezer_away, &f) < 0)
			_exit(1);
		for (i = 0; i < c->n; i++) {
			snprintf(pid, sizeof(pid), "%d", abs(c->t[i].tid));
			/* One that has ended cannot be put anywhere */
			write_file(f.procs, pid);
		}
	}
	write_file(f.state, f.freeze);
	write_file(f.state, f.thaw);
	sched_yield();
}

const struct company_kind company_kinds[COMPANY_KINDS] = {
	{ "forks", forks },
	{ "execs", execs },
	{ "page_faults", page_faults },
	{ "timers", timers },
	{ "kernel_threads", kernel_threads },
	{ "stops", stops },
	{ "attaches", attaches },
	{ "perf_events", perf_events },
	{ "freezes", freezes },
};

/**
 * company_start() - start company in a process of its own
 * @c: whom it disturbs; told and done are set up here
 * @kind: one of company_kinds[]
 *
 * It goes on until company_stop(), or the death of its parent.
 *
 * Return: 0, or a negative errno.
 */
int company_start(struct company *c, const struct company_kind *kind)
{
	c->did = 0;
	c->done = shared_alloc(COMPANY_PAGE);
	c->told = (int *)(c->done + 1);
	c->pid = fork();
	if (c->pid < 0)
		return -errno;
	while (!c->pid && !__atomic_load_n(c->told, __ATOMIC_RELAXED)) {
		kind->disturb(c);
		__atomic_add_fetch(c->done, 1, __ATOMIC_RELAXED);
	}
	if (!c->pid)
		_exit(0);
	return 0;
}

/**
 * company_came() - wait until it has done something, once
 * @c: started
 */
void company_came(struct company *c)
{
	siginfo_t info = { 0 };

	while (!__atomic_load_n(c->done, __ATOMIC_RELAXED) &&
	       !waitid(P_PID, c->pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       !info.si_pid)
		sched_yield();
}

/**
 * company_stop() - tell it to stop, and wait for that
 * @c: started
 *
 * Return: its exit code: 0, COMPANY_CANNOT where it lacks the right, anything
 * else where something went wrong that it has reported.
 */
int company_stop(struct company *c)
{
	int status;

	__atomic_store_n(c->told, 1, __ATOMIC_RELAXED);
	c->did = __atomic_load_n(c->done, __ATOMIC_RELAXED);
	if (waitpid(c->pid, &status, 0) != c->pid)
		status = 1;
	munmap(c->done, COMPANY_PAGE);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
