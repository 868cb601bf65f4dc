// SPDX-License-Identifier: GPL-2.0
/*
 * How slots are shared: each thread has four, used by its tracer and by perf,
 * and all of them are free again after they were released.
 *
 * Registers are not assigned in advance: the kernel counts (__reserve_bp_slot()
 * in kernel/events/hw_breakpoint.c).  If it counts too many, slots are lost
 * until the next boot; if too few, a breakpoint is accepted and never fires.
 * So every accepted breakpoint must fire here, for every split of the four and
 * both orders of opening, which determine the physical register of a slot
 * (arch_install_hw_breakpoint()).
 *
 * For leaks see perf_cpu_test.c: a slot that is charged to a task that has
 * exited is not visible to another task.
 */
#include <pthread.h>

#include "perf_event.h"
#include "probes.h"

static unsigned int *words;

static void store_words(struct tracee *t)
{
	unsigned int i;

	(void)t;
	for (i = 0; i < DR_SLOTS; i++) {
		*t->progress = i + 1;
		probe_store4(&words[i], i);
	}
	tracee_sync();
	for (i = 0; i < DR_SLOTS; i++) {
		*t->progress = DR_SLOTS + i + 1;
		probe_load4(&words[i], 0);
	}
	tracee_sync();
}

static struct perf_event_attr word_attr(unsigned int word)
{
	return perf_attr(HW_BREAKPOINT_RW, &words[word], 4);
}

static int open_word(unsigned int word, pid_t pid)
{
	struct perf_event_attr attr = word_attr(word);

	return perf_try(&attr, pid, -1);
}

static bool no_slot(unsigned int word, pid_t pid)
{
	struct perf_event_attr attr = word_attr(word);

	return perf_gets_enospc(&attr, pid, -1);
}

/* Both on one thread: slots 0 to split - 1 are the tracer's */
FIXTURE(slot_split) {
	struct tracee t;
	int fd[DR_SLOTS];
};

FIXTURE_VARIANT(slot_split) {
	unsigned int split;
	bool perf_first;
};

FIXTURE_VARIANT_ADD(slot_split, ptrace_0_perf_4) {
	.split = 0,
};

FIXTURE_VARIANT_ADD(slot_split, ptrace_1_perf_3) {
	.split = 1,
};

FIXTURE_VARIANT_ADD(slot_split, ptrace_2_perf_2) {
	.split = 2,
};

FIXTURE_VARIANT_ADD(slot_split, ptrace_3_perf_1) {
	.split = 3,
};

FIXTURE_VARIANT_ADD(slot_split, ptrace_4_perf_0) {
	.split = 4,
};

FIXTURE_VARIANT_ADD(slot_split, perf_3_ptrace_1) {
	.split = 1, .perf_first = true,
};

FIXTURE_VARIANT_ADD(slot_split, perf_2_ptrace_2) {
	.split = 2, .perf_first = true,
};

FIXTURE_VARIANT_ADD(slot_split, perf_1_ptrace_3) {
	.split = 3, .perf_first = true,
};

static int split_arm(struct tracee *t, unsigned int split)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < split && !err; i++)
		err = tracee_arm(t, i, BP_RW, 4, &words[i]);
	return err;
}

static int split_open(struct tracee *t, unsigned int split, int *fd)
{
	unsigned int i;

	for (i = split; i < DR_SLOTS; i++) {
		fd[i] = open_word(i, t->tid);
		if (fd[i] < 0)
			return fd[i];
	}
	return 0;
}

FIXTURE_SETUP(slot_split)
{
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++)
		self->fd[i] = -1;
	skip_if_perf_refused(_metadata);
	words = shared_alloc(DR_SLOTS * sizeof(*words));
	self->t.body = store_words;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
	if (variant->perf_first)
		ASSERT_EQ(0, split_open(&self->t, variant->split, self->fd));
	ASSERT_EQ(0, split_arm(&self->t, variant->split));
	if (!variant->perf_first)
		ASSERT_EQ(0, split_open(&self->t, variant->split, self->fd));
}

