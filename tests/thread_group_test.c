// SPDX-License-Identifier: GPL-2.0
/*
 * Armed threads of a process and the ways in which the process ends: in
 * addition to the running threads of thread_test.
 *
 * A thread group can lose its leader and continue, can lose all threads at once
 * (exit_group(), SIGKILL, execve() by one of them: de_thread() in fs/exec.c),
 * and can have as many tracers as it has threads.  Slots belong to each thread
 * throughout, and all of them must be released.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stressor.h"
#include "harness.h"
#include "probes.h"

#define THREADS		32
#define TRACERS		4
#define STACK		8192
#define THREAD_FLAGS							\
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
	 CLONE_SYSVSEM | CLONE_PARENT_SETTID)
#define EXEC_ENV	"HW_BREAKPOINT_THREADS_EXEC"
#define EXEC_CODE	7	/* exit code of the new program */

struct team;

/**
 * struct member - one thread, in shared memory
 * @stack: its stack
 * @team: its team
 * @word: watched, one for each slot
 * @progress: its progress
 * @tid: from the kernel, before it runs
 */
struct member {
	char stack[STACK] __attribute__((aligned(16)));
	struct team *team;
	unsigned int word[DR_SLOTS];
	unsigned long progress;
	int tid;
};

/**
 * struct team - a process and its threads, in shared memory
 * @n: number of threads
 * @body: what each of them does
 * @end: how one thread ends the process
 * @go: pipe from which they read when they may start
 * @begun: number of threads created
 * @err: negative errno of clone(), after which the leader has stopped
 * @word: all threads store here
 * @m: the threads
 */
struct team {
	unsigned int n;
	int (*body)(void *arg);
	void (*end)(void);
	int go[2];
	unsigned int begun;
	int err;
	unsigned int word;
	struct member m[THREADS];
};

/* The new program; runs before the constructors of the other files */
static void __attribute__((constructor(101))) after_exec(void)
{
	if (getenv(EXEC_ENV))
		_exit(EXEC_CODE);
}

/* No code of the C library may run in these threads: they share its TLS */
static void end_by_exec(void)
{
	char * const args[] = { "thread_group_test", NULL };
	char * const env[] = { EXEC_ENV "=1", NULL };

	syscall(SYS_execve, getauxval(AT_EXECFN), args, env);
	syscall(SYS_execve, "/proc/self/exe", args, env);
	syscall(SYS_exit_group, 1);
}

static void end_by_exit(void)
{
	syscall(SYS_exit_group, EXEC_CODE);
}

static void end_by_sigkill(void)
{
	syscall(SYS_kill, getpid(), SIGKILL);
}

/* The thread in the middle ends the process */
static bool ends_process(const struct team *team, unsigned int nr)
{
	return nr == team->n / 2;
}

static int store_then_end(void *arg)
{
	struct member *m = arg;
	struct team *team = m->team;

	m->progress = 1;
	probe_store4(&m->word[3], 1);
	if (ends_process(team, m - team->m))
		team->end();
	/* Only reached if the trap was missed */
	m->progress = 2;
	tracee_sync();
	return 0;
}

static void make_threads(struct team *team)
{
	struct member *m;

	for (m = team->m; m < team->m + team->n; m++) {
		m->team = team;
		if (clone(team->body, m->stack + STACK, THREAD_FLAGS, m,
			  &m->tid) < 0) {
			/* An exit would be reported after those of the threads */
			team->err = -errno;
			tracee_sync();
		}
		__atomic_add_fetch(&team->begun, 1, __ATOMIC_RELEASE);
	}
}

static void run_leader(struct tracee *t)
{
	make_threads(t->arg);
	for (;;)
		pause();
}

static int adopt_threads(struct tracee *t, struct team *team)
{
	unsigned int i, n;
	struct stop s;
	int err;

	for (i = 1; i <= team->n; i++) {
		struct member *m = &team->m[i - 1];

		err = tracee_cont(t);
		if (!err)
			err = tracee_wait(t, &s);
		if (err)
			return err;
		if (s.status >> 8 != (SIGTRAP | PTRACE_EVENT_CLONE << 8)) {
			if (team->err)
				return team->err;
			tracee_report(t, &s, "clone of thread %u expected", i);
			return 1;
		}
		t[i].id = i;
		t[i].pid = t->tid;
		t[i].progress = &m->progress;
		err = tracee_adopt(&t[i], m->tid);
		if (!err)
			err = tracee_wait(&t[i], &s);
		if (!err && s.status >> 16 != PTRACE_EVENT_STOP) {
			tracee_report(&t[i], &s, "first stop of a thread expected");
			err = 1;
		}
		for (n = 0; n < DR_SLOTS && !err; n++)
			err = tracee_arm(&t[i], n, BP_WRITE, 4, &m->word[n]);
		if (err)
			return err;
	}
	return 0;
}

/* Create all threads; they are stopped, armed in all slots, in t[1]... */
static void create_threads(struct __test_metadata *_metadata, struct tracee *t,
			   struct team *team)
{
	int err = adopt_threads(t, team);

