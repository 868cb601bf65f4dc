// SPDX-License-Identifier: GPL-2.0
/*
 * One traced thread, and the ledger of its traps: see tracee.h.
 */
#include <errno.h>
#include <pthread.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "environment.h"
#include "firing.h"
#include "probes.h"
#include "tracee.h"

#ifdef __x86_64__
#define REG_IP	offsetof(struct user, regs.rip)
#else
#define REG_IP	offsetof(struct user, regs.eip)
#endif

/* Shared by tracee and tracer, one page for each tracee */
struct tracee_page {
	unsigned long progress;
	int go;
	int cpu;
};

/* How many of the last events a report shows, up to TRACEE_EVENTS */
unsigned int tracee_events_shown = TRACEE_EVENTS_SHOWN;

/*
 * The watchdog: a thread that waits for an event for TRACEE_WATCHDOG seconds
 * is thrown out of waitpid() so that it can say what it was waiting for.
 * Not SIGALRM, which is the harness's.  A POSIX timer is not inherited by
 * fork(), so every tracer starts its own when it gets its first tracee.
 */
#define WATCHDOG_TICK	5
#define WATCHDOG_SIGNAL	(SIGRTMAX - 1)

/* What all processes of a program know together */
static struct shared {
	int slot_retries;
	int watchdog_lapsed;
	unsigned long verified, missed, unexpected;
} *shared;

/* How many tracees are asked one by one before all are waited for */
#define WAIT_TRIES	2

static __thread struct {
	pid_t tid;
	int waiting;
	unsigned int ticks;
	sigjmp_buf expired;
} watchdog;

/**
 * watchdog_seconds() - how long to wait before a hang is called a failure
 *
 * Return: TRACEE_WATCHDOG, or TRACEE_WATCHDOG_SHORT where a wait has lapsed
 * before in any process of this program.
 */
unsigned int watchdog_seconds(void)
{
	return __atomic_load_n(&shared->watchdog_lapsed, __ATOMIC_RELAXED) ?
	       TRACEE_WATCHDOG_SHORT : TRACEE_WATCHDOG;
}

/**
 * watchdog_lapsed() - a wait of this program has lapsed, it has failed
 */
void watchdog_lapsed(void)
{
	__atomic_store_n(&shared->watchdog_lapsed, 1, __ATOMIC_RELAXED);
}

static void watchdog_tick(int sig)
{
	(void)sig;
	if (__atomic_load_n(&watchdog.waiting, __ATOMIC_RELAXED) &&
	    ++watchdog.ticks > watchdog_seconds() / WATCHDOG_TICK) {
		watchdog.waiting = 0;
		siglongjmp(watchdog.expired, 1);
	}
}

static int watchdog_start(void)
{
	struct itimerspec tick = {
		.it_value.tv_sec = WATCHDOG_TICK,
		.it_interval.tv_sec = WATCHDOG_TICK,
	};
	struct sigaction action = {
		.sa_handler = watchdog_tick,
		.sa_flags = SA_RESTART,
	};
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = WATCHDOG_SIGNAL,
	};
	pid_t tid = syscall(SYS_gettid);
	timer_t timer;

	if (watchdog.tid == tid)
		return 0;

	event._sigev_un._tid = tid;
	if (sigaction(WATCHDOG_SIGNAL, &action, NULL) ||
	    timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &tick, NULL))
		return -errno;

	watchdog.tid = tid;
	watchdog.waiting = 0;
	return 0;
}

/* waitpid() under the watchdog; 0 where it bit */
static pid_t wait_event(pid_t pid, int *status)
{
	pid_t got;

	if (sigsetjmp(watchdog.expired, 0)) {
		sigset_t set;

		watchdog_lapsed();
		/* The handler was left by a jump: its signal is still blocked */
		sigemptyset(&set);
		sigaddset(&set, WATCHDOG_SIGNAL);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		return 0;
	}

	watchdog.ticks = 0;
	__atomic_store_n(&watchdog.waiting, 1, __ATOMIC_SEQ_CST);
	do {
		got = waitpid(pid, status, __WALL);
	} while (got < 0 && errno == EINTR);
	__atomic_store_n(&watchdog.waiting, 0, __ATOMIC_SEQ_CST);
	return got;
}

/**
 * shared_alloc() - memory that tracer and tracees see alike
 * @size: bytes
 *
 * A test that cannot have it ends here, as failed.
 *
 * Return: zeroed memory, shared over fork(), page aligned.
 */
void *shared_alloc(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("# no shared memory");
		exit(1);
	}
	return p;
}

