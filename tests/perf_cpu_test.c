// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints on a CPU instead of a task, for the privileged: they are hit by
 * every task there, and they compete with the slots of every task.
 *
 * So they can detect slots that tasks have leaked; see slot_count.c.  They
 * disturb and are disturbed by other users of breakpoints on the machine: a
 * debugger, another run of these tests.  They hold their slots only for a
 * moment, and wait for slots that others hold; if these are not released in
 * time the test is skipped.
 */
#include <pthread.h>
#include <sched.h>

#include "perf_event.h"
#include "probes.h"
#include "stressor.h"
#include "tracee_group.h"

#define MAX_CPUS	8
#define TRACEES		4

/* An address that no other program is likely to use, nor another run of this one */
#define UNLIKELY	(0x8a5a5000UL + getpid() % 4096 * 4096UL)

static unsigned int *words;
static int cpus[MAX_CPUS], nr_cpus;

static struct perf_event_attr word_attr(unsigned int word)
{
	return perf_attr(HW_BREAKPOINT_W, &words[word], 4);
}

/* For those that must be refused */
static int open_word_once(unsigned int word, pid_t pid, int cpu)
{
	struct perf_event_attr attr = word_attr(word);

	return perf_try_once(&attr, pid, cpu);
}

static int open_word(unsigned int word, pid_t pid, int cpu)
{
	struct perf_event_attr attr = word_attr(word);

	return perf_try(&attr, pid, cpu);
}

static void close_all(int *fd, int n)
{
	while (n--)
		close(fd[n]);
}

/*
 * Open @n events at words 0 to @n - 1: @on_cpu on @cpu, the others on this task, on any
 * CPU and on @cpu in turn.  All, or none and an errno: two that wait for each other's
 * slots would wait forever.
 */
static int open_words(int cpu, int *fd, int on_cpu, int n)
{
	int i, err;

	do {
		err = 0;
		for (i = 0; i < n; i++) {
			if (i < on_cpu)
				fd[i] = open_word_once(i, -1, cpu);
			else
				fd[i] = open_word_once(i, 0, i % 2 ? -1 : cpu);
			if (fd[i] < 0) {
				err = fd[i];
				close_all(fd, i);
				break;
			}
		}
	} while (retry_on_enospc(err));
	return err;
}

static void skip_if_cpu_events_refused(struct __test_metadata *_metadata)
{
	int fd, err;

	skip_if_perf_refused(_metadata);
	nr_cpus = allowed_cpus(cpus, MAX_CPUS);
	ASSERT_LT(0, nr_cpus);
	words = mmap((void *)UNLIKELY, 4096, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, words);

	expect_no_slot_leaked(_metadata);
	err = cpu_slots_take(cpus[0], &fd, 1);
	if (!err)
		close(fd);
	skip_if_refused(_metadata, err, "perf event of a CPU");
}

FIXTURE(perf_cpu) {
	int unused;
};

FIXTURE_SETUP(perf_cpu)
{
	self->unused = 0;
	skip_if_cpu_events_refused(_metadata);
}

FIXTURE_TEARDOWN(perf_cpu)
{
}

static void store_on_each(void *arg)
{
	unsigned int n = (unsigned long)arg;
	int i;

	for (i = 0; i < nr_cpus; i++) {
		unsigned int j;

		if (pin_to_cpu(0, cpus[i]))
			_exit(1);
		for (j = 0; j < n * (i + 1); j++)
			probe_store4(words, j);
	}
}

/* On each CPU every access there is counted, whichever task makes it */
TEST_F(perf_cpu, counts_all_tasks_on_cpu)
{
	struct waiting_child child[3];
	int fd[MAX_CPUS], i;

	for (i = 0; i < nr_cpus; i++) {
		ASSERT_EQ(0, open_words(cpus[i], &fd[i], 1, 1)) {
			TH_LOG("CPU index %u", i);
		}
	}
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, child_start(&child[i], store_on_each,
					 (void *)10UL));
	}
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(1, write(child[i].go, "", 1)) {
			TH_LOG("child %u", i);
		}
	}
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, reap(child[i].pid)) {
			TH_LOG("child %u", i);
		}
	}
	store_on_each((void *)1);
	for (i = 0; i < nr_cpus; i++) {
		EXPECT_EQ(31 * (i + 1), (int)perf_count(fd[i])) {
			TH_LOG("CPU %d", cpus[i]);
		}
		close(fd[i]);
	}
}

/*
 * For every split between a CPU and a task all fire, and one more is refused
 * for the CPU, for the task there, and for the task on any CPU.
 */
