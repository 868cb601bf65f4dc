/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's harness, and the rules by which the tests here are skipped.
 */
#ifndef HW_BREAKPOINT_HARNESS_H
#define HW_BREAKPOINT_HARNESS_H

#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest.h"
#include "environment.h"
#include "skip.h"
#include "slot_count.h"
#include "tracee.h"

static inline void print_header(void);

/* The harness forms the full name of a test only to announce it */
static inline void __attribute__((format(printf, 1, 2)))
print_msg(const char *fmt, ...)
{
	char line[256], name[TEST_NAME_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (sscanf(line, " RUN %127s", name) == 1)
		memcpy(test_name, name, sizeof(name));
	ksft_print_msg("%s", line);
}

#define ksft_print_header print_header
#define ksft_print_msg print_msg
#include "kselftest_harness.h"
#undef ksft_print_header
#undef ksft_print_msg

/* Mainline's harness waits with a pidfd; those before it, with setjmp.h, do not */
#ifdef setjmp
#define HARNESS_USES_PIDFD	false
#else
#define HARNESS_USES_PIDFD	true
#endif

/* The lines about the environment follow the harness's own header */
static inline void print_header(void)
{
	/* Whole lines, also of a program that is killed; a rule before 6.8 only here */
	setvbuf(stdout, NULL, _IOLBF, 0);
	ksft_print_header();
	print_environment();
	if (HARNESS_USES_PIDFD && !environment_has_pidfd())
		ksft_exit_skip(SKIP_REFUSED "\n", "pidfd_open");
	if (slots_taken_by_others())
		ksft_exit_skip(SKIP_SLOTS_TAKEN "\n");
}

/* The assertions' messages begin with that name, as those of test_err() do */
#undef __TH_LOG
#define __TH_LOG(fmt, ...)						\
	fprintf(TH_LOG_STREAM, "# %s: %s:%d: " fmt "\n", test_name,	\
		__FILE__, __LINE__, ##__VA_ARGS__)

#include "firing.h"
#include "watchdog.h"

/*
 * Not 30 s: at nice 19 beside busy loops a test gets a hundredth of a CPU, and is
 * right to take longer.  For a tracee that hangs there is the watchdog.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

/* Exit code of a skipped test; before 6.9 (no XFAIL_ADD()) it was another one */
#ifdef XFAIL_ADD
#define EXIT_SKIPPED	KSFT_SKIP
#else
#define EXIT_SKIPPED	255
#endif

/*
 * KNOWN_ISSUE(return, "title"): a known bug of the kernel, recognized by exactly
 * the wrong behaviour that is known; anything else remains a failure.  Harnesses
 * before 6.9 (no XFAIL_ADD()) cannot report it, and skip.
 */
#ifdef XFAIL_ADD
#define KNOWN_ISSUE(statement, title) do {				\
	snprintf(_metadata->results->reason,				\
		 sizeof(_metadata->results->reason), "%s", title);	\
	_metadata->exit_code = KSFT_XFAIL;				\
	_metadata->trigger = 0;						\
	statement;							\
} while (0)
#else
#define KNOWN_ISSUE(statement, title)	SKIP(statement, "known: %s", title)
#endif

/* The running test and its process: a child that it forks cannot skip it */
static struct __test_metadata *running_test;
static pid_t running_pid;

static void skip_running_test(void)
{
	struct __test_metadata *_metadata = running_test;

	if (getpid() == running_pid)
		SKIP(_exit(EXIT_SKIPPED), SKIP_NEVER_FIRES);
}

/* Lets functions without _metadata skip the test */
static inline void set_running_test(struct __test_metadata *_metadata)
{
	running_test = _metadata;
	running_pid = getpid();
	tracee_on_dead_type = skip_running_test;
}

/**
 * skip_if_dead() - skip a test that needs a type that never fires here
 * @_metadata: the test's
 * @by: interface through which it sets breakpoints
 * @types: set of NEEDS_EXECUTE, NEEDS_WRITE and NEEDS_RW
 *
 * For tests that check stops or counts themselves, and for tests whose tracers
 * are child processes.  tracee_expect_trap() and the like skip the test that
 * calls them.
 */
static inline void skip_if_dead(struct __test_metadata *_metadata,
				enum firing_by by, unsigned int types)
{
	set_running_test(_metadata);
	if (firing_dead(by, types))
		skip_running_test();
}

/**
 * skip_if_few_processes() - skip a test that may not create as many as it needs
 * @_metadata: the test's
 * @err: negative errno of fork(), clone() or what calls them, or anything else
 *
 * Both fail with EAGAIN beyond RLIMIT_NPROC and pids.max (copy_process() in
 * kernel/fork.c, cgroup_can_fork()).
 */
static inline void skip_if_few_processes(struct __test_metadata *_metadata, int err)
{
	if (err == -EAGAIN)
		SKIP(_exit(EXIT_SKIPPED), SKIP_REFUSED, "more processes");
}

/**
 * fork_or_skip() - fork(), or skip the test as skip_if_few_processes() does
 * @_metadata: the test's
 *
 * Return: as of fork(); any other error fails the test.
 */
static inline pid_t fork_or_skip(struct __test_metadata *_metadata)
{
	pid_t pid = fork();

	skip_if_few_processes(_metadata, pid < 0 ? -errno : 0);
	ASSERT_LE(0, pid);
	return pid;
}

/**
 * skip_if_refused() - skip a test if the environment does not permit a call
 * @_metadata: the test's
 * @err: return value of tracee_start() or the like
 * @what: the call, for the SKIP reason
 *
 * Seccomp, Yama and containers refuse ptrace and perf with EPERM, EACCES or
 * ENOSYS: then the test is skipped, and as by skip_if_few_processes().  Any other
 * error fails it.
 *
 * A skipped test exits here: after a SKIP() in FIXTURE_SETUP() the harness of 6.1
 * would still run it.
 */
static inline void skip_if_refused(struct __test_metadata *_metadata, int err,
				   const char *what)
{
	set_running_test(_metadata);
	if (refused(err))
		SKIP(_exit(EXIT_SKIPPED), SKIP_REFUSED, what);
	skip_if_few_processes(_metadata, err);
	ASSERT_EQ(0, err) {
		TH_LOG("%s: %s", what, strerror(-err));
	}
}

/**
 * skip_if_no_changes() - skip a test that changes the state of the whole system
 * @_metadata: the test's
 *
 * See environment_may_change().
 */
static inline void skip_if_no_changes(struct __test_metadata *_metadata)
{
	if (!environment_may_change())
		SKIP(_exit(EXIT_SKIPPED), SKIP_NO_CHANGES);
}

/**
 * start_tracee() - tracee_start(), or skip the test
 * @_metadata: the test's
 * @t: as for tracee_start()
 * @how: as for tracee_start()
 */
static inline void start_tracee(struct __test_metadata *_metadata, struct tracee *t,
				enum tracee_how how)
{
	skip_if_refused(_metadata, tracee_start(t, how), "ptrace");
}

/**
 * skip_without_futex() - skip a test if pthread_join() cannot work
 * @_metadata: the test's
 *
 * 32-bit programs need CONFIG_COMPAT_32BIT_TIME for futex(2); without it glibc
 * aborts with "The futex facility returned an unexpected error code".
 */
static inline void skip_without_futex(struct __test_metadata *_metadata)
{
	int word = 0;

	if (syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 &&
	    errno == ENOSYS)
		SKIP(_exit(EXIT_SKIPPED), SKIP_NOT_BUILT_IN);
}

static inline void do_nothing(struct tracee *t)
{
	(void)t;
}

/**
 * skip_if_cannot_trace() - skip a test whose tracers are child processes
 * @_metadata: the test's
 *
 * Only the test process can skip, so it checks beforehand that tracing is
 * permitted and that all types of breakpoint fire.
 */
static inline void skip_if_cannot_trace(struct __test_metadata *_metadata)
{
	struct tracee t = { .body = do_nothing };

	skip_if_dead(_metadata, BY_PTRACE, NEEDS_ALL);
	start_tracee(_metadata, &t, TRACEE_SEIZE);
	tracee_stop(&t);
}

/**
 * expect_no_slot_leaked() - check that all slots are free, if that can be checked
 * @_metadata: the test's
 *
 * Skips the test if other processes use breakpoints; passes if breakpoints on
 * CPUs are not permitted.
 */
static inline void expect_no_slot_leaked(struct __test_metadata *_metadata)
{
	int cpus[64], err = all_slots_free(cpus, allowed_cpus(cpus, 64));

	if (err == -EBUSY)
		SKIP(_exit(EXIT_SKIPPED), SKIP_SLOTS_TAKEN);
	ASSERT_NE(-ENOSPC, err) {
		TH_LOG("slots are in use without a tracee or an event: leaked,");
		TH_LOG("or still armed in a thread that was traced before");
	}
}

#endif /* HW_BREAKPOINT_HARNESS_H */