FIXTURE_TEARDOWN(slot_split)
{
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++)
		if (self->fd[i] >= 0)
			close(self->fd[i]);
	tracee_stop(&self->t);
}

/* One round of the armed slots: a stop or a count for each word */
static int split_round(struct tracee *t, unsigned int split, const int *fd,
		       const void *ip, unsigned int round)
{
	unsigned int i;

	for (i = 0; i < split; i++)
		if (tracee_expect_hit(t, 1U << i, ip, DR_SLOTS * round + i + 1))
			return -1;
	if (tracee_expect_sync(t, DR_SLOTS * (round + 1)))
		return -1;
	for (i = split; i < DR_SLOTS; i++) {
		if (perf_count(fd[i]) != round + 1) {
			tracee_report(t, NULL, "event %u: %llu hits, not %u",
				      i, perf_count(fd[i]), round + 1);
			return -1;
		}
	}
	return 0;
}

/*
 * Each fires, and the tracer sees its own slot number in DR6, whichever
 * register the slot has got (ptrace_triggered()).
 */
TEST_F(slot_split, all_fire)
{
	ASSERT_EQ(0, split_round(&self->t, variant->split, self->fd,
				 probe_store4_next, 0));
	ASSERT_EQ(0, split_round(&self->t, variant->split, self->fd,
				 probe_load4_next, 1));
	ASSERT_EQ(0, tracee_expect_exit(&self->t));
}

/* A fifth is refused to both, and the four are not affected */
TEST_F(slot_split, fifth_refused)
{
	unsigned long dr7, after;
	unsigned int i;

	ASSERT_EQ(0, tracee_peek(&self->t, 7, &dr7));
	tracee_retries_enospc = false;
	for (i = 0; i < 10; i++) {
		ASSERT_TRUE(no_slot(0, self->t.tid));
		if (variant->split < DR_SLOTS)
			ASSERT_EQ(-ENOSPC,
				  tracee_arm(&self->t, variant->split, BP_RW, 4,
					     words));
	}
	tracee_retries_enospc = true;
	ASSERT_EQ(0, tracee_peek(&self->t, 7, &after));
	ASSERT_EQ(dr7, after);
	ASSERT_EQ(0, split_round(&self->t, variant->split, self->fd,
				 probe_store4_next, 0));
	ASSERT_EQ(0, split_round(&self->t, variant->split, self->fd,
				 probe_load4_next, 1));
	ASSERT_EQ(0, tracee_expect_exit(&self->t));
}

/*
 * The tracer's slots stay reserved while disabled (thread->ptrace_bps keeps
 * them): it can enable them again even if others have asked for more meanwhile.
 */
TEST_F(slot_split, disabled_slots_stay_reserved)
{
	unsigned int i, j;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, tracee_disarm_all(&self->t));
		ASSERT_TRUE(no_slot(0, self->t.tid));
		for (j = 0; j < variant->split; j++) {
			ASSERT_EQ(0, tracee_arm(&self->t, j, BP_RW, 4,
						&words[j]));
		}
	}
	ASSERT_EQ(0, split_round(&self->t, variant->split, self->fd,
				 probe_store4_next, 0));
}

/* What perf closes is free for perf, and for the tracer */
TEST_F(slot_split, closed_slots_free)
{
	unsigned int i, j;

	for (i = 0; i < 20; i++) {
		for (j = variant->split; j < DR_SLOTS; j++) {
			ASSERT_EQ(0, close(self->fd[j]));
			self->fd[j] = open_word(j, self->t.tid);
			ASSERT_LE(0, self->fd[j]);
			ASSERT_TRUE(no_slot(j, self->t.tid));
		}
	}
	ASSERT_EQ(0, split_round(&self->t, variant->split, self->fd,
				 probe_store4_next, 0));
	for (j = variant->split; j < DR_SLOTS; j++) {
		ASSERT_EQ(0, close(self->fd[j]));
		self->fd[j] = -1;
	}
	ASSERT_EQ(0, split_arm(&self->t, DR_SLOTS));
	ASSERT_EQ(0, split_round(&self->t, DR_SLOTS, self->fd,
				 probe_load4_next, 1));
	ASSERT_EQ(0, tracee_expect_exit(&self->t));
}