TEST_F(perf_cpu, slots_shared_with_tasks)
{
	int fd[DR_SLOTS], cpu = cpus[0], split, i;

	ASSERT_EQ(0, pin_to_cpu(0, cpu));
	for (split = 0; split <= DR_SLOTS; split++) {
		ASSERT_EQ(0, open_words(cpu, fd, split, DR_SLOTS)) {
			TH_LOG("%d on the CPU, %d on the task", split,
			       DR_SLOTS - split);
		}
		EXPECT_EQ(-ENOSPC, open_word_once(0, -1, cpu));
		EXPECT_EQ(-ENOSPC, open_word_once(0, 0, cpu));
		EXPECT_EQ(-ENOSPC, open_word_once(0, 0, -1));
		for (i = 0; i < DR_SLOTS; i++)
			probe_store4(&words[i], i);
		for (i = 0; i < DR_SLOTS; i++) {
			EXPECT_EQ(1, perf_count(fd[i])) {
				TH_LOG("event %d, %d on the CPU", i, split);
			}
		}
		close_all(fd, DR_SLOTS);
	}
	expect_no_slot_leaked(_metadata);
}

/* Used on one CPU, it is free on the other, but not for any CPU */
TEST_F(perf_cpu, other_cpus_not_affected)
{
	int fd[DR_SLOTS], other;

	if (nr_cpus < 2)
		SKIP(return, SKIP_ONE_CPU);
	ASSERT_EQ(0, open_words(cpus[0], fd, DR_SLOTS, DR_SLOTS));
	EXPECT_EQ(-ENOSPC, open_word_once(0, 0, -1));
	other = open_word(0, 0, cpus[1]);
	EXPECT_LE(0, other);
	close(other);
	close_all(fd, DR_SLOTS);
}

static void just_stop(struct tracee *t)
{
	(void)t;
	tracee_sync();
}

/* A tracer gets ENOSPC when it writes the first register of a slot */
TEST_F(perf_cpu, tracer_gets_enospc)
{
	struct tracee t = { .body = just_stop };
	unsigned int slot;
	int fd[DR_SLOTS];

	start_tracee(_metadata, &t, TRACEE_TRACEME);
	ASSERT_EQ(0, open_words(cpus[0], fd, DR_SLOTS, DR_SLOTS));
	tracee_retries_enospc = false;
	for (slot = 0; slot < DR_SLOTS; slot++)
		EXPECT_EQ(-ENOSPC, tracee_arm(&t, slot, BP_WRITE, 4, words));
	tracee_retries_enospc = true;
	close_all(fd, DR_SLOTS);
	for (slot = 0; slot < DR_SLOTS; slot++)
		EXPECT_EQ(0, tracee_arm(&t, slot, BP_WRITE, 4, words));
	tracee_stop(&t);
}

/*
 * After each of these four slots must be free again on every CPU.  Three times
 * between 2010 and 2013 the kernel miscounted, and leaked slots.
 */
FIXTURE(slots_free_after) {
	int unused;
};

FIXTURE_SETUP(slots_free_after)
{
	self->unused = 0;
	skip_if_cpu_events_refused(_metadata);
}

FIXTURE_TEARDOWN(slots_free_after)
{
}

TEST_F(slots_free_after, close)
{
	int fd[DR_SLOTS], i, n;

	for (n = 0; n < 50; n++) {
		for (i = 0; i < DR_SLOTS; i++) {
			fd[i] = open_word(i, 0, (n + i) % 3 ? -1 : cpus[n % nr_cpus]);
			ASSERT_LE(0, fd[i]);
		}
		close_all(fd, DR_SLOTS);
	}
	expect_no_slot_leaked(_metadata);
}

TEST_F(slots_free_after, refusal)
{
	struct perf_event_attr attr;
	int i;

	for (i = 0; i < 100; i++) {
		attr = word_attr(0);
		if (i % 5 == 0)
			attr.bp_len = 3;
		else if (i % 5 == 1)
			attr.bp_addr++;
		else if (i % 5 == 2)
			attr.bp_addr = -4ULL;
		else if (i % 5 == 3)
			attr.bp_type = HW_BREAKPOINT_R;
		else
			attr.bp_type = HW_BREAKPOINT_X | HW_BREAKPOINT_W;
		ASSERT_EQ(-EINVAL, perf_try_close(&attr, i % 3 ? 0 : -1,
						  i % 2 || i % 3 == 0 ?
						  cpus[0] : -1));
	}
	expect_no_slot_leaked(_metadata);
}

static void open_four(void *arg)
{
	int fd[DR_SLOTS], err;

	err = open_words(arg ? *(int *)arg : -1, fd, 0, DR_SLOTS);
	if (err) {
		test_err("four events on this task: %s", strerror(-err));
		_exit(1);
	}
}

/* Closed only by the exit */
TEST_F(slots_free_after, exit)
{
	struct waiting_child child;
	int i;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, child_start(&child, open_four,
					 i % 2 ? &cpus[0] : NULL));
		ASSERT_EQ(0, child_release(&child));
	}
	expect_no_slot_leaked(_metadata);
}

