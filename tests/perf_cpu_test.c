// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints on a CPU instead of a task, for the privileged: they see every
 * task there, and they compete with the slots of every task.
 *
 * So this is also how slots are looked for that tasks long gone have not given
 * back; see slots.c.  For the same reason tests like these disturb and are
 * disturbed by whoever uses breakpoints on the machine meanwhile: a debugger,
 * another run of these tests.  They hold their slots for moments only, and wait
 * for slots that others hold; where they wait in vain, they are skipped.
 */
#include <pthread.h>
#include <sched.h>

#include "perf_event.h"
#include "probes.h"

#define MAX_CPUS	8

/* Tries, a millisecond apart, for others to let go of their slots */
#define PATIENCE	10000

/* An address of ours that no other program is likely to use */
#define UNLIKELY	0x2a5a5000UL

static unsigned int *words;
static int cpus[MAX_CPUS], nr_cpus;

static struct perf_event_attr word_attr(unsigned int word)
{
	return perf_attr(HW_BREAKPOINT_W, &words[word], 4);
}

static int open_word(unsigned int word, pid_t pid, int cpu)
{
	struct perf_event_attr attr = word_attr(word);

	return perf_try_once(&attr, pid, cpu);
}

static void close_all(int *fd, int n)
{
	while (n--)
		close(fd[n]);
}

/* Open @n events on @cpu, at words 0 to @n - 1; all, or none and an errno */
static int open_on_cpu(int cpu, int *fd, int n)
{
	int i, err, tries;

	for (tries = 0; ; tries++) {
		err = 0;
		for (i = 0; i < n; i++) {
			fd[i] = open_word(i, -1, cpu);
			if (fd[i] < 0) {
				err = fd[i];
				break;
			}
		}
		if (err)
			close_all(fd, i);
		if (err != -ENOSPC || tries >= PATIENCE)
			return err;
		poll(NULL, 0, 1);
	}
}

/* perf_try(), again as long as others have all slots */
static int try_patiently(struct perf_event_attr *attr, pid_t pid, int cpu)
{
	int fd, tries;

	for (tries = 0; ; tries++) {
		fd = perf_try_once(attr, pid, cpu);
		if (fd != -ENOSPC || tries >= PATIENCE)
			return fd;
		poll(NULL, 0, 1);
	}
}

static bool usable(struct __test_metadata *_metadata)
{
	int fd, err;

	if (!perf_usable(_metadata))
		return false;
	nr_cpus = allowed_cpus(cpus, MAX_CPUS);
	ASSERT_LT(0, nr_cpus);
	words = mmap((void *)UNLIKELY, 4096, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, words);

	expect_slots_free(_metadata);
	err = slots_take(cpus[0], &fd, 1);
	if (!err)
		close(fd);
	return may_go_on(_metadata, err, "breakpoint on a CPU");
}

FIXTURE(perf_cpu) {
	int unused;
};

