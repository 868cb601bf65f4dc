// SPDX-License-Identifier: GPL-2.0
/*
 * Company for armed tracees: see company.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <poll.h>
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

/*
 * The end of a company that cannot go on: not before it is told to end, as the
 * tracer, whose child it is too, waits for its tracees until then
 */
static void end(struct company *c, int code)
{
	/* For company_came() */
	++*c->done;
	while (!__atomic_load_n(c->told, __ATOMIC_RELAXED))
		poll(NULL, 0, 1);
	_exit(code);
}

/* A tracee's thread, or 0: one that has ended is no more a thread */
static pid_t live_tid(const struct company *c, unsigned int i)
{
	pid_t tid = __atomic_load_n(&c->t[i].tid, __ATOMIC_RELAXED);

	return tid > 0 ? tid : 0;
}

/* CPU number @i of those that there are at the first call, round and round */
static int some_cpu(unsigned long i)
{
	static int cpus[64], n;

	if (!n)
		n = allowed_cpus(cpus, 64);
	return cpus[i % n];
}

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
		end(c, 1);
	while (!__atomic_load_n(c->told, __ATOMIC_RELAXED)) {
		pause();
		++*c->done;
	}
	timer_delete(timer);
}

/* The migration threads of both CPUs, and interrupts between them */
static void kernel_threads(struct company *c)
{
	pin_to_cpu(0, some_cpu(*c->done));
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

static void stops(struct company *c)
{
	unsigned int i;

	for (i = 0; i < c->n; i++) {
		pid_t tid = live_tid(c, i);

		/* 0 would be all of us */
		if (tid) {
			kill(tid, SIGSTOP);
			kill(tid, SIGCONT);
		}
	}
	/* Time for an access in between: on a slow machine that takes long */
	usleep(500);
}

/* All refused, since they have a tracer; and none may cost a trap */
static void attaches(struct company *c)
{
	unsigned int i;

	for (i = 0; i < c->n; i++) {
		pid_t tid = live_tid(c, i);

		if (tid &&
		    (!ptrace(PTRACE_SEIZE, tid, NULL, NULL) ||
		     !ptrace(PTRACE_ATTACH, tid, NULL, NULL) ||
		     !ptrace(PTRACE_POKEUSER, tid, dr_offset(7), NULL)))
			end(c, 1);
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

static int open_patiently(const void *addr, pid_t pid, int cpu)
{
	int fd;

	do {
		fd = open_breakpoint(addr, pid, cpu);
	} while (slots_may_come_back(fd));
	return fd;
}

/* Ten stores to what a fresh event watches, and it has counted them */
static void check_count(struct company *c, int fd, unsigned int *word, int cpu)
{
	unsigned long long count = 0;
	unsigned int i;

	for (i = 0; i < 10; i++)
		probe_store4(word, i);
	if (read(fd, &count, sizeof(count)) != sizeof(count) || count != 10) {
		fprintf(stderr, "# perf event (CPU %d) beside tracees: %llu of 10\n",
			cpu, count);
		end(c, 1);
	}
	close(fd);
}

/* A breakpoint of its own on the words that the tracees watch, counted */
static void perf_events(struct company *c)
{
	const struct crew_member *m = c->t[0].arg;
	unsigned int *word = &m->area[0].written;
	int fd = open_patiently(word, 0, -1);

	if (fd < 0)
		end(c, fd == -EACCES || fd == -EPERM ? COMPANY_CANNOT : 1);
	check_count(c, fd, word, -1);
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

/* Not before the last of its dead has been reaped */
static void remove_cgroup(const char *dir)
{
	int i;

	for (i = 0; i < 100000 && rmdir(dir) && errno == EBUSY; i++)
		sched_yield();
}

/**
 * freezer_away() - thaw, and take away the cgroup once it is empty
 * @arg: a struct freezer; for guard()
 */
void freezer_away(const void *arg)
{
	const struct freezer *f = arg;

	write_file(f->state, f->thaw);
	remove_cgroup(f->dir);
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

/**
 * cpuset_away() - take away the cgroup once it is empty
 * @arg: a struct cpuset; for guard()
 */
void cpuset_away(const void *arg)
{
	const struct cpuset *c = arg;

	remove_cgroup(c->dir);
}

/**
 * make_cpuset() - a cgroup of our own that says where its processes run
 * @c: filled in
 *
 * Return: false where there is none that we may use.
 */
bool make_cpuset(struct cpuset *c)
{
	enum { CPUSETS = 3 };
	static const char * const roots[CPUSETS] = {
		"/sys/fs/cgroup", "/sys/fs/cgroup/unified",
		"/sys/fs/cgroup/cpuset",
	};
	char mems[200];
	unsigned int i;

	for (i = 0; i < CPUSETS; i++) {
		snprintf(c->dir, sizeof(c->dir), "%s/hw_breakpoint.cpuset.%d",
			 roots[i], getpid());
		snprintf(c->procs, sizeof(c->procs), "%s/cgroup.procs", c->dir);
		snprintf(c->cpus, sizeof(c->cpus), "%s/cpuset.cpus", c->dir);
		snprintf(mems, sizeof(mems), "%s/cpuset.mems", c->dir);
		if (mkdir(c->dir, 0700))
			continue;
		/* Of version 1 no task may be in one without a memory node */
		if (!access(c->cpus, W_OK) && !access(c->procs, W_OK) &&
		    !write_file(mems, "0"))
			return true;
		rmdir(c->dir);
	}
	return false;
}

/* Those of the tracees that still live, into a cgroup */
static void put_in(const struct company *c, const char *procs)
{
	unsigned int i;
	char pid[16];

	for (i = 0; i < c->n; i++) {
		snprintf(pid, sizeof(pid), "%d", abs(c->t[i].tid));
		write_file(procs, pid);
	}
}

/* Frozen and thawed, running or stopped as it comes */
static void freezes(struct company *c)
{
	static struct freezer f;
	int fd;

	if (!*f.dir) {
		if (!make_freezer(&f))
			end(c, COMPANY_CANNOT);
		if (guard(&fd, freezer_away, &f) < 0)
			end(c, 1);
		put_in(c, f.procs);
	}
	write_file(f.state, f.freeze);
	write_file(f.state, f.thaw);
	sched_yield();
}

/* Moved to the next CPU by a third process, running or stopped as it comes */
static void moves(struct company *c)
{
	unsigned int i;

	for (i = 0; i < c->n; i++) {
		pid_t tid = live_tid(c, i);

		if (tid)
			pin_to_cpu(tid, some_cpu(*c->done + i));
	}
	sched_yield();
}

/* The same by a cpuset */
static void cpusets(struct company *c)
{
	static struct cpuset set;
	char text[16];
	int fd;

	if (!*set.dir) {
		if (!make_cpuset(&set))
			end(c, COMPANY_CANNOT);
		if (guard(&fd, cpuset_away, &set) < 0)
			end(c, 1);
	}
	snprintf(text, sizeof(text), "%d", some_cpu(*c->done));
	write_file(set.cpus, text);
	if (!*c->done)
		put_in(c, set.procs);
	sched_yield();
}

/*
 * A breakpoint on each CPU, which takes a slot there from every thread: the
 * tracees must leave one.  It counts what this process stores, to a word that
 * nobody else has at that address.
 */
static void cpu_events(struct company *c)
{
	int cpu = some_cpu(*c->done), fd;
	static unsigned int word;

	/* Elsewhere it would not be counted */
	if (pin_to_cpu(0, cpu))
		return;
	fd = open_patiently(&word, -1, cpu);
	if (fd < 0)
		end(c, COMPANY_CANNOT);
	check_count(c, fd, &word, cpu);
}

/**
 * cpu_back() - take a CPU online, as often as it takes
 * @arg: a struct hotplug; for guard()
 */
void cpu_back(const void *arg)
{
	const struct hotplug *h = arg;
	int i;

	/* EBUSY comes and goes */
	for (i = 0; i < 1000 && write_file(h->path, "1"); i++)
		sched_yield();
}

/**
 * find_hotplug() - the last of our CPUs, if it may be taken offline
 * @h: filled in
 *
 * Return: 0; -ENOENT where it is the only one, or a negative errno of writing.
 */
int find_hotplug(struct hotplug *h)
{
	int cpus[64], n = allowed_cpus(cpus, 64);

	if (n < 2)
		return -ENOENT;
	h->cpu = cpus[n - 1];
	snprintf(h->path, sizeof(h->path),
		 "/sys/devices/system/cpu/cpu%d/online", h->cpu);
	return write_file(h->path, "1");
}

/* The last CPU goes, which breaks the affinity of all on it, and comes back */
static void hotplug(struct company *c)
{
	static struct hotplug h;
	unsigned int i;
	int fd;

	if (!*h.path) {
		if (find_hotplug(&h))
			end(c, COMPANY_CANNOT);
		if (guard(&fd, cpu_back, &h) < 0)
			end(c, 1);
	}
	/* Busy, or for good: the next time, or never */
	if (write_file(h.path, "0"))
		return;
	cpu_back(&h);
	for (i = 0; i < c->n; i++) {
		pid_t tid = live_tid(c, i);

		if (tid)
			pin_to_cpu(tid, h.cpu);
	}
}

/*
 * A tracer is killed in mid-storm and another takes over.  In between the
 * tracee has nobody: its traps are plain SIGTRAPs then, and it counts them
 * itself.  Every access is seen, once, by the one or the other.  Only the trap
 * at which the tracer dies may be seen by both or by none: waitpid() takes the
 * signal out of the thread (wait_task_stopped() clears exit_code), and that
 * may have been the tracer's last deed.
 */
struct takeover {
	pid_t tid;
	int killed, seized;
	unsigned long n, stores;
	unsigned int word;
	unsigned char by_tracer[TAKEOVER_STORES + 1];
	unsigned char by_itself[TAKEOVER_STORES + 1];
};

static struct takeover *takeover;

static void see_for_oneself(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (sig == SIGTRAP && info->si_code == TRAP_HWBKPT)
		takeover->by_itself[takeover->n]++;
}

static void wait_for(const int *flag)
{
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		sched_yield();
}

/* However slow the others are: some stores are for each of the three times */
static void store_to_the_end(struct tracee *t)
{
	struct sigaction action = {
		.sa_sigaction = see_for_oneself, .sa_flags = SA_SIGINFO,
	};

	(void)t;
	sigaction(SIGTRAP, &action, NULL);
	prctl(PR_SET_PDEATHSIG, 0);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	while (takeover->n < takeover->stores) {
		if (takeover->n == takeover->stores / 2)
			wait_for(&takeover->killed);
		if (takeover->n == takeover->stores * 3 / 4)
			wait_for(&takeover->seized);
		takeover->n++;
		probe_store4(&takeover->word, takeover->n);
	}
	tracee_sync();
}

/* For guard(): nobody's tracee any more, and still armed */
static void tracee_away(const void *arg)
{
	const struct takeover *over = arg;

	if (over->tid > 0)
		kill(over->tid, SIGKILL);
}

/* The tracer that will be killed: it says who its tracee is, and goes on */
static int trace_until_killed(int tell)
{
	struct tracee t = { .body = store_to_the_end };
	struct stop s;

	if (tracee_start(&t, TRACEE_TRACEME) ||
	    ptrace(PTRACE_SETOPTIONS, t.tid, NULL, NULL) ||
	    tracee_arm(&t, 0, BP_WRITE, 4, &takeover->word))
		return 1;
	takeover->tid = t.tid;
	if (write(tell, &t.tid, sizeof(t.tid)) != sizeof(t.tid))
		return 1;
	for (;;) {
		if (tracee_cont(&t) || tracee_wait(&t, &s))
			return 1;
		if (s.info.si_code != TRAP_HWBKPT) {
			tracee_report(&t, &s, "not a hit");
			return 1;
		}
		takeover->by_tracer[takeover->n]++;
	}
}

/* Kill @first in mid-storm; whether it was alive until then */
static bool kill_in_mid_storm(pid_t first)
{
	int status;

	while (__atomic_load_n(&takeover->n, __ATOMIC_RELAXED) <
	       takeover->stores / 4) {
		if (waitpid(first, &status, WNOHANG)) {
			fprintf(stderr, "# the first tracer met a wrong stop behind store %lu\n",
				takeover->n);
			return false;
		}
		sched_yield();
	}
	kill(first, SIGKILL);
	if (waitpid(first, &status, 0) == first && WIFSIGNALED(status)) {
		__atomic_store_n(&takeover->killed, 1, __ATOMIC_RELEASE);
		return true;
	}
	fprintf(stderr, "# the first tracer ended: wait status %#x\n", status);
	return false;
}

/* The second tracer, up to the stop behind the last store */
static bool trace_to_the_end(pid_t tid)
{
	siginfo_t info = { 0 };
	int status;

	if (ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_EXITKILL)) {
		perror("# PTRACE_SEIZE of a killed tracer's tracee");
		return false;
	}
	__atomic_store_n(&takeover->seized, 1, __ATOMIC_RELEASE);
	while (waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status)) {
		if (WSTOPSIG(status) == SIGSTOP)
			return true;
		if (WSTOPSIG(status) != SIGTRAP ||
		    ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) ||
		    info.si_code != TRAP_HWBKPT)
			break;
		/* Its handler says that it was seen */
		ptrace(PTRACE_CONT, tid, NULL, SIGTRAP);
	}
	fprintf(stderr, "# the second tracer: wait status %#x, si_code %d, store %lu\n",
		status, info.si_code, takeover->n);
	return false;
}

/* Who saw which store; the number of those that are wrong */
static unsigned int check_takeover(void)
{
	unsigned long last = 0, i;
	unsigned int wrong = 0;

	while (last < takeover->stores && takeover->by_tracer[last + 1])
		last++;
	for (i = 1; i <= takeover->stores; i++) {
		bool before = i <= last, between = i == last || i == last + 1;

		if (takeover->by_tracer[i] == before &&
		    (between || takeover->by_itself[i] == !before))
			continue;
		if (wrong++)
			continue;
		fprintf(stderr, "# store %lu of %lu: seen %d times by the first tracer",
			i, takeover->stores, takeover->by_tracer[i]);
		fprintf(stderr, " (up to %lu), %d by itself\n", last,
			takeover->by_itself[i]);
	}
	return wrong;
}

/**
 * take_over() - have a tracer killed in mid-storm, and take its tracee over
 * @stores: how many watched stores it makes in all, 4 to TAKEOVER_STORES
 *
 * Return: 0 where each was seen once, by the first tracer or by the tracee;
 * 1 after a report.
 */
int take_over(unsigned long stores)
{
	int ends[2], guard_fd, wrong = 1;
	pid_t first, tid, guarding;

	takeover = shared_alloc(sizeof(*takeover));
	takeover->stores = stores;
	guarding = guard(&guard_fd, tracee_away, takeover);
	if (guarding < 0 || pipe(ends))
		return 1;
	first = fork();
	if (!first) {
		/* The guard waits for our end, not for that of these two */
		close(guard_fd);
		close(ends[0]);
		_exit(trace_until_killed(ends[1]));
	}
	close(ends[1]);
	if (read(ends[0], &tid, sizeof(tid)) == sizeof(tid) &&
	    kill_in_mid_storm(first) && trace_to_the_end(tid))
		wrong = check_takeover();
	close(ends[0]);
	close(guard_fd);
	waitpid(guarding, NULL, 0);
	if (takeover->tid > 0)
		waitpid(takeover->tid, NULL, __WALL);
	munmap(takeover, sizeof(*takeover));
	return wrong ? 1 : 0;
}

static void takeovers(struct company *c)
{
	if (take_over(TAKEOVER_STORES / 10))
		end(c, 1);
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
	{ "moves", moves },
	{ "cpusets", cpusets },
	{ "takeovers", takeovers },
	{ "cpu_events", cpu_events },
	{ "hotplug", hotplug },
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
