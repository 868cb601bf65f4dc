// SPDX-License-Identifier: GPL-2.0
/*
 * Company for armed tracees: see company.h.
 */
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
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

const struct company_kind company_kinds[COMPANY_KINDS] = {
	{ "forks", forks },
	{ "execs", execs },
	{ "page_faults", page_faults },
	{ "timers", timers },
	{ "kernel_threads", kernel_threads },
	{ "stops", stops },
	{ "attaches", attaches },
	{ "perf_events", perf_events },
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