/* perf and a tracer on the same address of the same thread: both get the hit */
FIXTURE(slot_shared) {
	struct tracee t;
	int fd;
};

FIXTURE_VARIANT(slot_shared) {
	bool perf_first;
};

FIXTURE_VARIANT_ADD(slot_shared, ptrace_first) {
	.perf_first = false,
};

FIXTURE_VARIANT_ADD(slot_shared, perf_first) {
	.perf_first = true,
};

FIXTURE_SETUP(slot_shared)
{
	self->fd = -1;
	skip_if_perf_refused(_metadata);
	words = shared_alloc(DR_SLOTS * sizeof(*words));
	self->t.body = store_words;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(slot_shared)
{
	if (self->fd >= 0)
		close(self->fd);
	tracee_stop(&self->t);
}

/* One hit of two registers: DR6 has both bits, of which one is the tracer's */
TEST_F(slot_shared, watchpoint)
{
	if (variant->perf_first)
		self->fd = open_word(1, self->t.tid);
	ASSERT_EQ(0, tracee_arm(&self->t, 2, BP_RW, 4, &words[1]));
	if (!variant->perf_first)
		self->fd = open_word(1, self->t.tid);
	ASSERT_LE(0, self->fd);

	ASSERT_EQ(0, tracee_expect_hit(&self->t, 4, probe_store4_next, 2));
	ASSERT_EQ(1, perf_count(self->fd));
	ASSERT_EQ(0, tracee_expect_sync(&self->t, 4));
	ASSERT_EQ(0, tracee_expect_hit(&self->t, 4, probe_load4_next, 6));
	ASSERT_EQ(2, perf_count(self->fd));
	ASSERT_EQ(0, tracee_expect_sync(&self->t, 8));
	ASSERT_EQ(0, tracee_expect_exit(&self->t));
}

/* And once for each, not again when the instruction is resumed (RF) */
TEST_F(slot_shared, execute)
{
	struct perf_event_attr attr;
	unsigned int i;

	attr = perf_attr(HW_BREAKPOINT_X, probe_store4_at, PERF_EXECUTE_LEN);
	if (variant->perf_first)
		self->fd = perf_try(&attr, self->t.tid, -1);
	ASSERT_EQ(0, tracee_arm(&self->t, 3, BP_EXECUTE, 1, probe_store4_at));
	if (!variant->perf_first)
		self->fd = perf_try(&attr, self->t.tid, -1);
	ASSERT_LE(0, self->fd);

	for (i = 1; i <= DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_expect_hit(&self->t, 8, probe_store4_at,
					       i));
		ASSERT_EQ(i, perf_count(self->fd));
	}
	ASSERT_EQ(0, tracee_expect_sync(&self->t, 4));
	ASSERT_EQ(4, perf_count(self->fd));
}

/* perf only: the tracee does not stop for it */
TEST_F(slot_shared, perf_only)
{
	unsigned long dr6;

	self->fd = open_word(1, self->t.tid);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, tracee_expect_sync(&self->t, 4));
	ASSERT_EQ(1, perf_count(self->fd));
	ASSERT_EQ(0, tracee_peek(&self->t, 6, &dr6));
	ASSERT_EQ(DR6_NONE, dr6);
}

/* perf only, on the calling thread, for any CPU and for single ones */
FIXTURE(slot_perf) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(slot_perf)
{
	skip_if_perf_refused(_metadata);
	words = shared_alloc(DR_SLOTS * sizeof(*words));
	self->attr = perf_attr(HW_BREAKPOINT_W, words, 4);
}

FIXTURE_TEARDOWN(slot_perf)
{
}