/*
 * Milliseconds that all tests of a program together spend on waiting for slots:
 * where they do not come back, the rest must not take hours.
 */
#define PATIENCE	5000

static pid_t main_pid;

static void __attribute__((constructor)) share(void)
{
	main_pid = getpid();
	shared = shared_alloc(sizeof(*shared));
	be_patient();
}

/* The last line of a program: what its processes have counted together */
static void __attribute__((destructor)) print_traps(void)
{
	if (getpid() == main_pid && shared)
		printf("# traps: %lu verified, %lu missed, %lu unexpected\n",
		       shared->verified, shared->missed, shared->unexpected);
}

/**
 * be_patient() - for slots_may_come_back(): as patient as at the beginning
 */
void be_patient(void)
{
	__atomic_store_n(&shared->slot_retries, PATIENCE, __ATOMIC_RELAXED);
}

/**
 * slots_may_come_back() - is it worth to try again?
 * @err: a negative errno, or not
 *
 * Four slots are counted for each task and each CPU together: a breakpoint on a
 * CPU takes one from every task, and is refused where a task has all
 * (max_bp_pinned_slots() in kernel/events/hw_breakpoint.c).  Who has such
 * breakpoints for a moment only, as perf_cpu_test does, makes no test fail that
 * runs beside it.
 *
 * Return: true for -ENOSPC, after a millisecond, as long as there is patience.
 */
bool slots_may_come_back(int err)
{
	if (err != -ENOSPC ||
	    __atomic_sub_fetch(&shared->slot_retries, 1, __ATOMIC_RELAXED) < 0)
		return false;
	poll(NULL, 0, 1);
	return true;
}

/**
 * pin_to_cpu() - bind a thread to one CPU
 * @tid: thread; 0 for the caller
 * @cpu: CPU number
 *
 * Return: 0, or a negative errno.
 */
int pin_to_cpu(pid_t tid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(tid, sizeof(set), &set) ? -errno : 0;
}

/**
 * allowed_cpus() - the CPUs this process may use
 * @cpus: filled with their numbers
 * @max: room in @cpus
 *
 * Return: how many were stored, at least 1; a negative errno on failure.
 */
int allowed_cpus(int *cpus, int max)
{
	cpu_set_t set;
	int cpu, n = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		return -errno;
	for (cpu = 0; cpu < CPU_SETSIZE && n < max; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
	return n;
}

/*
 * Whatever a test forks dies with its parent, and the test with the harness:
 * nothing is left behind by a test that is killed.  PTRACE_O_EXITKILL does
 * that for tracees, but only once the tracer has set it.  A test that wants a
 * child to outlive its parent undoes it there.
 */
static pid_t forking;

static void before_fork(void)
{
	forking = getpid();
}

static void child_of_fork(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != forking)
		_exit(1);
}

/* A tracee that is seen to die of SIGTRAP leaves no core either */
static void __attribute__((constructor)) leave_nothing_behind(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	pthread_atfork(before_fork, NULL, child_of_fork);
}

static void child_run(struct tracee *t, enum tracee_how how)
{
	struct tracee_page *page = (struct tracee_page *)t->progress;

	t->tid = getpid();
	if (how == TRACEE_TRACEME) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(errno);
		tracee_sync();
	} else {
		while (!__atomic_load_n(&page->go, __ATOMIC_ACQUIRE))
			syscall(SYS_futex, &page->go, FUTEX_WAIT, 0, NULL, NULL,
				0);
	}
	t->body(t);
	_exit(0);
}

/* Attach to @t, which waits for page->go, and leave it stopped */
static int tracer_attach(struct tracee *t, enum tracee_how how)
{
	struct tracee_page *page;
	int status, sig = SIGSTOP;

	if (how == TRACEE_TRACEME) {
		if (wait_event(t->tid, &status) != t->tid)
			return -ECHILD;
		if (WIFEXITED(status) && WEXITSTATUS(status))
			return -WEXITSTATUS(status);
		if (!WIFSTOPPED(status))
			return -ECHILD;
		return ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			      PTRACE_O_EXITKILL) ? -errno : 0;
	}

	if (how == TRACEE_ATTACH) {
		if (ptrace(PTRACE_ATTACH, t->tid, NULL, NULL))
			return -errno;
	} else {
		sig = SIGTRAP;
		if (ptrace(PTRACE_SEIZE, t->tid, NULL, PTRACE_O_EXITKILL) ||
		    ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL))
			return -errno;
	}
	if (wait_event(t->tid, &status) != t->tid || !WIFSTOPPED(status) ||
	    WSTOPSIG(status) != sig)
		return -ECHILD;
	if (how == TRACEE_ATTACH &&
	    ptrace(PTRACE_SETOPTIONS, t->tid, NULL, PTRACE_O_EXITKILL))
		return -errno;

	page = (struct tracee_page *)t->progress;
	__atomic_store_n(&page->go, 1, __ATOMIC_RELEASE);
	return 0;
}

