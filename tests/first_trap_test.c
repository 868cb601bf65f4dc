// SPDX-License-Identifier: GPL-2.0
/*
 * Whether hardware breakpoints work on this machine at all.
 *
 * That a breakpoint is accepted proves nothing: several hypervisors accept every
 * breakpoint, return it when it is read back, and never deliver a #DB.  Here each
 * type that never fires is one failure; tests in other programs that need such a
 * type are skipped.
 */
#include "harness.h"
#include "perf_event.h"
#include "probes.h"

static unsigned int word;
static unsigned long sink;

static void access_each_once(struct tracee *t)
{
	unsigned long *shared = t->arg;

	*t->progress = 1;
	probe_call_target(0, shared, 1);
	*t->progress = 2;
	probe_load4(&shared[1], 0);
	*t->progress = 3;
	probe_store4(&shared[1], 2);
	*t->progress = 4;
	tracee_sync();
}

FIXTURE(first_trap) {
	struct tracee t;
	unsigned long *shared;
};

FIXTURE_VARIANT(first_trap) {
	enum firing_by by;
};

FIXTURE_VARIANT_ADD(first_trap, ptrace) {
	.by = BY_PTRACE,
};

FIXTURE_VARIANT_ADD(first_trap, perf) {
	.by = BY_PERF,
};

FIXTURE_SETUP(first_trap)
{
	if (variant->by == BY_PERF) {
		skip_if_perf_refused(_metadata);
		return;
	}
	self->shared = shared_alloc(2 * sizeof(*self->shared));
	self->t.body = access_each_once;
	self->t.arg = self->shared;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(first_trap)
{
	tracee_stop(&self->t);
}

/* The whole diagnosis in one line */
static void expect_not_dead(struct __test_metadata *_metadata, enum firing_by by,
			    enum bp_type type)
{
	const struct firing *f = firing_of(by, type);

	if (!firing_dead(by, 1U << type))
		return;
	test_err("DEAD: accepted%s, but 0 of %u fired. Known for SEV-SNP guests, gVisor, para-virtual KVM (PVM) and some bhyve guests",
		 by == BY_PERF ? "" : f->reads_back ? ", read back correctly" :
		 ", read back wrongly", f->tried);
	ASSERT_NE(0, f->fired);
}

/* One event of this thread counts one hit */
static void expect_count(struct __test_metadata *_metadata,
			 struct perf_event_attr attr)
{
	int fd = perf_open(_metadata, &attr, 0, -1);

	ASSERT_EQ(0, perf_count(fd));
	probe_call_target(0, &sink, 1);
	if (attr.bp_type == HW_BREAKPOINT_RW)
		probe_load4(&word, 0);
	else
		probe_store4(&word, 1);
	ASSERT_EQ(1, perf_count(fd));
	close(fd);
}

TEST_F(first_trap, execute)
{
	struct tracee *t = &self->t;
	struct trap trap = {
		.ip = probe_target(0), .slots = 1, .progress = 1,
		.mem = self->shared, .mem_size = 4, .mem_value = 0,
	};

	if (variant->by == BY_PERF) {
		expect_not_dead(_metadata, BY_PERF, BP_EXECUTE);
		expect_count(_metadata, perf_attr(HW_BREAKPOINT_X,
						  probe_target(0),
						  PERF_EXECUTE_LEN));
		return;
	}
	expect_not_dead(_metadata, BY_PTRACE, BP_EXECUTE);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, probe_target(0)));
	ASSERT_EQ(0, tracee_expect_trap(t, &trap));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

TEST_F(first_trap, write)
{
	struct tracee *t = &self->t;
	struct trap trap = {
		.ip = probe_store4_next, .slots = 1, .progress = 3,
		.mem = &self->shared[1], .mem_size = 4, .mem_value = 2,
	};

	if (variant->by == BY_PERF) {
		expect_not_dead(_metadata, BY_PERF, BP_WRITE);
		expect_count(_metadata, perf_attr(HW_BREAKPOINT_W, &word, 4));
		return;
	}
	expect_not_dead(_metadata, BY_PTRACE, BP_WRITE);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 4, &self->shared[1]));
	ASSERT_EQ(0, tracee_expect_trap(t, &trap));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

TEST_F(first_trap, read_write)
{
	struct tracee *t = &self->t;

	if (variant->by == BY_PERF) {
		expect_not_dead(_metadata, BY_PERF, BP_RW);
		expect_count(_metadata, perf_attr(HW_BREAKPOINT_RW, &word, 4));
		return;
	}
	expect_not_dead(_metadata, BY_PTRACE, BP_RW);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, &self->shared[1]));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_load4_next, 2));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 3));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

TEST_HARNESS_MAIN
