// SPDX-License-Identifier: GPL-2.0
/* Background load for armed tracees: see stressor.h. */
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "environment.h"
#include "stressor.h"
#include "tracee_group.h"
#include "probes.h"
#include "skip.h"

#define STRESSOR_PAGE	4096

/*
 * End of a stressor that cannot continue: it waits until it is asked to stop,
 * since the tracer, which is its parent, waits for its tracees until then
 */
static void end_stressor(struct stressor *c, int code)
{
	/* For stressor_wait_started() */
	++*c->count;
	while (!__atomic_load_n(c->stop, __ATOMIC_RELAXED))
		poll(NULL, 0, 1);
	_exit(code);
}

/* A tracee's thread, or 0 if it has exited */
static pid_t live_tid(const struct stressor *c, unsigned int i)
{
	pid_t tid = __atomic_load_n(&c->t[i].tid, __ATOMIC_RELAXED);

	return tid > 0 ? tid : 0;
}

/*
 * CPU number @i, modulo their number, of those that are usable at the first
 * call
 */
static int some_cpu(unsigned long i)
{
	static int cpus[64], n;

	if (!n)
		n = allowed_cpus(cpus, 64);
	return cpus[i % n];
}

static void fork_child(struct stressor *c)
{
	pid_t pid = fork();

	(void)c;
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static void exec(struct stressor *c)
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

static void fault_pages(struct stressor *c)
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

static void empty_handler(int sig)
{
	(void)sig;
}

/* Ten thousand interrupts a second, on any CPU */
static void interrupt_by_timer(struct stressor *c)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1,
	};
	struct itimerspec often = {
		.it_value.tv_nsec = 100000, .it_interval.tv_nsec = 100000,
	};
	timer_t timer;

	signal(SIGUSR1, empty_handler);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &often, NULL))
		end_stressor(c, 1);
	while (!__atomic_load_n(c->stop, __ATOMIC_RELAXED)) {
		pause();
		++*c->count;
	}
	timer_delete(timer);
}

/* The migration threads of both CPUs, and interrupts between them */
static void run_kernel_threads(struct stressor *c)
{
	pin_to_cpu(0, some_cpu(*c->count));
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

static void stop_and_continue(struct stressor *c)
{
	unsigned int i;

	for (i = 0; i < c->n; i++) {
		pid_t tid = live_tid(c, i);

		/* 0 would be the whole process group */
		if (tid) {
			kill(tid, SIGSTOP);
			kill(tid, SIGCONT);
		}
	}
	/* Time for an access in between, which takes long on a slow machine */
	usleep(500);
}

/* All are refused, since there is a tracer; and none may cost a trap */
static void attach(struct stressor *c)
{
	unsigned int i;

	for (i = 0; i < c->n; i++) {
		pid_t tid = live_tid(c, i);

		if (tid &&
		    (!ptrace(PTRACE_SEIZE, tid, NULL, NULL) ||
		     !ptrace(PTRACE_ATTACH, tid, NULL, NULL) ||
		     !ptrace(PTRACE_POKEUSER, tid, dr_offset(7), NULL)))
			end_stressor(c, 1);
	}
}

#define STEPS	50

DECLARE_PROBE(stressor_nops);
DEFINE_PROBE(stressor_nops, "", "nop", "nop\n\tnop\n\tnop\n\tnop");

/* Whether a step from @from has ended at the next instruction, and hit no slot */
static bool stepped_right(pid_t pid, unsigned long from, bool block,
			  unsigned long *ip)
{
	unsigned long at = (unsigned long)stressor_nops_at;
	unsigned long dr6 = ptrace(PTRACE_PEEKUSER, pid, dr_offset(6), NULL);

	*ip = ptrace(PTRACE_PEEKUSER, pid, REG_IP, NULL);
	if ((dr6 ^ DR6_NONE) & DR_SLOTS_ALL)
		return false;
	return block || from < at || from >= at + 5 || *ip == from + 1;
}

/*
 * Another process is single-stepped and block-stepped, and killed in a step: TF and
 * DEBUGCTL.BTF must stay its own (95cf00fa5d5e), and it has no slots.
 */
static void step_process(struct stressor *c)
{
	unsigned long ip = 0, from;
	pid_t pid = fork();
	unsigned int n;
	int status;

	if (!pid) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || raise(SIGSTOP))
			_exit(0);
		/* If a step is lost it ends */
		for (n = 0; n < 100000; n++)
			stressor_nops(NULL, 0);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return;
	for (n = 0; n < STEPS && WIFSTOPPED(status); n++) {
		bool block = n % 8 == 7;

		from = ip;
		if (ptrace(block ? PTRACE_SINGLEBLOCK : PTRACE_SINGLESTEP, pid,
			   NULL, NULL))
			break;
		if (n == STEPS - 1)
			break;
		if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
		    !stepped_right(pid, from, block, &ip)) {
			test_err("wrong step of another process: ip %#lx to %#lx",
				 from, ip);
			end_stressor(c, 1);
		}
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
		;
}

