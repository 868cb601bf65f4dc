// SPDX-License-Identifier: GPL-2.0
/*
 * Control of one traced thread, and what its next event must be: see tracee.h.
 */
#include <errno.h>
#include <pthread.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "firing.h"
#include "tracee.h"
#include "watchdog.h"

/* One page for each tracee, shared with its tracer */
struct tracee_page {
	unsigned long progress;
	int go;
	int cpu;
};

/* Shared by all processes of a program */
static struct shared {
	int slot_retries;
	unsigned long verified, missed, unexpected;
} *shared;

/* How many tracees are polled one by one before waiting for all of them */
#define WAIT_TRIES	2

/**
 * shared_alloc() - allocate memory that is shared with children
 * @size: bytes
 *
 * The process exits with a failure if there is none.
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

/**
 * monotonic_ns() - read the clock
 *
 * Return: ns of CLOCK_MONOTONIC.
 */
unsigned long long monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/*
 * Milliseconds that all tests of a program together wait for slots: where slots
 * are never released, the remaining tests must not take hours.
 */
#define SLOT_RETRIES	5000

static pid_t main_pid;

static void __attribute__((constructor)) init_shared(void)
{
	main_pid = getpid();
	shared = shared_alloc(sizeof(*shared));
	reset_slot_retries();
}

/* The last line of a program: the sums over its processes */
static void __attribute__((destructor)) print_traps(void)
{
	if (getpid() == main_pid && shared)
		printf("# traps: %lu verified, %lu missed, %lu unexpected\n",
		       shared->verified, shared->missed, shared->unexpected);
}

/**
 * reset_slot_retries() - allow retry_on_enospc() its full number of retries again
 */
void reset_slot_retries(void)
{
	__atomic_store_n(&shared->slot_retries, SLOT_RETRIES, __ATOMIC_RELAXED);
}

/**
 * retry_on_enospc() - whether to retry a call that found no free slot
 * @err: its return value: a negative errno or anything else
 *
 * Slots of a task and of a CPU are counted together: a breakpoint on a CPU takes
 * a slot from every task, and is refused if a task uses all four
 * (max_bp_pinned_slots() in kernel/events/hw_breakpoint.c).  Another program
 * that holds such breakpoints for a moment, as perf_cpu_test does, must not make
 * a test fail.
 *
 * Return: true for -ENOSPC, after sleeping for a millisecond, until the retries
 * of this program are used up.
 */
bool retry_on_enospc(int err)
{
	if (err != -ENOSPC ||
	    __atomic_sub_fetch(&shared->slot_retries, 1, __ATOMIC_RELAXED) < 0)
		return false;
	poll(NULL, 0, 1);
	return true;
}

/**
 * pin_to_cpu() - restrict a thread to one CPU
 * @tid: thread; 0 for the caller
 * @cpu: CPU number
 *
 * Return: 0 or a negative errno.
 */
int pin_to_cpu(pid_t tid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(tid, sizeof(set), &set) ? -errno : 0;
}

/**
 * allowed_cpus() - list the CPUs that this process may use, of the first 1,024
 * @cpus: filled with their numbers
 * @max: room in @cpus
 *
 * Return: the number of CPUs stored, at least 1, or a negative errno.
 */
int allowed_cpus(int *cpus, int max)
{
	cpu_set_t set[8];	/* 8,192 CPUs, the most of NR_CPUS */
	int cpu, n = 0;

	if (sched_getaffinity(0, sizeof(set), set))
		return -errno;
	for (cpu = 0; cpu < CPU_SETSIZE && n < max; cpu++)
		if (CPU_ISSET(cpu, set))
			cpus[n++] = cpu;
	return n ? n : -EINVAL;
}

/*
 * Every child dies with its parent, and a test dies with the harness, so a test
 * that is killed leaves no process behind.  PTRACE_O_EXITKILL does the same for
 * tracees, but only once the tracer has set it.  A child that must outlive its
 * parent clears its PDEATHSIG.
 */
static pid_t forking_pid;

static void before_fork(void)
{
	forking_pid = getpid();
}