static void store_forever(void *arg)
{
	open_four(NULL);
	if (write(*(int *)arg, "", 1) != 1)
		_exit(1);
	for (;;)
		probe_store4(words, 0);
}

TEST_F(slots_free_after, sigkill)
{
	struct waiting_child child;
	int p[2], i;
	char c;

	for (i = 0; i < 30; i++) {
		ASSERT_EQ(0, pipe(p));
		ASSERT_EQ(0, child_start(&child, store_forever, &p[1]));
		/* The child has the only one: its death ends the read() */
		close(p[1]);
		ASSERT_EQ(1, write(child.go, "", 1));
		ASSERT_EQ(1, read(p[0], &c, 1)) {
			TH_LOG("the child could not open its events");
		}
		close(p[0]);
		ASSERT_EQ(0, kill(child.pid, SIGKILL));
		ASSERT_EQ(SIGKILL, reap(child.pid));
		close(child.go);
	}
	expect_no_slot_leaked(_metadata);
}

static void do_nothing_fn(void *arg)
{
	(void)arg;
}

/* The task exits first, then the events on it are closed */
TEST_F(slots_free_after, close_after_exit)
{
	struct waiting_child child;
	int fd[DR_SLOTS], i, n;

	for (n = 0; n < 30; n++) {
		ASSERT_EQ(0, child_start(&child, do_nothing_fn, NULL));
		for (i = 0; i < DR_SLOTS; i++) {
			fd[i] = open_word(i, child.pid,
					  (n + i) % 3 ? -1 : cpus[0]);
			ASSERT_LE(0, fd[i]);
		}
		ASSERT_EQ(0, child_release(&child));
		close_all(fd, DR_SLOTS);
	}
	expect_no_slot_leaked(_metadata);
}

static void *empty_thread(void *arg)
{
	return arg;
}

static void fork_and_clone(void *arg)
{
	pthread_t thread;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid < 0 || pthread_create(&thread, NULL, empty_thread, arg) ||
	    pthread_join(thread, NULL) || reap(pid))
		_exit(1);
}

TEST_F(slots_free_after, inheritance)
{
	struct perf_event_attr attr = word_attr(0);
	struct waiting_child child;
	int fd[DR_SLOTS], i;

	skip_without_futex(_metadata);
	attr.inherit = 1;
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&attr, 0, i % 2 ? -1 : cpus[0]);
		ASSERT_LE(0, fd[i]);
	}
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, child_start(&child, fork_and_clone, NULL));
		ASSERT_EQ(0, child_release(&child));
	}
	close_all(fd, DR_SLOTS);
	expect_no_slot_leaked(_metadata);
}

TEST_F(slots_free_after, modify)
{
	struct perf_event_attr attr = word_attr(0);
	unsigned int len = PERF_EXECUTE_LEN;
	int fd, i;

	if (!kernel_is(4, 17))
		SKIP(return, SKIP_OLD_KERNEL);
	for (i = 0; i < 4; i++) {
		fd = perf_try(&attr, i % 2 ? 0 : -1, cpus[0]);
		ASSERT_LE(0, fd);
		attr = perf_attr(HW_BREAKPOINT_X, probe_target(0), len);
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES,
				   &attr));
		attr.bp_type = HW_BREAKPOINT_R;
		ASSERT_EQ(-1, ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES,
				    &attr));
		attr = word_attr(0);
		if (i > 1)
			ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES,
					   &attr));
		close(fd);
	}
	expect_no_slot_leaked(_metadata);
}

/* The new image does nothing */
static void __attribute__((constructor(101))) image_main(void)
{
	if (perf_is_image())
		_exit(0);
}

static void open_four_and_exec(void *arg)
{
	open_four(arg);
	perf_exec(PERF_IMAGE_ENV);
	_exit(1);
}

/* Closed by execve() */
TEST_F(slots_free_after, execve)
{
	struct waiting_child child;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, child_start(&child, open_four_and_exec, NULL));
		ASSERT_EQ(0, child_release(&child));
	}
	expect_no_slot_leaked(_metadata);
}

/* Those of a tracer are released with the tracee: by exit, by SIGKILL */
TEST_F(slots_free_after, traced_exit)
{
	unsigned int i, slot;

	for (i = 0; i < 40; i++) {
		struct tracee t = { .body = just_stop };

		start_tracee(_metadata, &t, TRACEE_TRACEME);
		for (slot = 0; slot < DR_SLOTS; slot++) {
			ASSERT_EQ(0, tracee_arm(&t, slot, BP_WRITE, 4, words)) {
				TH_LOG("slot %u", slot);
			}
		}
		if (i % 2) {
			ASSERT_EQ(0, tracee_expect_sync(&t, 0));
			ASSERT_EQ(0, tracee_expect_exit(&t));
		}
		tracee_stop(&t);
	}
	expect_no_slot_leaked(_metadata);
}