/**
 * tracee_start() - fork a child and trace it
 * @t: body, and arg, describe and id as wanted; the rest is filled in
 * @how: how to get hold of it
 *
 * On return the child is stopped before its body, with nothing armed.  It
 * dies with the calling thread.
 *
 * Return: 0; or a negative errno: -EPERM and -ENOSYS say that the
 * environment does not let us trace, and are a reason to skip.
 */
int tracee_start(struct tracee *t, enum tracee_how how)
{
	struct tracee_page *page;
	int err = watchdog_start();

	if (err)
		return err;

	page = shared_alloc(sizeof(*page));
	page->cpu = -1;
	t->progress = &page->progress;
	t->cpu = &page->cpu;

	t->tid = fork();
	if (t->tid < 0)
		return -errno;
	if (!t->tid)
		child_run(t, how);

	err = tracer_attach(t, how);
	if (err)
		tracee_stop(t);
	return err;
}

/**
 * tracee_adopt() - put a thread that is traced already under the ledger
 * @t: as for tracee_start(), but body is not used
 * @tid: a thread of which the caller is the tracer
 *
 * Its progress is counted in a word of its own that only the caller sees,
 * unless the caller points progress at something shared before.
 *
 * Return: 0, or a negative errno.
 */
int tracee_adopt(struct tracee *t, pid_t tid)
{
	int err = watchdog_start();

	if (err)
		return err;
	if (!t->progress)
		t->progress = shared_alloc(sizeof(struct tracee_page));
	t->tid = tid;
	return 0;
}

/**
 * tracee_stop() - kill a tracee and reap it
 * @t: tracee; nothing happens where it has ended already
 */
void tracee_stop(struct tracee *t)
{
	int status;

	if (t->tid > 0) {
		kill(t->tid, SIGKILL);
		while (waitpid(t->tid, &status, __WALL) == t->tid &&
		       !WIFEXITED(status) && !WIFSIGNALED(status))
			;
	}
	t->tid = 0;
	if (t->progress)
		munmap(t->progress, sizeof(struct tracee_page));
	t->progress = NULL;
	t->cpu = NULL;
}

/**
 * tracee_sync() - called by a tracee: stop for the tracer
 *
 * A SIGSTOP from the thread to itself.  The tracer sees it as a
 * signal-delivery-stop, see tracee_expect_sync(), and does not pass it on.
 */
void tracee_sync(void)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
}

/**
 * tracee_peek() - read a debug register
 * @t: stopped tracee
 * @n: 0 to 7
 * @val: what it holds
 *
 * Return: 0, or a negative errno.
 */
int tracee_peek(struct tracee *t, unsigned int n, unsigned long *val)
{
	errno = 0;
	*val = ptrace(PTRACE_PEEKUSER, t->tid, dr_offset(n), NULL);
	return -errno;
}

/* Whether tracee_poke() does; not where a test wants to see the refusal */
bool tracee_waits_for_slots = true;

/**
 * tracee_poke() - write a debug register
 * @t: stopped tracee
 * @n: 0 to 7
 * @val: value
 *
 * Return: 0, or a negative errno; -ENOSPC only where slots_may_come_back() has
 * lost its patience.
 */
int tracee_poke(struct tracee *t, unsigned int n, unsigned long val)
{
	int err;

	do {
		err = 0;
		if (ptrace(PTRACE_POKEUSER, t->tid, dr_offset(n), val))
			err = -errno;
	} while (tracee_waits_for_slots && slots_may_come_back(err));
	if (!err && n == 7)
		t->dr7 = val;
	return err;
}

/**
 * tracee_poke_addr() - write the address of a slot
 * @t: stopped tracee
 * @slot: 0 to 3
 * @addr: address
 *
 * Return: 0, or a negative errno.
 */
int tracee_poke_addr(struct tracee *t, unsigned int slot, const void *addr)
{
	return tracee_poke(t, slot, (unsigned long)addr);
}

