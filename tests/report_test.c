// SPDX-License-Identifier: GPL-2.0
/*
 * Regression test for "x86: Hardware breakpoints are not always triggered"
 * (linux-kernel, January 2016; CRIU issue 107; fixed by 172b2386ed16 and
 * 70e4da7a8ff6).
 *
 * A checkpointing tool armed an execute breakpoint in DR0 of a looping child.  In
 * a KVM guest the breakpoint was sometimes missed although DR0 and DR7 read back
 * correctly.  Reproducing it took two instances with different addresses on one
 * machine: KVM did not reload the guest's debug registers after a vCPU load, so
 * the CPU still had those of the other instance.
 *
 * The tracer stores the iteration number at each stop, and the child checks it
 * after each execution of the watched instruction.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "environment.h"
#include "harness.h"
#include "probes.h"

#define ITERATIONS	1000

/* Two addresses, as in the report: adjacent nops */
DECLARE_PROBE(report_loop);
DEFINE_PROBE(report_loop, "", "nop", "nop");

static void run_and_check(struct tracee *t)
{
	unsigned int n = iterations(ITERATIONS);
	unsigned long *stored = t->arg;
	unsigned long i;

	for (i = 1; i <= n; i++) {
		*t->progress = i;
		report_loop(NULL, 0);
		if (__atomic_load_n(stored, __ATOMIC_RELAXED) != i)
			_exit(1);
	}
}

/* Trace one child through all its iterations */
static int trace_report(enum tracee_how how, const char *addr, unsigned int id)
{
	unsigned long *stored = shared_alloc(sizeof(*stored));
	struct tracee t = {
		.body = run_and_check, .arg = stored, .id = id,
	};
	unsigned int n = iterations(ITERATIONS);
	unsigned long i;
	int err;

	err = tracee_start(&t, how);
	if (err)
		return err;

	err = tracee_arm(&t, 0, BP_EXECUTE, 1, addr);
	for (i = 1; !err && i <= n; i++) {
		err = tracee_expect_hit(&t, 1, addr, i);
		__atomic_store_n(stored, i, __ATOMIC_RELAXED);
	}
	if (!err)
		err = tracee_expect_exit(&t);
	tracee_stop(&t);
	return err;
}

FIXTURE(report) {
};

FIXTURE_VARIANT(report) {
	enum tracee_how how;
};

FIXTURE_VARIANT_ADD(report, traceme) {
	.how = TRACEE_TRACEME,
};

FIXTURE_VARIANT_ADD(report, attach) {
	.how = TRACEE_ATTACH,
};

FIXTURE_VARIANT_ADD(report, seize) {
	.how = TRACEE_SEIZE,
};

FIXTURE_SETUP(report)
{
}

FIXTURE_TEARDOWN(report)
{
}

TEST_F(report, every_execution_traps)
{
	skip_if_dead(_metadata, BY_PTRACE, NEEDS_EXECUTE);
	skip_if_refused(_metadata, trace_report(variant->how, report_loop_at, 0),
			"ptrace");
}

/* With a second tracer and child, which use the other address, on the same CPU */
TEST_F(report, every_execution_traps_beside_second_tracer)
{
	int cpu, err, status;
	pid_t other;

	skip_if_dead(_metadata, BY_PTRACE, NEEDS_EXECUTE);
	ASSERT_EQ(1, allowed_cpus(&cpu, 1));
	ASSERT_EQ(0, pin_to_cpu(0, cpu));

	other = fork();
	ASSERT_LE(0, other);
	if (!other)
		_exit(!!trace_report(variant->how, report_loop_next, 1));

	err = trace_report(variant->how, report_loop_at, 0);
	ASSERT_EQ(other, waitpid(other, &status, 0));
	skip_if_refused(_metadata, err, "ptrace");
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
