/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's harness, with what all tests here add to it.
 */
#ifndef HW_BREAKPOINT_HARNESS_H
#define HW_BREAKPOINT_HARNESS_H

#include <errno.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "firing.h"
#include "slots.h"
#include "tracee.h"

/*
 * No verdict depends on time.  A loaded or emulated machine may be slow, and
 * a tracee that hangs is reported by the watchdog of tracee.c long before.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

/*
 * What a skipped test exits with.  Trees that have no XFAIL_ADD() yet, before
 * 6.9, tell by another status.
 */
#ifdef XFAIL_ADD
#define EXIT_SKIPPED	KSFT_SKIP
#else
#define EXIT_SKIPPED	255
#endif

/* The test that this process runs: a process forked by it cannot skip it */
static struct __test_metadata *running_test;
static pid_t running_pid;

static void skip_running_test(void)
{
	struct __test_metadata *_metadata = running_test;

	if (getpid() == running_pid)
		SKIP(_exit(EXIT_SKIPPED), FIRING_SKIP);
}

/* For skip_if_dead() and the like where there is no _metadata at hand */
static inline void this_test_runs(struct __test_metadata *_metadata)
{
	running_test = _metadata;
	running_pid = getpid();
	tracee_on_dead_type = skip_running_test;
}

/**
 * skip_if_dead() - skip a test that needs a type that never fires here
 * @_metadata: the test's
 * @by: how it asks for breakpoints
 * @types: NEEDS_EXECUTE and the like
 *
 * For tests that look at stops or counts themselves, and for those whose
 * tracers are processes of their own.  Where tracee_expect_trap() and its kin
 * are called by the test itself they skip it.
 */
static inline void skip_if_dead(struct __test_metadata *_metadata,
				enum firing_by by, unsigned int types)
{
	this_test_runs(_metadata);
	if (firing_dead(by, types))
		skip_running_test();
}

/**
 * may_go_on() - an environment that cannot trace is not a failure
 * @_metadata: the test's
 * @err: what tracee_start() or the like returned
 * @what: what was tried
 *
 * EPERM, EACCES and the errno of a missing system call are how seccomp, Yama
 * and containers refuse ptrace and perf: the test is skipped.  Any other
 * error fails it at once.
 *
 * A skipped test ends right here: after a SKIP() in FIXTURE_SETUP() the harness
 * of 6.1 would go on with it.
 *
 * Return: true; false, for compilers, where the test is skipped.
 */
static inline bool may_go_on(struct __test_metadata *_metadata, int err,
			     const char *what)
{
	this_test_runs(_metadata);
	if (err == -EPERM || err == -EACCES || err == -ENOSYS)
		SKIP(_exit(EXIT_SKIPPED), "%s: %s", what, strerror(-err));
	ASSERT_EQ(0, err) {
		TH_LOG("%s: %s", what, strerror(-err));
	}
	return true;
}

/**
 * start() - tracee_start(), or skip
 * @_metadata: the test's
 * @t: as for tracee_start()
 * @how: as for tracee_start()
 *
 * Return: false where the test is skipped and has to return.
 */
static inline bool start(struct __test_metadata *_metadata, struct tracee *t,
			 enum tracee_how how)
{
	return may_go_on(_metadata, tracee_start(t, how), "ptrace");
}

/**
 * skip_without_futex() - skip a test whose threads glibc could not join
 * @_metadata: the test's
 *
 * 32-bit programs need CONFIG_COMPAT_32BIT_TIME for the system call of that
 * name; without it glibc aborts: "The futex facility returned an unexpected
 * error code".
 */
static inline void skip_without_futex(struct __test_metadata *_metadata)
{
	int word = 0;

	if (syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 &&
	    errno == ENOSYS)
		SKIP(_exit(EXIT_SKIPPED), "no futex system call (CONFIG_COMPAT_32BIT_TIME)");
}

static inline void do_nothing(struct tracee *t)
{
	(void)t;
}

/**
 * can_trace() - for tests whose tracers are processes of their own
 * @_metadata: the test's
 *
 * Only the test itself can skip, so it has to find out beforehand.  Their
 * tracees use all types of breakpoint.
 *
 * Return: false where the test is skipped and has to return.
 */
static inline bool can_trace(struct __test_metadata *_metadata)
{
	struct tracee t = { .body = do_nothing };

	skip_if_dead(_metadata, BY_PTRACE, NEEDS_ALL);
	if (!start(_metadata, &t, TRACEE_SEIZE))
		return false;
	tracee_stop(&t);
	return true;
}

/**
 * expect_slots_free() - that nothing was lost, as far as one can tell
 * @_metadata: the test's
 *
 * Skips where others have breakpoints; passes where CPUs cannot be asked.
 */
static inline void expect_slots_free(struct __test_metadata *_metadata)
{
	int cpus[64], err = slots_all_free(cpus, allowed_cpus(cpus, 64));

	if (err == -EBUSY)
		SKIP(_exit(EXIT_SKIPPED), "others have breakpoints");
	ASSERT_NE(-ENOSPC, err) {
		TH_LOG("slots are counted that no tracee and no event has: lost,");
		TH_LOG("or still armed in a thread that was traced once");
	}
}

#endif /* HW_BREAKPOINT_HARNESS_H */