/**
 * tracee_arm() - arm one slot
 * @t: stopped tracee
 * @slot: 0 to 3; armed already or not
 * @type: what trips it
 * @len: 1, 2, 4 or 8 bytes; 1 for BP_EXECUTE
 * @addr: aligned to @len
 *
 * The safe order: off, address, on.
 *
 * Return: 0, or the negative errno of the call that was refused.
 */
int tracee_arm(struct tracee *t, unsigned int slot, enum bp_type type,
	       unsigned int len, const void *addr)
{
	unsigned long dr7;
	int err;

	err = tracee_disarm(t, slot);
	if (!err)
		err = tracee_poke_addr(t, slot, addr);
	if (!err)
		err = tracee_peek(t, 7, &dr7);
	if (!err)
		err = tracee_poke(t, 7, dr7 | dr7_encode(slot, type, len));
	return err;
}

/**
 * tracee_disarm() - disable one slot and clear its type and length
 * @t: stopped tracee
 * @slot: 0 to 3
 *
 * Return: 0, or a negative errno.
 */
int tracee_disarm(struct tracee *t, unsigned int slot)
{
	unsigned long dr7;
	int err;

	err = tracee_peek(t, 7, &dr7);
	if (!err && (dr7 & dr7_mask(slot)))
		err = tracee_poke(t, 7, dr7 & ~dr7_mask(slot));
	return err;
}

/**
 * tracee_disarm_all() - disable all slots
 * @t: stopped tracee
 *
 * Return: 0, or a negative errno.
 */
int tracee_disarm_all(struct tracee *t)
{
	return tracee_poke(t, 7, 0);
}

/**
 * tracee_resume() - let a stopped tracee go on
 * @t: stopped tracee
 * @request: PTRACE_CONT, PTRACE_SINGLESTEP, PTRACE_SYSCALL, ...
 * @sig: signal to deliver, 0 for none
 *
 * Return: 0, or a negative errno.
 */
int tracee_resume(struct tracee *t, int request, int sig)
{
	return ptrace(request, t->tid, NULL, sig) ? -errno : 0;
}

/**
 * tracee_cont() - let a stopped tracee run, with no signal
 * @t: stopped tracee
 *
 * Return: 0, or a negative errno.
 */
int tracee_cont(struct tracee *t)
{
	return tracee_resume(t, PTRACE_CONT, 0);
}

/* Fill in @s for @t, whose wait status is in s->status */
static void look_at_stop(struct tracee *t, struct stop *s)
{
	unsigned int i = t->events++ % TRACEE_EVENTS;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	memset(&s->info, 0, sizeof(s->info));
	s->ip = 0;
	s->dr6 = 0;
	s->progress = *t->progress;
	if (WIFSTOPPED(s->status)) {
		ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &s->info);
		s->ip = ptrace(PTRACE_PEEKUSER, t->tid, REG_IP, NULL);
		tracee_peek(t, 6, &s->dr6);
	} else {
		t->tid = -t->tid;
	}
	t->log[i].time = now.tv_sec * 1000000000ULL + now.tv_nsec;
	t->log[i].cpu = t->cpu ? *t->cpu : -1;
	t->log[i].status = s->status;
	t->log[i].ip = s->ip;
	t->log[i].dr6 = s->dr6;
	t->log[i].progress = s->progress;
}

/**
 * tracee_wait() - wait for the next event of one tracee
 * @t: running tracee
 * @s: what it was
 *
 * Return: 0; 1 after a report where the watchdog bit or there is no tracee.
 */
int tracee_wait(struct tracee *t, struct stop *s)
{
	unsigned int seconds = watchdog_seconds();
	pid_t pid = wait_event(t->tid, &s->status);

	if (!pid)
		tracee_report(t, NULL,
			      "no event for %u s: a trap was lost or it hangs",
			      seconds);
	else if (pid != t->tid)
		tracee_report(t, NULL, "cannot wait for it: %s",
			      strerror(errno));
	if (pid != t->tid)
		return 1;
	look_at_stop(t, s);
	return 0;
}

/**
 * tracee_wait_any() - wait for the next event of any of several tracees
 * @set: the tracees; the caller has no other children
 * @n: how many
 * @s: what it was
 *
 * Return: whose event it was; NULL after a report where the watchdog bit or
 * a stranger appeared.
 */
struct tracee *tracee_wait_any(struct tracee *set, unsigned int n,
			       struct stop *s)
{
	static __thread unsigned int next;
	unsigned int i, tries, seconds = watchdog_seconds();
	pid_t pid = 0;