/* All types share the same four (x86 has only one kind of register) */
TEST_F(slot_perf, four_of_any_type)
{
	unsigned int mix, i, len = PERF_EXECUTE_LEN;
	int fd[DR_SLOTS];

	for (mix = 0; mix < 1U << DR_SLOTS; mix++) {
		for (i = 0; i < DR_SLOTS; i++) {
			bool x = mix & (1U << i);

			self->attr = x ?
				perf_attr(HW_BREAKPOINT_X, probe_target(i),
					  len) :
				perf_attr(HW_BREAKPOINT_W, &words[i], 4);
			fd[i] = perf_try(&self->attr, 0, -1);
			ASSERT_LE(0, fd[i]) {
				TH_LOG("mix %#x, event %u", mix, i);
			}
		}
		ASSERT_TRUE(perf_gets_enospc(&self->attr, 0, -1));
		self->attr = perf_attr(HW_BREAKPOINT_X, probe_target(0), len);
		ASSERT_TRUE(perf_gets_enospc(&self->attr, 0, -1));

		for (i = 0; i < DR_SLOTS; i++) {
			probe_call_target(i, (unsigned long *)&words[i], i);
			probe_store4(&words[i], i);
		}
		for (i = 0; i < DR_SLOTS; i++) {
			/* The call stores as well: a long, at words[i] */
			unsigned int hits = mix & (1U << i) ? 1 :
				2 + (i && sizeof(long) == 8);

			EXPECT_EQ(hits, perf_count(fd[i])) {
				TH_LOG("mix %#x, event %u", mix, i);
			}
			close(fd[i]);
		}
	}
}

/* Disabled events keep their slots */
TEST_F(slot_perf, disabled_events_keep_slots)
{
	int fd[DR_SLOTS], i;

	self->attr.disabled = 1;
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
	ASSERT_TRUE(perf_gets_enospc(&self->attr, 0, -1));
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, ioctl(fd[i], PERF_EVENT_IOC_ENABLE, 0)) {
			TH_LOG("slot %u", i);
		}
	}
	probe_store4(words, 0);
	for (i = 0; i < DR_SLOTS; i++)
		EXPECT_EQ(1, perf_count(fd[i]));
}

/*
 * A refused event releases what was reserved for it: the slot is reserved
 * before the attributes are checked (register_perf_hw_breakpoint()).
 */
TEST_F(slot_perf, refused_event_takes_no_slot)
{
	struct perf_event_attr bad;
	int fd[DR_SLOTS], i;

	for (i = 0; i < 100; i++) {
		bad = self->attr;
		if (i % 4 == 0)
			bad.bp_len = 3;
		else if (i % 4 == 1)
			bad.bp_addr++;
		else if (i % 4 == 2)
			bad.bp_type = HW_BREAKPOINT_R;
		else
			bad.bp_addr = -4ULL;
		ASSERT_EQ(-EINVAL, perf_try_close(&bad, 0, -1));
	}
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
	for (i = 0; i < 20; i++) {
		ASSERT_TRUE(perf_gets_enospc(&self->attr, 0, -1)) {
			TH_LOG("number %u", i);
		}
	}
	for (i = 0; i < DR_SLOTS; i++)
		close(fd[i]);
}

TEST_F(slot_perf, closed_slots_free)
{
	int fd[DR_SLOTS], i;

	for (i = 0; i < DR_SLOTS; i++)
		fd[i] = -1;
	for (i = 0; i < 500; i++) {
		/* Not in the order of opening */
		int *this = &fd[(i * 3) % DR_SLOTS];

		close(*this);
		*this = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, *this);
	}
	ASSERT_TRUE(perf_gets_enospc(&self->attr, 0, -1));
	probe_store4(words, 0);
	for (i = 0; i < DR_SLOTS; i++)
		EXPECT_EQ(1, perf_count(fd[i]));
}

static void *opens_four(void *arg)
{
	unsigned long n = 0;
	int fd[DR_SLOTS], i;

	for (i = 0; i < DR_SLOTS; i++)
		fd[i] = perf_try(arg, 0, -1);
	for (i = 0; i < DR_SLOTS; i++)
		n += fd[i] >= 0;
	n += perf_gets_enospc(arg, 0, -1) ? 0 : 100;
	/* Left open: the thread has exited when they are closed */
	return (void *)n;
}

