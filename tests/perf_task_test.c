// SPDX-License-Identifier: GPL-2.0
/*
 * Perf breakpoints on other tasks: by pid, by inheritance, across execve() and
 * across context switches.
 *
 * The expectations follow perf_event_open(2), kernel/events/core.c and
 * arch/x86/kernel/hw_breakpoint.c.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "environment.h"
#include "perf_event.h"
#include "probes.h"

/* The watched memory, with room on both sides of the 8 bytes in the middle */
static unsigned char area[64] __attribute__((__aligned__(64)));

#define MIDDLE	(&area[24])

static void store4(void *addr, unsigned int n)
{
	while (n--)
		probe_store4(addr, n);
}

/* When this program is executed again, see run_image(), it only stores there */
#define IMAGE_HITS	5

static void __attribute__((constructor(101))) image_main(void)
{
	if (!perf_is_image())
		return;
	if (!perf_map_image_page())
		_exit(2);
	store4(PERF_IMAGE_PAGE, IMAGE_HITS);
	_exit(0);
}

/* For child_start(): hits before execve() and, in the new image, after it */
static void run_image(void *arg)
{
	(void)arg;
	if (!perf_map_image_page())
		_exit(3);
	store4(PERF_IMAGE_PAGE, 3);
	perf_exec(PERF_IMAGE_ENV);
	_exit(4);
}

static int modify(int fd, struct perf_event_attr *attr)
{
	return ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, attr) ? -errno : 0;
}

/* Other tasks: by pid, by inheritance, across execve() */
FIXTURE(perf_task) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(perf_task)
{
	skip_if_perf_refused(_metadata);
	self->attr = perf_attr(HW_BREAKPOINT_W, MIDDLE, 4);
}

FIXTURE_TEARDOWN(perf_task)
{
}

static void store_100(void *arg)
{
	store4(arg, 100);
}

/*
 * Only that task hits it, at the same address, and the count outlives the task
 */
TEST_F(perf_task, by_pid)
{
	struct waiting_child other, child;
	int fd;

	ASSERT_EQ(0, child_start(&child, store_100, MIDDLE));
	ASSERT_EQ(0, child_start(&other, store_100, MIDDLE));
	fd = perf_open(_metadata, &self->attr, child.pid, -1);
	store4(MIDDLE, 3);
	ASSERT_EQ(0, child_release(&other));
	ASSERT_EQ(0, perf_count(fd));
	ASSERT_EQ(0, child_release(&child));
	ASSERT_EQ(100, perf_count(fd));
	store4(MIDDLE, 3);
	ASSERT_EQ(100, perf_count(fd));
}

static void *thread_100(void *arg)
{
	store4(arg, 100);
	return NULL;
}

static void fork_and_store(void *arg)
{
	pthread_t thread;
	pid_t pid = fork();

	if (!pid) {
		store4(arg, 100);
		_exit(0);
	}
	if (pid < 0 || pthread_create(&thread, NULL, thread_100, arg) ||
	    pthread_join(thread, NULL) || reap(pid))
		_exit(1);
	store4(arg, 100);
}

/* Without inherit a child does not have the event */
TEST_F(perf_task, not_inherited)
{
	int fd = perf_try(&self->attr, 0, -1);

	skip_without_futex(_metadata);
	ASSERT_LE(0, fd);
	fork_and_store(MIDDLE);
	ASSERT_EQ(100, perf_count(fd));
}

/* With it all descendants, processes and threads, count */
TEST_F(perf_task, inherited)
{
	struct waiting_child child;
	int fd;

	skip_without_futex(_metadata);
	self->attr.inherit = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	fork_and_store(MIDDLE);
	ASSERT_EQ(300, perf_count(fd));
	ASSERT_EQ(0, child_start(&child, fork_and_store, MIDDLE));
	ASSERT_EQ(300, perf_count(fd));
	ASSERT_EQ(0, child_release(&child));
	ASSERT_EQ(600, perf_count(fd));
}