	/*
	 * They mostly come in turn.  The kernel looks through all children for
	 * waitpid(-1), and we for the tracee: with many, ask the next ones first.
	 */
	for (tries = 0; tries < WAIT_TRIES && pid <= 0; tries++) {
		next = (next + 1) % n;
		if (set[next].tid > 0)
			pid = waitpid(set[next].tid, &s->status, __WALL | WNOHANG);
	}
	if (pid <= 0)
		pid = wait_event(-1, &s->status);

	for (i = 0; i < n && pid > 0; i++, next = (next + 1) % n) {
		if (set[next].tid == pid) {
			look_at_stop(&set[next], s);
			return &set[next];
		}
	}
	if (pid > 0)
		tracee_report(NULL, NULL, "event %#x of unknown thread %d",
			      s->status, pid);
	else
		tracee_report(NULL, NULL,
			      "no event for %u s (%d): a trap was lost or they hang",
			      seconds, pid);
	for (i = 0; i < n; i++)
		if (set[i].tid > 0)
			tracee_report(&set[i], NULL, "still waited for");
	return NULL;
}

static unsigned long long read_mem(const void *mem, unsigned int size)
{
	switch (size) {
	case 1:
		return *(const unsigned char *)mem;
	case 2:
		return *(const unsigned short *)mem;
	case 4:
		return *(const unsigned int *)mem;
	default:
		return *(const unsigned long long *)mem;
	}
}

static void count(unsigned long *all)
{
	__atomic_add_fetch(all, 1, __ATOMIC_RELAXED);
}

static const char *count_missed(struct tracee *t)
{
	t->missed++;
	count(&shared->missed);
	return "MISSED trap";
}

static const char *count_unexpected(struct tracee *t)
{
	t->unexpected++;
	count(&shared->unexpected);
	return "UNEXPECTED trap";
}

/* An event where no trap is owed, and which is not what was waited for */
static const char *count_other(struct tracee *t, const struct stop *s)
{
	if (WIFSTOPPED(s->status) && WSTOPSIG(s->status) == SIGTRAP)
		return count_unexpected(t);
	t->wrong++;
	return "wrong event";
}

/* Called where a trap is expected of a type that is dead here; may be NULL */
void (*tracee_on_dead_type)(void);

/* The types of the slots that are expected to be hit, for firing_dead() */
static unsigned int types_of(struct tracee *t, unsigned int slots)
{
	unsigned int i, types = 0;
	unsigned long dr7 = t->dr7;

	for (i = 0; i < DR_SLOTS; i++) {
		if (!(slots & 1U << i))
			continue;
		/* Armed by somebody else, for instance before an execve() */
		if (!(dr7 & (DR7_LOCAL(i) | DR7_GLOBAL(i))) && t->tid > 0)
			tracee_peek(t, 7, &dr7);
		types |= 1U << (dr7 >> (16 + 4 * i) & 3);
	}
	return types;
}

static void check_type_fires(struct tracee *t, const struct trap *want)
{
	if (firing_dead(BY_PTRACE, NEEDS_ALL) && tracee_on_dead_type &&
	    firing_dead(BY_PTRACE, types_of(t, want->slots)))
		tracee_on_dead_type();
}

/**
 * tracee_check_trap() - is this stop the trap that is owed?
 * @t: stopped tracee
 * @s: its last event
 * @want: what is owed
 *
 * Exactly: SIGTRAP, si_code TRAP_HWBKPT or, with a step, TRAP_TRACE
 * (get_si_code() in arch/x86/include/asm/traps.h), si_addr the same as ip
 * (send_sigtrap() in arch/x86/kernel/ptrace.c), DR6, ip, progress, memory.
 * Where a slot is of a type that is dead here, tracee_on_dead_type() is called
 * instead.
 *
 * Return: 0; 1 after a report.
 */