FIXTURE_SETUP(perf_cpu)
{
	self->unused = 0;
	if (!usable(_metadata))
		return;
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

/* On each CPU what is done there, whichever task does it */
TEST_F(perf_cpu, counts_all_tasks_there)
{
	struct held child[3];
	int fd[MAX_CPUS], i;

	for (i = 0; i < nr_cpus; i++) {
		ASSERT_EQ(0, open_on_cpu(cpus[i], &fd[i], 1)) {
			TH_LOG("CPU index %u", i);
		}
	}
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, held_start(&child[i], store_on_each,
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
 * In every division between a CPU and a task all fire, and one more is
 * refused to the CPU, to the task there, and to the task for any CPU.
 */
TEST_F(perf_cpu, shares_with_tasks)
{
	int fd[DR_SLOTS], cpu = cpus[0], split, i;

	ASSERT_EQ(0, pin_to_cpu(0, cpu));
	for (split = 0; split <= DR_SLOTS; split++) {
		ASSERT_EQ(0, open_on_cpu(cpu, fd, split));
		for (i = split; i < DR_SLOTS; i++) {
			fd[i] = open_word(i, 0, i % 2 ? -1 : cpu);
			ASSERT_LE(0, fd[i]) {
				TH_LOG("%d on the CPU, %d on the task", split,
				       i - split);
			}
		}
		EXPECT_EQ(-ENOSPC, open_word(0, -1, cpu));
		EXPECT_EQ(-ENOSPC, open_word(0, 0, cpu));
		EXPECT_EQ(-ENOSPC, open_word(0, 0, -1));
		for (i = 0; i < DR_SLOTS; i++)
			probe_store4(&words[i], i);
		for (i = 0; i < DR_SLOTS; i++) {
			EXPECT_EQ(1, perf_count(fd[i])) {
				TH_LOG("event %d, %d on the CPU", i, split);
			}
		}
		close_all(fd, DR_SLOTS);
	}
	expect_slots_free(_metadata);
}

/* What is taken on one CPU is free on the other, but not for any CPU */
TEST_F(perf_cpu, leaves_other_cpus_alone)
{
	int fd[DR_SLOTS], other;

	if (nr_cpus < 2)
		SKIP(return, "only one CPU may be used");
	ASSERT_EQ(0, open_on_cpu(cpus[0], fd, DR_SLOTS));
	EXPECT_EQ(-ENOSPC, open_word(0, 0, -1));
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

/* A tracer is told of the lack when it writes the first of a slot's registers */
TEST_F(perf_cpu, refuses_tracers)
{
	struct tracee t = { .body = just_stop };
	unsigned int slot;
	int fd[DR_SLOTS];

	if (!start(_metadata, &t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, open_on_cpu(cpus[0], fd, DR_SLOTS));
	tracee_waits_for_slots = false;
	for (slot = 0; slot < DR_SLOTS; slot++)
		EXPECT_EQ(-ENOSPC, tracee_arm(&t, slot, BP_WRITE, 4, words));
	tracee_waits_for_slots = true;
	close_all(fd, DR_SLOTS);
	for (slot = 0; slot < DR_SLOTS; slot++)
		EXPECT_EQ(0, tracee_arm(&t, slot, BP_WRITE, 4, words));
	tracee_stop(&t);
}

/*
 * After each of these, four slots have to be free on every CPU again.
 * Three times from 2010 to 2013 the kernel miscounted, and lost slots for good.
 */
FIXTURE(slots_back_after) {
	int unused;
};

FIXTURE_SETUP(slots_back_after)
{
	self->unused = 0;
	if (!usable(_metadata))
		return;
}

FIXTURE_TEARDOWN(slots_back_after)
{
}

TEST_F(slots_back_after, close)
{
	int fd[DR_SLOTS], i, n;

	for (n = 0; n < 50; n++) {
		for (i = 0; i < DR_SLOTS; i++) {
			int cpu = (n + i) % 3 ? -1 : cpus[n % nr_cpus];

			fd[i] = open_word(i, 0, cpu);
			ASSERT_LE(0, fd[i]);
		}
		close_all(fd, DR_SLOTS);
	}
	expect_slots_free(_metadata);
}

TEST_F(slots_back_after, refusal)
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
		ASSERT_EQ(-EINVAL, try_patiently(&attr, i % 3 ? 0 : -1,
						 i % 2 || i % 3 == 0 ?
						 cpus[0] : -1));
	}
	expect_slots_free(_metadata);
}

static void open_four(void *arg)
{
	int i, cpu = arg ? *(int *)arg : -1;

	for (i = 0; i < DR_SLOTS; i++)
		if (open_word(i, 0, i % 2 ? -1 : cpu) < 0)
			_exit(1);
}

/* Nobody closes: the exit does */
TEST_F(slots_back_after, exit)
{
	struct held child;
	int i;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, held_start(&child, open_four,
					i % 2 ? &cpus[0] : NULL));
		ASSERT_EQ(0, held_release(&child));
	}
	expect_slots_free(_metadata);
}

static void store_for_ever(void *arg)
{
	open_four(NULL);
	if (write(*(int *)arg, "", 1) != 1)
		_exit(1);
	for (;;)
		probe_store4(words, 0);
}

TEST_F(slots_back_after, sigkill)
{
	struct held child;
	int p[2], i;
	char c;

	ASSERT_EQ(0, pipe(p));
	for (i = 0; i < 30; i++) {
		ASSERT_EQ(0, held_start(&child, store_for_ever, &p[1]));
		ASSERT_EQ(1, write(child.go, "", 1));
		ASSERT_EQ(1, read(p[0], &c, 1));
		ASSERT_EQ(0, kill(child.pid, SIGKILL));
		ASSERT_EQ(SIGKILL, reap(child.pid));
		close(child.go);
	}
	expect_slots_free(_metadata);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* The task goes first, then the events on it are closed */
TEST_F(slots_back_after, close_after_exit)
{
	struct held child;
	int fd[DR_SLOTS], i, n;

	for (n = 0; n < 30; n++) {
		ASSERT_EQ(0, held_start(&child, nothing, NULL));
		for (i = 0; i < DR_SLOTS; i++) {
			fd[i] = open_word(i, child.pid,
					  (n + i) % 3 ? -1 : cpus[0]);
			ASSERT_LE(0, fd[i]);
		}
		ASSERT_EQ(0, held_release(&child));
		close_all(fd, DR_SLOTS);
	}
	expect_slots_free(_metadata);
}

static void *nothing_in_thread(void *arg)
{
	return arg;
}

static void fork_and_clone(void *arg)
{
	pthread_t thread;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid < 0 || pthread_create(&thread, NULL, nothing_in_thread, arg) ||
	    pthread_join(thread, NULL) || reap(pid))
		_exit(1);
}

TEST_F(slots_back_after, inheritance)
{
	struct perf_event_attr attr = word_attr(0);
	struct held child;
	int fd[DR_SLOTS], i;

	skip_without_futex(_metadata);
	attr.inherit = 1;
	for (i = 0; i < DR_SLOTS; i++) {
		fd[i] = perf_try(&attr, 0, i % 2 ? -1 : cpus[0]);
		ASSERT_LE(0, fd[i]);
	}
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, held_start(&child, fork_and_clone, NULL));
		ASSERT_EQ(0, held_release(&child));
	}
	close_all(fd, DR_SLOTS);
	expect_slots_free(_metadata);
}