	skip_if_few_processes(_metadata, err);
	ASSERT_EQ(0, err);
}

FIXTURE(thread_group_end) {
	struct team *team;
	struct tracee t[1 + THREADS];
};

FIXTURE_VARIANT(thread_group_end) {
	void (*end)(void);
	int status;
};

FIXTURE_VARIANT_ADD(thread_group_end, exit_group) {
	.end = end_by_exit, .status = EXEC_CODE << 8,
};

FIXTURE_VARIANT_ADD(thread_group_end, sigkill) {
	.end = end_by_sigkill, .status = SIGKILL,
};

FIXTURE_VARIANT_ADD(thread_group_end, execve) {
	.end = end_by_exec, .status = EXEC_CODE << 8,
};

FIXTURE_SETUP(thread_group_end)
{
	self->team = shared_alloc(sizeof(*self->team));
	self->team->n = THREADS;
	self->team->body = store_then_end;
	self->team->end = variant->end;
	self->t[0].arg = self->team;
	self->t[0].body = run_leader;
}

static void stop_group(struct tracee *t)
{
	unsigned int i;

	for (i = 1; i <= THREADS; i++)
		t[i] = (struct tracee){ .tid = 0 };
}

FIXTURE_TEARDOWN(thread_group_end)
{
	/* The threads die with the leader, and must be reaped before it */
	unsigned int i;

	if (self->t[0].tid > 0)
		kill(self->t[0].tid, SIGKILL);
	for (i = 1; i <= THREADS; i++) {
		/* In the team's memory, not allocated by tracee_start() */
		self->t[i].progress = NULL;
		tracee_stop(&self->t[i]);
	}
	tracee_stop(&self->t[0]);
}

/*
 * All threads are armed in all slots and are stopped at a hit, in which state
 * they are ended; one is continued and ends the process.
 */
TEST_F(thread_group_end, ends_and_releases_slots)
{
	struct team *team = self->team;
	struct tracee *t = self->t;
	unsigned int i, round;
	struct stop s;
	int status;

	for (round = 0; round < 4; round++) {
		struct tracee *ending_thread = &t[1 + team->n / 2];

		start_tracee(_metadata, t, TRACEE_SEIZE);
		ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
				    PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE |
				    PTRACE_O_TRACEEXEC));
		create_threads(_metadata, t, team);
		ASSERT_EQ(0, tracee_cont(t));
		for (i = 1; i <= team->n; i++) {
			ASSERT_EQ(0, tracee_expect_hit(&t[i], 8,
						       probe_store4_next, 1));
		}
		ASSERT_EQ(0, tracee_cont(ending_thread));
		for (i = 1; i <= team->n; i++) {
			if (&t[i] == ending_thread)
				continue;
			ASSERT_EQ(0, tracee_wait(&t[i], &s));
			ASSERT_FALSE(WIFSTOPPED(s.status)) {
				tracee_report(&t[i], &s, "end expected");
			}
		}
		if (variant->end == end_by_exec) {
			/* It is reported with the tid of the leader */
			ASSERT_EQ(0, tracee_wait(t, &s));
			ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXEC << 8,
				  s.status >> 8) {
				tracee_report(t, &s, "expected execve()");
			}
			ASSERT_EQ(0, tracee_cont(t));
		} else {
			ASSERT_EQ(0, tracee_wait(ending_thread, &s));
			ASSERT_FALSE(WIFSTOPPED(s.status));
		}
		ASSERT_EQ(t->tid, waitpid(t->tid, &status, __WALL));
		t->tid = 0;
		ASSERT_EQ(variant->status, status);
		tracee_stop(t);
		stop_group(t);
		memset(team->m, 0, sizeof(team->m));
	}
	expect_no_slot_leaked(_metadata);
}

/* Four threads, without variants */
FIXTURE(thread_group) {
	struct team *team;
	struct tracee t[1 + TRACERS];
};

FIXTURE_SETUP(thread_group)
{
	self->team = shared_alloc(sizeof(*self->team));
	self->team->n = TRACERS;
	ASSERT_EQ(0, pipe2(self->team->go, O_CLOEXEC));
	self->t[0].arg = self->team;
}

FIXTURE_TEARDOWN(thread_group)
{
	unsigned int i;

	if (self->t[0].tid > 0)
		kill(self->t[0].tid, SIGKILL);
	for (i = 1; i <= TRACERS; i++) {
		self->t[i].progress = NULL;
		tracee_stop(&self->t[i]);
	}
	tracee_stop(&self->t[0]);
}

/*
 * The leader, armed itself, exits first: it becomes a zombie whose registers
 * cannot be accessed, and the slots of the others are not affected.
 */
static int store_twenty_times(void *arg)
{
	struct member *m = arg;

	for (m->progress = 1; m->progress <= 20; m->progress++)
		probe_store4(&m->word[3], 1);
	return 0;
}

static void run_leader_and_exit(struct tracee *t)
{
	struct team *team = t->arg;

	make_threads(team);
	*t->progress = 1;
	probe_store4(&team->word, 1);
	*t->progress = 2;
	syscall(SYS_exit, 0);
}