/* Four events in many children at once: each task has its own slots */
TEST_F(perf_task, inherited_by_many)
{
	struct waiting_child child[16];
	int fd[DR_SLOTS];
	unsigned int i;

	self->attr.inherit = 1;
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd[i]);
	}
	for (i = 0; i < 16; i++) {
		ASSERT_EQ(0, child_start(&child[i], store_100, MIDDLE)) {
			TH_LOG("child %u", i);
		}
	}
	for (i = 0; i < 16; i++) {
		ASSERT_EQ(1, write(child[i].go, "", 1)) {
			TH_LOG("child %u", i);
		}
	}
	for (i = 0; i < 16; i++) {
		ASSERT_EQ(0, reap(child[i].pid)) {
			TH_LOG("child %u", i);
		}
	}
	for (i = 0; i < DR_SLOTS; i++)
		EXPECT_EQ(1600, perf_count(fd[i]));
}

TEST_F(perf_task, inherited_by_threads_only)
{
	int fd;

	skip_without_futex(_metadata);
	if (!kernel_is(5, 13))
		SKIP(return, SKIP_OLD_KERNEL);
	self->attr.inherit = 1;
	self->attr.inherit_thread = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	fork_and_store(MIDDLE);
	ASSERT_EQ(200, perf_count(fd));
}

/* Disabling, enabling and modifying also apply to inherited events */
TEST_F(perf_task, control_reaches_children)
{
	struct waiting_child child[3];
	int fd, i;

	self->attr.inherit = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, child_start(&child[i], store_100, MIDDLE)) {
			TH_LOG("child %u", i);
		}
	}
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
	ASSERT_EQ(0, child_release(&child[0]));
	ASSERT_EQ(0, perf_count(fd));
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	ASSERT_EQ(0, child_release(&child[1]));
	ASSERT_EQ(100, perf_count(fd));
	if (!kernel_is(4, 17))
		SKIP(return, SKIP_OLD_KERNEL);
	self->attr.bp_addr += 4;
	ASSERT_EQ(0, modify(fd, &self->attr));
	ASSERT_EQ(0, child_release(&child[2]));
	ASSERT_EQ(100, perf_count(fd));
	store4(MIDDLE + 4, 2);
	ASSERT_EQ(102, perf_count(fd));
}

/*
 * An event survives execve() and watches that address in the new image
 * (perf_event_exec() does not touch it) ...
 */
TEST_F(perf_task, kept_across_exec)
{
	struct waiting_child child;
	int fd;

	self->attr.bp_addr = (unsigned long)PERF_IMAGE_PAGE;
	ASSERT_EQ(0, child_start(&child, run_image, NULL));
	fd = perf_open(_metadata, &self->attr, child.pid, -1);
	ASSERT_EQ(0, child_release(&child));
	ASSERT_EQ(3 + IMAGE_HITS, perf_count(fd));
}

/* ... unless it is to be removed then ... */
TEST_F(perf_task, removed_on_exec)
{
	struct waiting_child child;
	int fd;

	if (!kernel_is(5, 13))
		SKIP(return, SKIP_OLD_KERNEL);
	self->attr.bp_addr = (unsigned long)PERF_IMAGE_PAGE;
	self->attr.remove_on_exec = 1;
	ASSERT_EQ(0, child_start(&child, run_image, NULL));
	fd = perf_open(_metadata, &self->attr, child.pid, -1);
	ASSERT_EQ(0, child_release(&child));
	ASSERT_EQ(3, perf_count(fd));
}

/* ... or enabled only then */
TEST_F(perf_task, enabled_on_exec)
{
	struct waiting_child child;
	int fd;

	self->attr.bp_addr = (unsigned long)PERF_IMAGE_PAGE;
	self->attr.enable_on_exec = 1;
	self->attr.disabled = 1;
	ASSERT_EQ(0, child_start(&child, run_image, NULL));
	fd = perf_open(_metadata, &self->attr, child.pid, -1);
	ASSERT_EQ(0, child_release(&child));
	ASSERT_EQ(IMAGE_HITS, perf_count(fd));

	/* Both together are invalid */
	if (kernel_is(5, 13)) {
		self->attr.remove_on_exec = 1;
		ASSERT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1));
	}
}