int tracee_check_trap(struct tracee *t, const struct stop *s,
		      const struct trap *want)
{
	unsigned long ip = (unsigned long)want->ip;
	unsigned long dr6 = dr6_encode(want->slots, want->step);
	int code = want->step ? TRAP_TRACE : TRAP_HWBKPT;
	unsigned long long mem = 0;
	const char *wrong = NULL;

	check_type_fires(t, want);
	if (want->mem)
		mem = read_mem(want->mem, want->mem_size);

	if (!WIFSTOPPED(s->status) || s->status >> 16 ||
	    WSTOPSIG(s->status) != SIGTRAP || s->progress > want->progress)
		wrong = count_missed(t);
	else if (s->progress < want->progress)
		wrong = count_unexpected(t);
	else if (s->dr6 != dr6)
		wrong = "wrong DR6";
	else if (s->ip != ip)
		wrong = "wrong ip";
	else if (s->info.si_signo != SIGTRAP || s->info.si_code != code)
		wrong = "wrong si_code";
	else if ((unsigned long)s->info.si_addr != ip)
		wrong = "wrong si_addr";
	else if (want->mem && mem != want->mem_value)
		wrong = "wrong memory";

	if (!wrong) {
		t->traps++;
		count(&shared->verified);
		return 0;
	}
	t->wrong += *wrong == 'w';

	tracee_report(t, s,
		      "%s: expected SIGTRAP code %d, slots %#x%s, DR6 %#lx, ip %#lx, access %lu%s",
		      wrong, code, want->slots, want->step ? " and step" : "",
		      dr6, ip, want->progress,
		      want->mem ? ", memory:" : "");
	if (want->mem)
		fprintf(stderr, "#   memory %#llx, expected %#llx (%u bytes)\n",
			mem, want->mem_value, want->mem_size);
	return 1;
}

/**
 * tracee_check_sync() - is this stop a tracee_sync() at this place?
 * @t: stopped tracee
 * @s: its last event
 * @progress: the access number it must have come to
 *
 * Return: 0; 1 after a report.
 */
int tracee_check_sync(struct tracee *t, const struct stop *s,
		      unsigned long progress)
{
	if (WIFSTOPPED(s->status) && !(s->status >> 16) &&
	    WSTOPSIG(s->status) == SIGSTOP && s->info.si_code == SI_TKILL &&
	    s->info.si_pid == (t->pid ? t->pid : t->tid) &&
	    s->progress == progress)
		return 0;

	tracee_report(t, s,
		      "%s: expected its SIGSTOP to itself after access %lu",
		      count_other(t, s), progress);
	return 1;
}

/**
 * tracee_check_exit() - is this event the end of the tracee, with code 0?
 * @t: tracee
 * @s: its last event
 *
 * Return: 0; 1 after a report.
 */
int tracee_check_exit(struct tracee *t, const struct stop *s)
{
	if (WIFEXITED(s->status) && !WEXITSTATUS(s->status))
		return 0;

	tracee_report(t, s, "%s: expected its exit with code 0",
		      count_other(t, s));
	return 1;
}

/**
 * tracee_expect_trap() - continue, and expect one exact trap
 * @t: stopped tracee
 * @want: what is owed
 *
 * Return: 0; 1 after a report.
 */
int tracee_expect_trap(struct tracee *t, const struct trap *want)
{
	struct stop s;

	check_type_fires(t, want);
	if (tracee_cont(t)) {
		tracee_report(t, NULL, "cannot continue: %s", strerror(errno));
		return 1;
	}
	return tracee_wait(t, &s) ? 1 : tracee_check_trap(t, &s, want);
}

/**
 * tracee_expect_hit() - tracee_expect_trap(), where memory does not matter
 * @t: stopped tracee
 * @slots: the slots that DR6 must show, bit n for DRn
 * @ip: where the thread must stand
 * @progress: the access number
 *
 * Return: 0; 1 after a report.
 */
int tracee_expect_hit(struct tracee *t, unsigned int slots, const void *ip,
		      unsigned long progress)
{
	const struct trap want = {
		.ip = ip, .slots = slots, .progress = progress,
	};

	return tracee_expect_trap(t, &want);
}

/**
 * tracee_expect_sync() - continue, and expect no trap up to a tracee_sync()
 * @t: stopped tracee
 * @progress: the access number it must have come to
 *
 * Return: 0; 1 after a report.
 */
int tracee_expect_sync(struct tracee *t, unsigned long progress)
{
	struct stop s;

	if (tracee_cont(t)) {
		tracee_report(t, NULL, "cannot continue: %s", strerror(errno));
		return 1;
	}
	return tracee_wait(t, &s) ? 1 : tracee_check_sync(t, &s, progress);
}

/**
 * tracee_expect_exit() - continue, and expect no trap up to the exit
 * @t: stopped tracee
 *
 * Return: 0; 1 after a report.
 */
int tracee_expect_exit(struct tracee *t)
{
	struct stop s;

	if (tracee_cont(t)) {
		tracee_report(t, NULL, "cannot continue: %s", strerror(errno));
		return 1;
	}
	return tracee_wait(t, &s) ? 1 : tracee_check_exit(t, &s);
}

/*
 * From here on: the picture.  It is put together in one buffer and written
 * at once, so that tracers that fail side by side do not mix their lines.
 */