static void in_child_after_fork(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != forking_pid)
		_exit(1);
}

/* No core files either: some tracees are expected to die of SIGTRAP */
static void __attribute__((constructor)) init_cleanup(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	pthread_atfork(before_fork, NULL, in_child_after_fork);
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

/* Attach to @t, which is waiting for page->go, and leave it stopped */
static int tracer_attach(struct tracee *t, enum tracee_how how)
{
	struct tracee_page *page;
	int status, sig = SIGSTOP;

	if (how == TRACEE_TRACEME) {
		if (watchdog_wait(t->tid, &status) != t->tid)
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
	if (watchdog_wait(t->tid, &status) != t->tid || !WIFSTOPPED(status) ||
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
 * @t: body must be set, arg, describe and id may be; the rest is filled in
 * @how: how to attach
 *
 * On return the child is stopped before it calls its body, with nothing armed.
 * It dies with the calling thread.
 *
 * Return: 0 or a negative errno.  -EPERM and -ENOSYS mean that the environment
 * does not allow tracing, see skip_if_refused().
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
 * tracee_adopt() - set up a struct tracee for a thread that is traced already
 * @t: as for tracee_start(), but body is not used
 * @tid: a thread that the caller traces
 *
 * A thread that counts its progress in shared memory needs @t->progress to point
 * there beforehand.
 *
 * Return: 0 or a negative errno.
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
 * tracee_stop() - kill and reap a tracee
 * @t: tracee; may have ended already
 *
 * A process whose other threads are traced, but were not adopted, cannot be reaped:
 * it is left to the end of the test.
 */
void tracee_stop(struct tracee *t)
{
	int status;

	if (t->tid > 0) {
		kill(t->tid, SIGKILL);
		/* It may stop once more, for PTRACE_O_TRACEEXIT */
		while (watchdog_wait(t->tid, &status) == t->tid && WIFSTOPPED(status))
			ptrace(PTRACE_CONT, t->tid, NULL, NULL);
	}
	t->tid = 0;
	if (t->progress)
		munmap(t->progress, sizeof(struct tracee_page));
	t->progress = NULL;
	t->cpu = NULL;
}

/**
 * tracee_sync() - stop the calling tracee
 *
 * The thread sends itself a SIGSTOP.  The tracer sees a signal-delivery-stop,
 * see tracee_expect_sync(), and suppresses the signal.
 */
void tracee_sync(void)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
}

/**
 * tracee_peek() - read a debug register
 * @t: stopped tracee
 * @n: 0 to 7
 * @val: its value
 *
 * Return: 0 or a negative errno.
 */
int tracee_peek(struct tracee *t, unsigned int n, unsigned long *val)
{
	errno = 0;
	*val = ptrace(PTRACE_PEEKUSER, t->tid, dr_offset(n), NULL);
	return -errno;
}

/* Whether tracee_poke() retries on -ENOSPC; cleared by tests of the refusal */
bool tracee_retries_enospc = true;

/**
 * tracee_poke() - write a debug register
 * @t: stopped tracee
 * @n: 0 to 7
 * @val: value
 *
 * Return: 0 or a negative errno; -ENOSPC only once the retries of
 * retry_on_enospc() are used up.
 */
int tracee_poke(struct tracee *t, unsigned int n, unsigned long val)
{
	int err;

	do {
		err = 0;
		if (ptrace(PTRACE_POKEUSER, t->tid, dr_offset(n), val))
			err = -errno;
	} while (tracee_retries_enospc && retry_on_enospc(err));
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
 * Return: 0 or a negative errno.
 */
int tracee_poke_addr(struct tracee *t, unsigned int slot, const void *addr)
{
	return tracee_poke(t, slot, (unsigned long)addr);
}

/**
 * tracee_arm() - arm one slot
 * @t: stopped tracee
 * @slot: 0 to 3; may be armed already
 * @type: what trips it
 * @len: 1, 2, 4 or 8 bytes; 1 for BP_EXECUTE
 * @addr: aligned to @len
 *
 * Disables the slot, writes the address, and enables the slot again.
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
 * Return: 0 or a negative errno.
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
 * Return: 0 or a negative errno.
 */
int tracee_disarm_all(struct tracee *t)
{
	return tracee_poke(t, 7, 0);
}

/**
 * tracee_resume() - resume a stopped tracee
 * @t: stopped tracee
 * @request: PTRACE_CONT, PTRACE_SINGLESTEP, PTRACE_SYSCALL, ...
 * @sig: signal to deliver, 0 for none
 *
 * Return: 0 or a negative errno.
 */
int tracee_resume(struct tracee *t, int request, int sig)
{
	return ptrace(request, t->tid, NULL, sig) ? -errno : 0;
}

/**
 * tracee_cont() - continue a stopped tracee, with no signal
 * @t: stopped tracee
 *
 * Return: 0 or a negative errno.
 */
int tracee_cont(struct tracee *t)
{
	return tracee_resume(t, PTRACE_CONT, 0);
}

/* Fill in @s for @t, whose wait status is in s->status */
static void read_event(struct tracee *t, struct stop *s)
{
	unsigned int i = t->events++ % TRACEE_EVENTS;

	t->log[i].time = monotonic_ns();
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
	t->log[i].cpu = t->cpu ? *t->cpu : -1;
	t->log[i].status = s->status;
	t->log[i].ip = s->ip;
	t->log[i].dr6 = s->dr6;
	t->log[i].progress = s->progress;
}

/**
 * tracee_wait() - wait for the next event of one tracee
 * @t: running tracee
 * @s: filled in
 *
 * Return: 0; 1 after a report if the wait expired or there is no tracee.
 */
int tracee_wait(struct tracee *t, struct stop *s)
{
	unsigned int seconds = watchdog_seconds();
	pid_t pid = watchdog_wait(t->tid, &s->status);

	if (!pid)
		tracee_report(t, NULL,
			      "no event for %u s: a trap was lost or the tracee hangs",
			      seconds);
	else if (pid != t->tid)
		tracee_report(t, NULL, "cannot wait for the tracee: %s",
			      strerror(errno));
	if (pid != t->tid)
		return 1;
	read_event(t, s);
	return 0;
}

/**
 * tracee_wait_trap() - tracee_wait() for a trap that may be missed
 * @t: running tracee; its access number grows
 * @s: filled in
 * @progress: the access number of the trap
 *
 * A tracee that has missed a trap may run on for ever, or block.  If its access
 * number exceeds @progress while it is waited for, the watchdog stops it with a
 * SIGSTOP.
 *
 * Return: as tracee_wait().
 */
int tracee_wait_trap(struct tracee *t, struct stop *s, unsigned long progress)
{
	int err;

	watchdog_expect(t, progress);
	err = tracee_wait(t, s);
	watchdog_expect(NULL, 0);
	return err;
}

/**
 * tracee_wait_any() - wait for the next event of any of several tracees
 * @set: the tracees; no other child of the caller ends meanwhile
 * @n: how many
 * @s: filled in
 *
 * Return: the tracee that had the event; NULL after a report if the wait expired
 * or the event is of an unknown thread.
 */
struct tracee *tracee_wait_any(struct tracee *set, unsigned int n,
			       struct stop *s)
{
	static __thread unsigned int next;
	unsigned int i, tries, seconds = watchdog_seconds();
	pid_t pid = 0;

	/*
	 * Events mostly arrive in turn, and waitpid(-1) scans all children: with
	 * many tracees it is faster to poll the next ones first.
	 */
	for (tries = 0; tries < WAIT_TRIES && pid <= 0; tries++) {
		next = (next + 1) % n;
		if (set[next].tid > 0)
			pid = waitpid(set[next].tid, &s->status, __WALL | WNOHANG);
	}
	if (pid <= 0)
		pid = watchdog_wait(-1, &s->status);

	for (i = 0; i < n && pid > 0; i++, next = (next + 1) % n) {
		if (set[next].tid == pid) {
			read_event(&set[next], s);
			return &set[next];
		}
	}
	if (pid > 0 && WIFSIGNALED(s->status))
		tracee_report(NULL, NULL, "unknown thread %d was killed by signal %d", pid,
			      WTERMSIG(s->status));
	else if (pid > 0)
		tracee_report(NULL, NULL, "event %#x of unknown thread %d",
			      s->status, pid);
	else
		tracee_report(NULL, NULL,
			      "no event for %u s (%d): a trap was lost or the tracees hang",
			      seconds, pid);
	for (i = 0; i < n; i++)
		if (set[i].tid > 0)
			tracee_report(&set[i], NULL, "still waited for");
	return NULL;
}

/* @mem may be unaligned */
static unsigned long long read_mem(const void *mem, unsigned int size)
{
	unsigned long long value = 0;

	memcpy(&value, mem, size);
	return value;
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

/* An event other than the expected one, which was no trap */
static const char *count_other(struct tracee *t, const struct stop *s)
{
	if (WIFSTOPPED(s->status) && WSTOPSIG(s->status) == SIGTRAP)
		return count_unexpected(t);
	t->wrong++;
	return "wrong event";
}

/* Called if a trap of a type is expected that never fires here; may be NULL */
void (*tracee_on_dead_type)(void);

/* The types of the slots that must be hit, for firing_dead() */
static unsigned int types_of(struct tracee *t, unsigned int slots)
{
	unsigned int i, types = 0;
	unsigned long dr7 = t->dr7;

	for (i = 0; i < DR_SLOTS; i++) {
		if (!(slots & 1U << i))
			continue;
		/* Not armed through tracee_poke(), for instance before an execve() */
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
 * tracee_check_trap() - check that an event is the expected trap
 * @t: stopped tracee
 * @s: its last event
 * @want: the expected trap
 *
 * Checks SIGTRAP, si_code TRAP_HWBKPT or, with a step, TRAP_TRACE
 * (get_si_code() in arch/x86/include/asm/traps.h), si_addr equal to ip
 * (send_sigtrap() in arch/x86/kernel/ptrace.c), DR6, ip, progress and memory.
 * tracee_on_dead_type() is called instead if a slot is of a type that never
 * fires on this machine.
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
 * tracee_check_sync() - check that an event is the expected tracee_sync()
 * @t: stopped tracee
 * @s: its last event
 * @progress: the access number that it must have reached
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
		      "%s: expected tracee_sync() after access %lu",
		      count_other(t, s), progress);
	return 1;
}

/**
 * tracee_check_exit() - check that a tracee has exited with code 0
 * @t: tracee
 * @s: its last event
 *
 * Return: 0; 1 after a report.
 */
int tracee_check_exit(struct tracee *t, const struct stop *s)
{
	if (WIFEXITED(s->status) && !WEXITSTATUS(s->status))
		return 0;

	tracee_report(t, s, "%s: expected exit with code 0",
		      count_other(t, s));
	return 1;
}

/**
 * tracee_expect_trap() - continue, and expect exactly one trap
 * @t: stopped tracee
 * @want: the expected trap
 *
 * Return: 0; 1 after a report.
 */
int tracee_expect_trap(struct tracee *t, const struct trap *want)
{
	/* Some tracees repeat their accesses under the same numbers */
	bool grows = *t->progress <= want->progress;
	struct stop s;
	int err;

	check_type_fires(t, want);
	if (tracee_cont(t)) {
		tracee_report(t, NULL, "cannot continue: %s", strerror(errno));
		return 1;
	}
	err = grows ? tracee_wait_trap(t, &s, want->progress) :
		      tracee_wait(t, &s);
	return err ? err : tracee_check_trap(t, &s, want);
}

/**
 * tracee_expect_hit() - tracee_expect_trap() without a check of memory
 * @t: stopped tracee
 * @slots: the slots that DR6 must show, bit n for DRn
 * @ip: the expected ip
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
 * tracee_expect_sync() - continue, and expect no trap before a tracee_sync()
 * @t: stopped tracee
 * @progress: the access number that it must have reached
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
 * tracee_expect_exit() - continue, and expect no trap before the exit
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