/* Each thread has four slots of its own */
TEST_F(slot_perf, each_thread_has_four)
{
	pthread_t thread[8];
	int fd[DR_SLOTS], i;
	void *n;

	skip_without_futex(_metadata);
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, opens_four,
					    &self->attr));
	}
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], &n));
		EXPECT_EQ(DR_SLOTS, (unsigned long)n);
	}
	ASSERT_TRUE(perf_gets_enospc(&self->attr, 0, -1));
}

/*
 * Events bound to a CPU share its four with those for any CPU: the kernel
 * counts them separately, in three ways (toggle_bp_slot(), and before 6.1
 * task_bp_pinned()).
 */
TEST_F(slot_perf, bound_to_cpus)
{
	int cpus[2], n, fd[2 * DR_SLOTS], open, any, i, j, round;
	unsigned int want[2 * DR_SLOTS];

	n = allowed_cpus(cpus, 2);
	ASSERT_LT(0, n);
	for (round = 0; round < 2 * (DR_SLOTS + 1); round++) {
		any = round / 2;
		open = 0;

		/* Those for any CPU first or last */
		for (i = 0; i < any && round % 2; i++) {
			fd[open] = perf_try(&self->attr, 0, -1);
			want[open] = n;
			ASSERT_LE(0, fd[open++]);
		}
		for (j = 0; j < n; j++) {
			for (i = any; i < DR_SLOTS; i++) {
				fd[open] = perf_try(&self->attr, 0, cpus[j]);
				want[open] = 1;
				ASSERT_LE(0, fd[open++]) {
					TH_LOG("%d for any CPU, %d on CPU %d",
					       any, i, cpus[j]);
				}
			}
		}
		for (i = 0; i < any && !(round % 2); i++) {
			fd[open] = perf_try(&self->attr, 0, -1);
			want[open] = n;
			ASSERT_LE(0, fd[open++]);
		}

		ASSERT_TRUE(perf_gets_enospc(&self->attr, 0, -1));
		for (j = 0; j < n; j++) {
			ASSERT_TRUE(perf_gets_enospc(&self->attr, 0,
						     cpus[j]));
			ASSERT_EQ(0, pin_to_cpu(0, cpus[j]));
			probe_store4(words, 0);
		}
		while (open--) {
			EXPECT_EQ(want[open], perf_count(fd[open])) {
				TH_LOG("event %d, %d for any CPU", open, any);
			}
			close(fd[open]);
		}
	}
}

/* Used on one CPU, they are free on the other, but not for any CPU */
TEST_F(slot_perf, each_cpu_has_four)
{
	int cpus[2], fd[DR_SLOTS], i;

	if (allowed_cpus(cpus, 2) < 2)
		SKIP(return, SKIP_ONE_CPU);
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&self->attr, 0, cpus[0]);
		ASSERT_LE(0, fd[i]);
	}
	ASSERT_TRUE(perf_gets_enospc(&self->attr, 0, cpus[0]));
	ASSERT_TRUE(perf_gets_enospc(&self->attr, 0, -1));
	ASSERT_EQ(0, perf_try_close(&self->attr, 0, cpus[1]));
	close(fd[2]);
	ASSERT_EQ(0, perf_try_close(&self->attr, 0, -1));
}

static void inherit_four(void *arg)
{
	struct perf_event_attr attr = *(struct perf_event_attr *)arg;

	/* All four are used by inherited events, though none was opened here */
	if (!perf_gets_enospc(&attr, 0, -1))
		_exit(1);
}

TEST_F(slot_perf, inherited_events_use_slots)
{
	struct waiting_child child;
	int fd[DR_SLOTS], i;

	self->attr.inherit = 1;
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
	ASSERT_EQ(0, child_start(&child, inherit_four, &self->attr));
	ASSERT_EQ(0, child_release(&child));
	for (i = 0; i < DR_SLOTS; i++)
		close(fd[i]);
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
}

TEST_HARNESS_MAIN