TEST_F(thread_group, continues_without_leader)
{
	struct team *team = self->team;
	struct tracee *t = self->t;
	unsigned long n, dr;
	unsigned int i;
	struct stop s;

	team->body = store_twenty_times;
	t->body = run_leader_and_exit;
	start_tracee(_metadata, t, TRACEE_SEIZE);
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE));
	create_threads(_metadata, t, team);
	ASSERT_EQ(0, tracee_arm(t, 1, BP_WRITE, 4, &team->word));
	/* For the leader only: its threads have inherited the options */
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACEEXIT));
	for (n = 1; n <= 20; n++) {
		for (i = 1; i <= team->n; i++) {
			ASSERT_EQ(0, tracee_expect_hit(&t[i], 8,
						       probe_store4_next, n));
		}
		switch (n) {
		case 5:
			ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next,
						       1));
			break;
		case 10:
			ASSERT_EQ(0, tracee_cont(t));
			ASSERT_EQ(0, tracee_wait(t, &s));
			ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXIT << 8,
				  s.status >> 8);
			break;
		case 12:
			ASSERT_EQ(0, tracee_cont(t));
			break;
		case 15:
			/* Running or a zombie: ESRCH */
			ASSERT_EQ(-ESRCH, tracee_peek(t, 7, &dr));
			ASSERT_EQ(-ESRCH, tracee_poke(t, 7, 0));
			break;
		}
	}
	for (i = 1; i <= team->n; i++) {
		ASSERT_EQ(0, tracee_expect_exit(&t[i])) {
			TH_LOG("thread %u", i);
		}
	}
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_EQ(0, tracee_check_exit(t, &s));
}

/*
 * Each thread of a process is traced by another thread of the tracing process.
 * All watch the same word, each in another slot.
 */
#define STORES	50

static int store_on_request(void *arg)
{
	struct member *m = arg;
	struct team *team = m->team;
	char byte;

	/* End of file starts all of them */
	if (read(team->go[0], &byte, 1))
		return 1;
	for (m->progress = 1; m->progress <= STORES; m->progress++)
		probe_store4(&team->word, 1);
	return 0;
}

struct tracer {
	struct tracee *t;
	struct team *team;
	unsigned int nr;
	unsigned int *ready;
	int err;
};

static int trace_one(struct tracer *r)
{
	unsigned int slot = r->nr % DR_SLOTS;
	struct tracee *t = r->t;
	unsigned long n;
	struct stop s;
	int err;

	t->progress = &r->team->m[r->nr].progress;
	err = tracee_adopt(t, r->team->m[r->nr].tid);
	if (!err && (ptrace(PTRACE_SEIZE, t->tid, NULL, PTRACE_O_EXITKILL) ||
		     ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL)))
		err = -errno;
	if (!err)
		err = tracee_wait(t, &s);
	if (!err)
		err = tracee_arm(t, slot, BP_RW, 4, &r->team->word);

	/*
	 * All are armed before any runs; a thread may still be waiting for that
	 * after an error
	 */
	if (__atomic_add_fetch(r->ready, 1, __ATOMIC_ACQ_REL) == TRACERS)
		close(r->team->go[1]);
	for (n = 1; n <= STORES && !err; n++)
		err = tracee_expect_hit(t, 1U << slot, probe_store4_next, n);
	return err ? err : tracee_expect_exit(t);
}

static void *tracer(void *arg)
{
	struct tracer *r = arg;

	r->err = trace_one(r);
	return NULL;
}

TEST_F(thread_group, tracer_for_each_thread)
{
	struct team *team = self->team;
	struct tracer tracers[TRACERS];
	pthread_t thread[TRACERS];
	unsigned int i, ready = 0;
	int status, err;
	pid_t pid;

	skip_without_futex(_metadata);
	skip_if_cannot_trace(_metadata);
	team->body = store_on_request;
	pid = fork_or_skip(_metadata);
	if (!pid) {
		close(team->go[1]);
		make_threads(team);
		syscall(SYS_exit, 0);
	}
	while (__atomic_load_n(&team->begun, __ATOMIC_ACQUIRE) < TRACERS) {
		ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
		err = __atomic_load_n(&team->err, __ATOMIC_RELAXED);
		skip_if_few_processes(_metadata, err);
		ASSERT_EQ(0, err);
		let_others_run();
	}
	for (i = 0; i < TRACERS; i++) {
		tracers[i] = (struct tracer){ .t = &self->t[1 + i],
			.team = team, .nr = i, .ready = &ready };
		self->t[1 + i].id = 1 + i;
		err = pthread_create(&thread[i], NULL, tracer, &tracers[i]);
		skip_if_few_processes(_metadata, -err);
		ASSERT_EQ(0, err);
	}
	for (i = 0; i < TRACERS; i++) {
		EXPECT_EQ(0, pthread_join(thread[i], NULL));
		EXPECT_EQ(0, tracers[i].err);
	}
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status) {
		TH_LOG("wait status %#x of the process", status);
	}
}

TEST_HARNESS_MAIN
