// SPDX-License-Identifier: GPL-2.0
/*
 * The report that this suite began with: "x86: Hardware breakpoints are not
 * always triggered" (linux-kernel, January 2016; CRIU issue 107).
 *
 * A checkpointing tool puts an execute breakpoint into DR0 of a looping child
 * and waits for it.  In a KVM guest the child now and then ran straight
 * through, while DR0 and DR7 read back right.  It took two reproducers with
 * different addresses side by side: the registers of the one had to be left
 * behind in the CPU by the other (KVM loaded them no more after the vCPU was
 * loaded; upstream 172b2386ed16 and 70e4da7a8ff6).
 *
 * Here the parent plants a number at each stop, and the child proves that it
 * was planted before it went by.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "probes.h"

#define VISITS	2000

/* Two addresses, as in the report: neighbours in one block of nops */
DECLARE_PROBE(report_loop);
DEFINE_PROBE(report_loop, "", "nop", "nop");

struct planted {
	unsigned long number;
};

static void visit_and_check(struct tracee *t)
{
	struct planted *planted = t->arg;
	unsigned long i;

	for (i = 1; i <= VISITS; i++) {
		*t->progress = i;
		report_loop(NULL, 0);
		if (__atomic_load_n(&planted->number, __ATOMIC_RELAXED) != i)
			_exit(1);
	}
}

/* Trace one child through all its visits */
static int trace_report(enum tracee_how how, const char *addr, unsigned int id)
{
	struct planted *planted = shared_alloc(sizeof(*planted));
	struct tracee t = {
		.body = visit_and_check, .arg = planted, .id = id,
	};
	unsigned long i;
	int err;

	err = tracee_start(&t, how);
	if (err)
		return err;

	err = tracee_arm(&t, 0, BP_EXECUTE, 1, addr);
	for (i = 1; !err && i <= VISITS; i++) {
		err = tracee_expect_hit(&t, 1, addr, i);
		__atomic_store_n(&planted->number, i, __ATOMIC_RELAXED);
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

TEST_F(report, never_passed_by)
{
	skip_if_dead(_metadata, BY_PTRACE, NEEDS_EXECUTE);
	may_go_on(_metadata, trace_report(variant->how, report_loop_at, 0),
		  "trace a looping child");
}

/* Company: a second reproducer with the other address, on the same CPU */
TEST_F(report, never_passed_by_in_company)
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
	if (may_go_on(_metadata, err, "trace a looping child"))
		EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