/* A refused slot is not reserved either */
TEST_F(slots_free_after, traced_refusal)
{
	struct tracee t = { .body = just_stop };
	unsigned int i, slot;

	start_tracee(_metadata, &t, TRACEE_TRACEME);
	for (i = 0; i < 20; i++) {
		for (slot = 0; slot < DR_SLOTS; slot++) {
			/* The top of the address space is the kernel's */
			if (sizeof(long) == 8)
				ASSERT_EQ(-EINVAL,
					  tracee_poke(&t, slot, -8UL));
			ASSERT_EQ(-EINVAL,
				  tracee_poke(&t, 7, dr7_encode(slot, BP_IO,
								1)));
		}
	}
	for (slot = 0; slot < DR_SLOTS; slot++) {
		ASSERT_EQ(0, tracee_arm(&t, slot, BP_WRITE, 4, words)) {
			TH_LOG("slot %u", slot);
		}
	}
	tracee_stop(&t);
	expect_no_slot_leaked(_metadata);
}

/*
 * Breakpoints on a CPU take a slot there from every thread: the tracees use
 * three slots, a fourth is refused, and it is free again once the events are
 * closed.
 */
FIXTURE(cpu_event) {
	struct group_area *area;
	struct tracee t[TRACEES];
	struct group_tracee m[TRACEES];
	int cpus[64], fds[64];
	int ncpus;
	bool ready;
};

/*
 * The tracees first: events that are open when they are forked would stay open
 * in them
 */
FIXTURE_SETUP(cpu_event)
{
	const void *addr;
	unsigned int i;
	int cpu, fd;

	self->area = group_areas();
	for (i = 0; i < TRACEES; i++) {
		self->m[i] = (struct group_tracee){
			.area = self->area, .nr = i, .of = TRACEES,
			.rounds = 20, .armed = true, .spare = DR_SLOTS };
		skip_if_refused(_metadata,
				group_start(&self->t[i], &self->m[i], i % 3),
				"ptrace");
		self->m[i].spare = 1;
	}
	addr = &self->area[GROUP_MAX - 1].written;
	self->ncpus = allowed_cpus(self->cpus, 64);
	for (cpu = 0; cpu < self->ncpus; cpu++) {
		fd = open_breakpoint(addr, -1, self->cpus[cpu]);
		/*
		 * Any thread of the machine may use all four, for instance of a
		 * debugger
		 */
		if (fd == -ENOSPC)
			SKIP(return, SKIP_SLOTS_TAKEN);
		skip_if_refused(_metadata, fd < 0 ? fd : 0,
				"perf event of a CPU");
		self->fds[cpu] = fd;
	}
	for (i = 0; i < TRACEES; i++) {
		ASSERT_EQ(0, group_arm(&self->t[i])) {
			TH_LOG("tracee %u", i);
		}
	}
	self->ready = true;
}

FIXTURE_TEARDOWN(cpu_event)
{
	unsigned int i;

	for (i = 0; i < TRACEES; i++)
		tracee_stop(&self->t[i]);
}

TEST_F(cpu_event, three_slots_remain)
{
	unsigned long long count, sum = 0;
	unsigned int i;
	int cpu;

	if (!self->ready)
		return;
	tracee_retries_enospc = false;
	for (i = 0; i < TRACEES; i++) {
		ASSERT_EQ(-ENOSPC, tracee_arm(&self->t[i], (3 + i) % DR_SLOTS,
					      BP_RW, 4, &self->area[i].read));
	}
	tracee_retries_enospc = true;
	ASSERT_EQ(0, group_run(self->t, TRACEES));

	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	/* Its own count is exact as well: all stores of this thread on that CPU */
	ASSERT_EQ(0, pin_to_cpu(0, self->cpus[0]));
	for (i = 0; i < 100; i++)
		probe_store4(&self->area[GROUP_MAX - 1].written, i);
	for (cpu = 0; cpu < self->ncpus; cpu++) {
		ASSERT_EQ(sizeof(count), read(self->fds[cpu], &count,
					      sizeof(count)));
		sum += count;
	}
	ASSERT_EQ(100, sum);
}

TEST_F(cpu_event, fourth_slot_free_after_close)
{
	unsigned int i;
	int cpu;

	if (!self->ready)
		return;
	for (cpu = 0; cpu < self->ncpus; cpu++)
		close(self->fds[cpu]);
	for (i = 0; i < TRACEES; i++) {
		self->m[i].spare = 0;
		ASSERT_EQ(0, group_arm(&self->t[i]));
	}
	ASSERT_EQ(0, group_run(self->t, TRACEES));
}

TEST_HARNESS_MAIN