/**
 * open_breakpoint() - open a write breakpoint of 4 bytes as a counting perf
 * event
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

static int open_retrying(const void *addr, pid_t pid, int cpu)
{
	int fd;

	do {
		fd = open_breakpoint(addr, pid, cpu);
	} while (retry_on_enospc(fd));
	return fd;
}

/*
 * Make ten stores to the word of a new event, which must count them.  TCG counts the
 * last one again with each single step that others make on that CPU: see tcg.txt.
 */
static void check_count(struct stressor *c, int fd, unsigned int *word, int cpu)
{
	unsigned long long count = 0;
	unsigned int i;

	for (i = 0; i < 10; i++)
		probe_store4(word, i);
	if (read(fd, &count, sizeof(count)) != sizeof(count) || count < 10 ||
	    (count > 10 && !(cpu >= 0 && environment_is_tcg()))) {
		test_err("perf event (CPU %d) with tracees: %llu of 10",
			 cpu, count);
		end_stressor(c, 1);
	}
	close(fd);
}

/* A counting breakpoint of this process on the words that the tracees watch */
static void open_perf_event(struct stressor *c)
{
	const struct group_tracee *m = c->t[0].arg;
	unsigned int *word = &m->area[0].written;
	int fd = open_retrying(word, 0, -1);

	if (fd < 0)
		end_stressor(c, refused(fd) ? STRESSOR_REFUSED : 1);
	check_count(c, fd, word, -1);
}

/* Move the tracees that are still alive into a cgroup */
static void move_to_cgroup(const struct stressor *c, const char *procs)
{
	unsigned int i;
	char pid[16];

	for (i = 0; i < c->n; i++) {
		snprintf(pid, sizeof(pid), "%d", abs(c->t[i].tid));
		write_file(procs, pid);
	}
}

/* Freeze and thaw them, whether they run or are stopped */
static void freeze(struct stressor *c)
{
	static struct freezer *f;
	pid_t undo_pid;
	int fd;

	if (!f) {
		f = shared_alloc(sizeof(*f));
		undo_pid = make_freezer(f, &fd);
		if (undo_pid <= 0)
			end_stressor(c, undo_pid ? 1 : STRESSOR_REFUSED);
		move_to_cgroup(c, f->procs);
	}
	write_file(f->state, f->freeze);
	write_file(f->state, f->thaw);
	let_others_run();
}

/* Move them to the next CPU, whether they run or are stopped */
static void move(struct stressor *c)
{
	unsigned int i;

	for (i = 0; i < c->n; i++) {
		pid_t tid = live_tid(c, i);

		if (tid)
			pin_to_cpu(tid, some_cpu(*c->count + i));
	}
	let_others_run();
}

/* The same by a cpuset */
static void change_cpuset(struct stressor *c)
{
	static struct cpuset *set;
	char text[16];
	pid_t undo_pid;
	int fd;

	if (!set) {
		set = shared_alloc(sizeof(*set));
		undo_pid = make_cpuset(set, &fd);
		if (undo_pid <= 0)
			end_stressor(c, undo_pid ? 1 : STRESSOR_REFUSED);
	}
	snprintf(text, sizeof(text), "%d", some_cpu(*c->count));
	write_file(set->cpus, text);
	if (!*c->count)
		move_to_cgroup(c, set->procs);
	let_others_run();
}