struct picture {
	char text[16384];
	size_t len;
};

static void __printf(2, 3) draw(struct picture *p, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(p->text + p->len, sizeof(p->text) - p->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		p->len += n;
	if (p->len >= sizeof(p->text))
		p->len = sizeof(p->text) - 1;
}

/* Where an address lies in the probes */
static void draw_place(struct picture *p, unsigned long ip)
{
	const struct probe *probe;
	unsigned long off;

	for (probe = probe_access; probe < probe_access + PROBE_ACCESSES;
	     probe++) {
		if (ip == (unsigned long)probe->at)
			draw(p, " (on %s)", probe->name);
		else if (ip == (unsigned long)probe->next)
			draw(p, " (behind %s)", probe->name);
	}
	off = ip - (unsigned long)probe_targets;
	if (off < PROBE_TARGETS * PROBE_TARGET_SIZE)
		draw(p, " (target %lu + %lu)", off / PROBE_TARGET_SIZE,
		     off % PROBE_TARGET_SIZE);
}

static void draw_status(struct picture *p, int status)
{
	if (WIFEXITED(status))
		draw(p, "exit with code %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		draw(p, "killed by signal %d", WTERMSIG(status));
	else if (status >> 16)
		draw(p, "stop by signal %d, event %d", WSTOPSIG(status),
		     status >> 16);
	else
		draw(p, "stop by signal %d", WSTOPSIG(status));
}

static bool read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* Field 39 of /proc/TID/stat: the CPU it last ran on (proc(5)); -1 if unknown */
static int cpu_of(const char *tid)
{
	char path[64], buf[1024], *s;
	int field;

	snprintf(path, sizeof(path), "/proc/%.16s/stat", tid);
	if (!read_file(path, buf, sizeof(buf)))
		return -1;
	s = strrchr(buf, ')');
	for (field = 2; s && field < 39; field++)
		s = strchr(s + 1, ' ');
	return s ? atoi(s) : -1;
}

/* The tracees on the same CPU: those are whose slots share its registers */
static void draw_neighbours(struct picture *p, pid_t tid, int cpu)
{
	char path[64], buf[2048], name[32], *s;
	struct dirent *d;
	int shown = 0;
	DIR *dir;

	dir = opendir("/proc");
	if (!dir)
		return;
	draw(p, "#   other tracees on that CPU:");
	while ((d = readdir(dir)) && shown < 16) {
		if (d->d_name[0] < '1' || d->d_name[0] > '9' ||
		    atoi(d->d_name) == tid || cpu_of(d->d_name) != cpu)
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/status", d->d_name);
		if (!read_file(path, buf, sizeof(buf)))
			continue;
		s = strstr(buf, "\nTracerPid:\t");
		if (!s || s[12] == '0' || sscanf(buf, "Name:\t%31s", name) != 1)
			continue;
		draw(p, " %.16s (%s, tracer %d)", d->d_name, name,
		     atoi(s + 12));
		shown++;
	}
	closedir(dir);
	draw(p, "%s\n", shown ? "" : " none");
}

static void draw_cpu(struct picture *p, pid_t tid)
{
	char path[64], buf[8192], id[16], *s;
	int cpu;

	snprintf(id, sizeof(id), "%d", tid);
	cpu = cpu_of(id);
	if (cpu < 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/sched", tid);
	s = NULL;
	if (read_file(path, buf, sizeof(buf)))
		s = strstr(buf, "nr_migrations");
	if (s)
		s = strchr(s, ':');
	draw(p, "#   last ran on CPU %d, moved %s%.*s times\n", cpu,
	     s ? "" : "an unknown number of",
	     s ? (int)strcspn(s + 1 + strspn(s + 1, " "), "\n") : 0,
	     s ? s + 1 + strspn(s + 1, " ") : "");
	draw_neighbours(p, tid, cpu);
}

static void draw_registers(struct picture *p, struct tracee *t)
{
	unsigned long dr[8] = { 0 };
	unsigned int n;

	for (n = 0; n < 8; n++)
		if (n != 4 && n != 5 && tracee_peek(t, n, &dr[n]))
			return;
	draw(p, "#   as read back: DR0 %#lx DR1 %#lx DR2 %#lx DR3 %#lx\n",
	     dr[0], dr[1], dr[2], dr[3]);
	draw(p, "#                 DR6 %#lx DR7 %#lx\n", dr[6], dr[7]);
}

static void draw_access(struct picture *p, struct tracee *t, const char *what,
			unsigned long n)
{
	char text[256] = "";

	if (t->describe)
		t->describe(t, n, text, sizeof(text));
	draw(p, "#   %s access %lu%s%s\n", what, n, *text ? ": " : "", text);
}

/* The last events: when, before now and on which CPU, if it says so */
static void draw_events(struct picture *p, struct tracee *t)
{
	unsigned long i = 0;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (t->events > tracee_events_shown)
		i = t->events - tracee_events_shown;
	for (; i < t->events; i++) {
		unsigned int e = i % TRACEE_EVENTS;
		long long ns = now.tv_sec * 1000000000ULL + now.tv_nsec -
			       t->log[e].time;

		draw(p, "#   event %lu, %lld us ago", i, ns / 1000);
		if (t->log[e].cpu >= 0)
			draw(p, " on CPU %d", t->log[e].cpu);
		draw(p, ": ");
		draw_status(p, t->log[e].status);
		draw(p, ", access %lu, DR6 %#lx, ip %#lx", t->log[e].progress,
		     t->log[e].dr6, t->log[e].ip);
		draw_place(p, t->log[e].ip);
		draw(p, "\n");
	}
}

static void on_stray_sigtrap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	dprintf(STDERR_FILENO,
		"# stray SIGTRAP: code %d, addr %p, ip %#lx; a #DB that no slot is blamed for has code 1\n",
		info->si_code, info->si_addr,
		(unsigned long)uc->uc_mcontext.gregs[UC_IP]);
	raise(sig);
}

/**
 * die_of_stray_sigtrap() - say what a SIGTRAP was that nothing owes
 *
 * For who has nothing armed, and who has perf events that only count.  The
 * default action would end the test without a word; this is as deadly, and
 * tells.  A test's own handler is left alone.
 */
void die_of_stray_sigtrap(void)
{
	struct sigaction action = {
		.sa_sigaction = on_stray_sigtrap,
		.sa_flags = SA_SIGINFO | SA_RESETHAND,
	};
	struct sigaction old;

	if (!sigaction(SIGTRAP, NULL, &old) && old.sa_handler == SIG_DFL)
		sigaction(SIGTRAP, &action, NULL);
}

/**
 * tracee_report_events() - print the last events of a tracee
 * @t: tracee, perhaps another process's, in shared memory
 *
 * To standard error, as tracee_report() does for its own.
 */
void tracee_report_events(struct tracee *t)
{
	struct picture p = { .len = 0 };

	draw(&p, "#   tracee %u, thread %d, %lu traps verified\n", t->id,
	     abs(t->tid), t->traps);
	draw_events(&p, t);
	if (write(STDERR_FILENO, p.text, p.len) < 0)
		abort();
}

/**
 * tracee_report() - print all there is to know about a failure
 * @t: tracee; NULL for none
 * @s: the event that was wrong; NULL for none
 * @fmt: what is wrong
 *
 * To standard error, as KTAP diagnostics.  The tracee may be stopped, running
 * or gone: what cannot be had is left out.
 */
void tracee_report(struct tracee *t, const struct stop *s, const char *fmt, ...)
{
	struct picture p = { .len = 0 };
	va_list ap;
	int n;

	draw(&p, "# ");
	va_start(ap, fmt);
	n = vsnprintf(p.text + p.len, sizeof(p.text) - p.len, fmt, ap);
	va_end(ap);
	p.len += n > 0 && (size_t)n < sizeof(p.text) - p.len ? n : 0;
	draw(&p, "\n");

	if (t)
		draw(&p, "#   tracee %u, thread %d, %lu traps verified\n",
		     t->id, abs(t->tid), t->traps);
	if (t && s) {
		draw(&p, "#   seen: ");
		draw_status(&p, s->status);
		if (WIFSTOPPED(s->status)) {
			draw(&p, ", code %d, si_addr %p, DR6 %#lx\n",
			     s->info.si_code, s->info.si_addr, s->dr6);
			draw(&p, "#   seen: ip %#lx", s->ip);
			draw_place(&p, s->ip);
		}
		draw(&p, "\n");
		draw_access(&p, t, "seen:", s->progress);
	} else if (t && t->progress) {
		draw_access(&p, t, "now at", *t->progress);
	}
	if (t && t->tid > 0) {
		draw_registers(&p, t);
		draw_cpu(&p, t->tid);
	}
	if (t)
		draw_events(&p, t);
	draw(&p, "#   %s\n", environment());

	if (write(STDERR_FILENO, p.text, p.len) < 0)
		abort();
}