/* An event of this task that is bound to one CPU counts on that CPU only */
TEST_F(perf_task, on_one_cpu)
{
	int cpus[2], fd[2], i;

	if (allowed_cpus(cpus, 2) < 2)
		SKIP(return, SKIP_ONE_CPU);
	for (i = 0; i < 2; i++) {
		fd[i] = perf_try(&self->attr, 0, cpus[i]);
		ASSERT_LE(0, fd[i]);
	}
	for (i = 0; i < 30; i++) {
		ASSERT_EQ(0, pin_to_cpu(0, cpus[i % 3 == 0]));
		store4(MIDDLE, 2);
	}
	EXPECT_EQ(40, perf_count(fd[0]));
	EXPECT_EQ(20, perf_count(fd[1]));
}

/*
 * Context switches load the registers again, with other addresses and in other
 * slots (arch_install_hw_breakpoint()).  No thread may lose a hit or get that
 * of another one.
 */
#define SWITCHERS	12

struct switcher {
	pthread_t thread;
	unsigned int n;
	unsigned int own;
	unsigned int wrong;
	bool migrate;
	unsigned int *at;
};

static int cpu_set[2], cpu_set_size;

static void *switcher(void *arg)
{
	unsigned int events, i, round, shared = SWITCHERS;
	struct switcher *s = arg;
	int fd[DR_SLOTS];

	/*
	 * 1 to 4 events: on the thread's own word first, then on the common one
	 */
	events = 1 + s->n % DR_SLOTS;
	for (i = 0; i < events; i++) {
		struct perf_event_attr attr =
			perf_attr(HW_BREAKPOINT_W,
				  &s->at[i ? shared : s->n], 4);

		fd[i] = perf_try(&attr, 0, -1);
		if (fd[i] < 0) {
			test_err("thread %u, event %u: %s", s->n, i,
				 strerror(-fd[i]));
			s->wrong++;
			return NULL;
		}
	}
	for (round = 0; round < 60; round++) {
		if (s->migrate)
			pin_to_cpu(0, cpu_set[(round + s->n) % cpu_set_size]);
		else
			sched_yield();
		store4(&s->at[s->n], 3);
		store4(&s->at[shared], 2);
		store4(&s->at[(s->n + 1) % SWITCHERS], 1);
	}
	for (i = 0; i < events; i++) {
		unsigned long long expected = i ? 120 : 180, n = perf_count(fd[i]);

		if (n != expected) {
			test_err("thread %u, event %u of %u: %llu hits counted, %llu expected",
				 s->n, i, events, n, expected);
			s->wrong++;
		}
		close(fd[i]);
	}
	return NULL;
}

static unsigned int switchers(bool migrate)
{
	unsigned int at[SWITCHERS + 1] = { 0 }, i, wrong = 0;
	struct switcher s[SWITCHERS];

	for (i = 0; i < SWITCHERS; i++) {
		s[i] = (struct switcher){
			.n = i, .at = at, .migrate = migrate,
		};
		if (pthread_create(&s[i].thread, NULL, switcher, &s[i]))
			return ~0U;
	}
	for (i = 0; i < SWITCHERS; i++) {
		pthread_join(s[i].thread, NULL);
		wrong += s[i].wrong;
	}
	return wrong;
}

TEST_F(perf_task, context_switches_on_one_cpu)
{
	skip_without_futex(_metadata);
	cpu_set_size = allowed_cpus(cpu_set, 2);
	ASSERT_LT(0, cpu_set_size);
	ASSERT_EQ(0, pin_to_cpu(0, cpu_set[0]));
	ASSERT_EQ(0, switchers(false));
}

TEST_F(perf_task, context_switches_between_cpus)
{
	skip_without_futex(_metadata);
	cpu_set_size = allowed_cpus(cpu_set, 2);
	ASSERT_LT(0, cpu_set_size);
	ASSERT_EQ(0, switchers(true));
}

TEST_HARNESS_MAIN