/*
 * A breakpoint on each CPU, which takes a slot there from every thread: the
 * tracees must leave one.  It counts the stores of this process, to a word at
 * an address that no other process uses.
 */
static void open_cpu_event(struct stressor *c)
{
	int cpu = some_cpu(*c->count), fd;
	static unsigned int word;

	/* On another CPU it would not be counted */
	if (pin_to_cpu(0, cpu))
		return;
	fd = open_retrying(&word, -1, cpu);
	if (fd < 0)
		end_stressor(c, STRESSOR_REFUSED);
	check_count(c, fd, &word, cpu);
}

/* Take the last CPU offline, which breaks affinities, and bring it back */
static void unplug(struct stressor *c)
{
	static struct hotplug h;
	unsigned int i;
	int fd;

	if (!*h.path) {
		if (find_hotplug(&h))
			end_stressor(c, STRESSOR_REFUSED);
		if (undo_on_exit(&fd, take_cpu_online, &h) < 0)
			end_stressor(c, 1);
	}
	/* Busy, maybe permanently: retried in the next iteration */
	if (write_file(h.path, "0"))
		return;
	take_cpu_online(&h);
	for (i = 0; i < c->n; i++) {
		pid_t tid = live_tid(c, i);

		if (tid)
			pin_to_cpu(tid, h.cpu);
	}
}

/*
 * A tracer is killed while its tracee hits breakpoints, and another one takes
 * over.  In between the tracee has no tracer: its traps are plain SIGTRAPs then,
 * which it counts itself.  Every access is seen exactly once, by either of
 * them.  Only the trap at which the tracer dies may be seen by both or by none:
 * waitpid() takes the signal out of the thread (wait_task_stopped() clears
 * exit_code), and the tracer may have died right after that.
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

static void count_own_trap(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (sig == SIGTRAP && info->si_code == TRAP_HWBKPT)
		takeover->by_itself[takeover->n]++;
}

static void wait_for(const int *flag)
{
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		let_others_run();
}

/*
 * However slow the others are, some stores are made in each of the three phases
 */
static void store_to_the_end(struct tracee *t)
{
	struct sigaction action = {
		.sa_sigaction = count_own_trap, .sa_flags = SA_SIGINFO,
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

/* For undo_on_exit(): it has no tracer, and is still armed */
static void kill_tracee(const void *arg)
{
	const struct takeover *over = arg;

	if (over->tid > 0)
		kill(over->tid, SIGKILL);
}

/* The tracer that will be killed: reports its tracee's pid, and traces it */
static int trace_until_killed(int report_fd)
{
	struct tracee t = { .body = store_to_the_end };
	struct stop s;

	if (tracee_start(&t, TRACEE_TRACEME) ||
	    ptrace(PTRACE_SETOPTIONS, t.tid, NULL, NULL) ||
	    tracee_arm(&t, 0, BP_WRITE, 4, &takeover->word))
		return 1;
	takeover->tid = t.tid;
	if (write(report_fd, &t.tid, sizeof(t.tid)) != sizeof(t.tid))
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

/* Kill @first while stores are made; returns whether it was alive until then */
static bool kill_while_storing(pid_t first)
{
	int status;

	while (__atomic_load_n(&takeover->n, __ATOMIC_RELAXED) <
	       takeover->stores / 4) {
		if (waitpid(first, &status, WNOHANG)) {
			test_err("the first tracer had a wrong stop after store %lu",
				 takeover->n);
			return false;
		}
		let_others_run();
	}
	kill(first, SIGKILL);
	if (waitpid(first, &status, 0) == first && WIFSIGNALED(status)) {
		__atomic_store_n(&takeover->killed, 1, __ATOMIC_RELEASE);
		return true;
	}
	test_err("the first tracer ended: wait status %#x", status);
	return false;
}

/* The second tracer, up to the stop after the last store */
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
		/* Deliver it: its handler counts the store */
		ptrace(PTRACE_CONT, tid, NULL, SIGTRAP);
	}
	test_err("the second tracer: wait status %#x, si_code %d, store %lu",
		 status, info.si_code, takeover->n);
	return false;
}

/* Each store must be seen exactly once; returns the number of errors */
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
		test_err("store %lu of %lu: seen %d times by the first tracer (up to %lu), %d by itself",
			 i, takeover->stores, takeover->by_tracer[i], last,
			 takeover->by_itself[i]);
	}
	return wrong;
}