TEST_F(slots_back_after, modify)
{
	struct perf_event_attr attr = word_attr(0);
	unsigned int len = PERF_EXECUTE_LEN;
	int fd, i;

	if (!kernel_is(4, 17))
		SKIP(return, "no PERF_EVENT_IOC_MODIFY_ATTRIBUTES before 4.17");
	for (i = 0; i < 4; i++) {
		fd = try_patiently(&attr, i % 2 ? 0 : -1, cpus[0]);
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
	expect_slots_free(_metadata);
}

/* The new image: nothing */
static void __attribute__((constructor(101)))
image_main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--perf-image"))
		_exit(0);
}

static void open_four_and_exec(void *arg)
{
	const char *const args[] = { "--perf-image", NULL };

	open_four(arg);
	perf_exec(args);
	_exit(1);
}

/* Closed by execve() */
TEST_F(slots_back_after, execve)
{
	struct held child;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, held_start(&child, open_four_and_exec, NULL));
		ASSERT_EQ(0, held_release(&child));
	}
	expect_slots_free(_metadata);
}

/* Those of a tracer end with the tracee: by exit, by SIGKILL */
TEST_F(slots_back_after, traced_exit)
{
	unsigned int i, slot;

	for (i = 0; i < 40; i++) {
		struct tracee t = { .body = just_stop };

		if (!start(_metadata, &t, TRACEE_TRACEME))
			return;
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
	expect_slots_free(_metadata);
}

/* What a tracer is refused takes none either */
TEST_F(slots_back_after, traced_refusal)
{
	struct tracee t = { .body = just_stop };
	unsigned int i, slot;

	if (!start(_metadata, &t, TRACEE_TRACEME))
		return;
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
	expect_slots_free(_metadata);
}

TEST_HARNESS_MAIN
