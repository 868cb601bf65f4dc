// SPDX-License-Identifier: GPL-2.0
/*
 * Waits that end: see watchdog.h.
 *
 * A timer of the tracer interrupts a waitpid() that has seen no event for
 * watchdog_seconds(), so that the tracer can report what it was waiting for.
 * SIGALRM belongs to the harness.  A POSIX timer is not inherited by fork(), so
 * every tracer starts its own together with its first tracee.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tracee.h"
#include "watchdog.h"

#define TICK		1	/* seconds */
#define TICK_SIGNAL	(SIGRTMAX - 1)

/* timer_create(2); glibc has no name for it */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id	_sigev_un._tid
#endif

/* Shared by all processes of a program */
static unsigned int *seconds;

static __thread struct {
	pid_t tid;
	int waiting;
	unsigned int ticks;
	sigjmp_buf expired;
	const struct tracee *expects;
	unsigned long progress;
} watchdog;

static void __attribute__((constructor)) init_watchdog(void)
{
	seconds = shared_alloc(sizeof(*seconds));
	*seconds = getenv("HW_BREAKPOINT_WAIT_EXPIRED") ? WATCHDOG_LATER :
							  WATCHDOG_FIRST;
}

/**
 * watchdog_seconds() - time without an event after which a wait fails
 *
 * Return: WATCHDOG_FIRST, WATCHDOG_LATER or WATCHDOG_SHORT.
 */
unsigned int watchdog_seconds(void)
{
	return __atomic_load_n(seconds, __ATOMIC_RELAXED);
}

/**
 * watchdog_expired() - to be called when a wait has failed
 *
 * Shortens the later waits of all processes of this program.  run_tests.sh
 * looks for the line that this prints, and sets HW_BREAKPOINT_WAIT_EXPIRED for
 * the programs that follow.
 */
void watchdog_expired(void)
{
	driver_msg("wait expired after %u s", watchdog_seconds());
	__atomic_store_n(seconds, WATCHDOG_SHORT, __ATOMIC_RELAXED);
}

static void tick(int sig)
{
	const struct tracee *t = watchdog.expects;

	(void)sig;
	if (!__atomic_load_n(&watchdog.waiting, __ATOMIC_RELAXED))
		return;
	if (t && __atomic_load_n(t->progress, __ATOMIC_RELAXED) >
	    watchdog.progress) {
		syscall(SYS_tkill, t->tid, SIGSTOP);
		watchdog.expects = NULL;
	}
	if (++watchdog.ticks > watchdog_seconds() / TICK) {
		watchdog.waiting = 0;
		siglongjmp(watchdog.expired, 1);
	}
}

static void on_cpu_limit(int sig)
{
	(void)sig;
	test_err("used up its CPU time: is a breakpoint hit for ever?");
	watchdog_expired();
	_exit(EXIT_FAILURE);
}

/**
 * watchdog_limit_cpu() - end this process and its children if they loop
 *
 * For processes that hit breakpoints without a tracer: if RF is not set, an execute
 * breakpoint is hit for ever.  A test needs a fraction of a second.
 */
void watchdog_limit_cpu(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_CPU, &limit);
	limit.rlim_cur = 1 + watchdog_seconds() / 4;
	if (limit.rlim_cur < limit.rlim_max && !setrlimit(RLIMIT_CPU, &limit))
		signal(SIGXCPU, on_cpu_limit);
}

/**
 * watchdog_start() - start the timer of the calling thread, once
 *
 * Return: 0 or a negative errno.
 */
int watchdog_start(void)
{
	struct itimerspec interval = {
		.it_value.tv_sec = TICK,
		.it_interval.tv_sec = TICK,
	};
	struct sigaction action = {
		.sa_handler = tick,
		.sa_flags = SA_RESTART,
	};
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = TICK_SIGNAL,
	};
	pid_t tid = syscall(SYS_gettid);
	timer_t timer;

	if (watchdog.tid == tid)
		return 0;

	event.sigev_notify_thread_id = tid;
	if (sigaction(TICK_SIGNAL, &action, NULL) ||
	    timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &interval, NULL))
		return -errno;

	watchdog.tid = tid;
	watchdog.waiting = 0;
	return 0;
}

/**
 * watchdog_expect() - stop a tracee that has missed a trap
 * @t: tracee that the next watchdog_wait() waits for; its access number grows.
 *	NULL ends this
 * @progress: the access number of the trap
 *
 * Once the access number of @t exceeds @progress, @t gets a SIGSTOP.
 */
void watchdog_expect(const struct tracee *t, unsigned long progress)
{
	watchdog.expects = NULL;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	watchdog.progress = progress;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	watchdog.expects = t;
}

/**
 * watchdog_wait() - waitpid() for any kind of child, which may expire
 * @pid: as for waitpid()
 * @status: filled in
 *
 * Return: as waitpid(); 0 if there was no event for watchdog_seconds().
 */
pid_t watchdog_wait(pid_t pid, int *status)
{
	pid_t got;

	if (sigsetjmp(watchdog.expired, 0)) {
		sigset_t set;

		watchdog_expired();
		/* siglongjmp() has left the handler: its signal is still blocked */
		sigemptyset(&set);
		sigaddset(&set, TICK_SIGNAL);
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