/**
 * tracer_takeover() - kill a tracer, and let another one take over its tracee
 * @stores: number of watched stores in all, 4 to TAKEOVER_STORES
 *
 * Return: 0 if each was seen once, by the first tracer or by the tracee; 1
 * after a report.
 */
int tracer_takeover(unsigned long stores)
{
	int ends[2], undo_fd, wrong = 1;
	pid_t first, tid, undo_pid;

	takeover = shared_alloc(sizeof(*takeover));
	takeover->stores = stores;
	undo_pid = undo_on_exit(&undo_fd, kill_tracee, takeover);
	if (undo_pid < 0 || pipe(ends))
		return 1;
	first = fork();
	if (!first) {
		/* Or the undo process would also wait for this process */
		close(undo_fd);
		close(ends[0]);
		_exit(trace_until_killed(ends[1]));
	}
	close(ends[1]);
	if (read(ends[0], &tid, sizeof(tid)) == sizeof(tid) &&
	    kill_while_storing(first) && trace_to_the_end(tid))
		wrong = check_takeover();
	close(ends[0]);
	close(undo_fd);
	waitpid(undo_pid, NULL, 0);
	if (takeover->tid > 0)
		waitpid(takeover->tid, NULL, __WALL);
	munmap(takeover, sizeof(*takeover));
	return wrong ? 1 : 0;
}

static void take_over_tracee(struct stressor *c)
{
	if (tracer_takeover(TAKEOVER_STORES / 10))
		end_stressor(c, 1);
}

const struct stressor_kind stressor_kinds[STRESSOR_KINDS] = {
	{ "forks", fork_child },
	{ "execs", exec },
	{ "page_faults", fault_pages },
	{ "timers", interrupt_by_timer },
	{ "kernel_threads", run_kernel_threads },
	{ "stops", stop_and_continue },
	{ "attaches", attach },
	{ "perf_events", open_perf_event },
	{ "steps", step_process },
	{ "freezes", freeze },
	{ "moves", move },
	{ "cpusets", change_cpuset },
	{ "takeovers", take_over_tracee },
	{ "cpu_events", open_cpu_event },
	{ "hotplug", unplug },
};

/**
 * stressor_start() - start a stressor process
 * @c: the tracees are set by the caller, the rest is set up here
 * @kind: one of stressor_kinds[]
 *
 * It runs until stressor_stop(), or the death of its parent.
 *
 * Return: 0 or a negative errno.
 */
int stressor_start(struct stressor *c, const struct stressor_kind *kind)
{
	c->iterations = 0;
	c->count = shared_alloc(STRESSOR_PAGE);
	c->stop = (int *)(c->count + 1);
	c->pid = fork();
	if (c->pid < 0)
		return -errno;
	if (!c->pid)
		report_unexpected_sigtrap();
	while (!c->pid && !__atomic_load_n(c->stop, __ATOMIC_RELAXED)) {
		kind->run(c);
		__atomic_add_fetch(c->count, 1, __ATOMIC_RELAXED);
	}
	if (!c->pid)
		_exit(0);
	return 0;
}

/**
 * stressor_wait_started() - wait until it has completed an iteration
 * @c: a running stressor
 */
void stressor_wait_started(struct stressor *c)
{
	siginfo_t info = { 0 };

	while (!__atomic_load_n(c->count, __ATOMIC_RELAXED) &&
	       !waitid(P_PID, c->pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       !info.si_pid)
		let_others_run();
}

/**
 * stressor_stop() - ask a stressor to stop, and wait for it
 * @c: a running stressor
 *
 * Return: its exit code: 0, STRESSOR_REFUSED if it is not permitted, anything
 * else after an error that it has reported.
 */
int stressor_stop(struct stressor *c)
{
	int status;

	__atomic_store_n(c->stop, 1, __ATOMIC_RELAXED);
	c->iterations = __atomic_load_n(c->count, __ATOMIC_RELAXED);
	if (waitpid(c->pid, &status, 0) != c->pid)
		status = 1;
	munmap(c->count, STRESSOR_PAGE);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
