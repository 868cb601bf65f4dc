// SPDX-License-Identifier: GPL-2.0
/*
 * Threads of one process: shared memory, but separate slots.
 *
 * Slots belong to a thread (thread_struct.ptrace_bps), and between two threads
 * of a process the kernel switches debug registers without switching the
 * address space. Here all threads run the same code on the same data, and a
 * trap is expected only where the thread itself is armed: a switch that leaves
 * the registers of the previous thread, or does not load those of the next, is
 * detected at the next access.  For groups of processes see
 * context_switch_test.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracee_group.h"
#include "harness.h"
#include "probes.h"

#define THREADS		32
#define BRIEF		60	/* threads that come and go */
#define STACK		8192
#define THREAD_FLAGS							\
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
	 CLONE_SYSVSEM | CLONE_PARENT_SETTID)

struct team;

/**
 * struct thread - one thread, in shared memory
 * @stack: its stack
 * @m: what it accesses and, if armed, the traps that are expected
 * @team: its team
 * @turn: ends of the pipe from which it reads its turn, in a ring
 * @next: the thread that gets the next turn
 * @progress: its progress
 * @tid: from the kernel, before it runs
 */
struct thread {
	char stack[STACK] __attribute__((aligned(16)));
	struct group_tracee m;
	struct team *team;
	int turn[2];
	struct thread *next;
	unsigned long progress;
	int tid;
};

/**
 * struct team - a process and its threads, in shared memory
 * @leader: only its exit is expected
 * @n: number of threads
 * @ended: number of threads that have finished
 * @ring: a thread passes the turn to the next after every access
 * @brief: each of the last @brief threads is created when the one before has
 *	exited
 * @stop: asks threads that loop to end
 * @err: negative errno of clone(), after which the leader has stopped
 * @word: all threads store here
 * @thread: the threads
 */
struct team {
	struct group_tracee leader;
	unsigned int n;
	unsigned int ended;
	bool ring;
	unsigned int brief;
	int stop;
	int err;
	unsigned int word;
	struct thread thread[4 + BRIEF];
};

static void end_thread(struct team *team)
{
	__atomic_add_fetch(&team->ended, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &team->ended, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static int run_rounds(void *arg)
{
	struct thread *th = arg;
	struct team *team = th->team;
	unsigned long step;
	char turn = 0;

	for (step = 0; step < th->m.rounds * 8UL; step++) {
		if (team->ring && read(th->turn[0], &turn, 1) != 1)
			return 1;
		th->progress = 1 + step;
		group_access(&th->m, step);
		if (!team->ring)
			sched_yield();
		else if (write(th->next->turn[1], &turn, 1) != 1)
			return 1;
	}
	end_thread(team);
	return 0;
}

static int store_until_stopped(void *arg)
{
	struct thread *th = arg;
	struct team *team = th->team;

	while (!__atomic_load_n(&team->stop, __ATOMIC_RELAXED)) {
		th->progress += 1;
		probe_store4(&team->word, th->progress);
	}
	end_thread(team);
	return 0;
}

/* The leader of the process creates the threads, and exits after them */
static void run_leader(struct team *team, int (*body)(void *arg))
{
	unsigned int i, ended;
	struct thread *th;

	for (i = 0; i < team->n; i++) {
		th = &team->thread[i];
		if (clone(body, th->stack + STACK, THREAD_FLAGS, th,
			  &th->tid) < 0) {
			/* An exit would be reported after those of the threads */
			team->err = -errno;
			tracee_sync();
		}
		/* Short-lived threads: only a few at a time */
		while (team->brief && i > team->n - team->brief &&
		       __atomic_load_n(&team->ended, __ATOMIC_ACQUIRE) + 4 < i)
			let_others_run();
	}
	/* The registers of an armed leader are loaded, and replaced, now and then */
	while ((ended = __atomic_load_n(&team->ended, __ATOMIC_ACQUIRE)) != team->n) {
		if (team->leader.armed)
			let_others_run();
		else
			syscall(SYS_futex, &team->ended, FUTEX_WAIT, ended, NULL, NULL, 0);
	}
}

static void run_leader_and_threads(struct tracee *t)
{
	struct group_tracee *leader = t->arg;

	run_leader((struct team *)leader, run_rounds);
}

static void run_leader_and_stores(struct tracee *t)
{
	struct group_tracee *leader = t->arg;

	run_leader((struct team *)leader, store_until_stopped);
}

FIXTURE(thread) {
	struct team *team;
	struct tracee t[1 + 4 + BRIEF];
};

FIXTURE_VARIANT(thread) {
	bool pinned;
};

FIXTURE_VARIANT_ADD(thread, on_one_cpu) {
	.pinned = true,
};

FIXTURE_VARIANT_ADD(thread, roaming) {
	.pinned = false,
};

/* All threads get separate addresses; the tests change what they need */
FIXTURE_SETUP(thread)
{
	struct team *team = shared_alloc(sizeof(*team));
	struct group_area *area = group_areas();
	unsigned int i;
	int cpu;

	self->team = team;
	team->n = THREADS;
	team->leader = (struct group_tracee){ .area = area, .of = THREADS };
	self->t[0].arg = &team->leader;
	self->t[0].body = run_leader_and_threads;
	for (i = 0; i < 4 + BRIEF; i++) {
		team->thread[i].team = team;
		team->thread[i].m = (struct group_tracee){
			.area = area, .nr = i % THREADS, .of = THREADS,
			.rounds = iterations(5), .armed = true };
	}
	if (variant->pinned) {
		ASSERT_EQ(1, allowed_cpus(&cpu, 1));
		ASSERT_EQ(0, pin_to_cpu(0, cpu));
	}
}

FIXTURE_TEARDOWN(thread)
{
	/* All of them die with the leader, also one that was not adopted */
	if (self->t[0].tid > 0 && !kill(self->t[0].tid, SIGKILL))
		while (waitpid(-1, NULL, __WALL) > 0)
			;
	self->t[0].tid = 0;
	tracee_stop(&self->t[0]);
}

static void start_team(struct __test_metadata *_metadata, struct tracee *t)
{
	start_tracee(_metadata, t, TRACEE_SEIZE);
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE));
}

/* Adopt a thread that is about to report its first stop */
static int adopt(struct tracee *t, const struct tracee *leader,
		 struct thread *th, unsigned int id)
{
	struct stop s;
	int err;

	t->id = id;
	t->arg = &th->m;
	t->progress = &th->progress;
	t->pid = leader->tid;
	err = tracee_adopt(t, th->tid);
	if (!err)
		err = tracee_wait(t, &s);
	if (err)
		return err;
	if (!WIFSTOPPED(s.status) || s.status >> 16 != PTRACE_EVENT_STOP) {
		tracee_report(t, &s, "first stop of a thread expected");
		return 1;
	}
	return th->m.armed ? group_arm(t) : 0;
}

static int adopt_threads(struct tracee *t, struct team *team)
{
	unsigned int i;
	struct stop s;
	int err;

	for (i = 0; i < team->n; i++) {
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
		err = adopt(&t[1 + i], t, &team->thread[i], 1 + i);
		if (err)
			return err;
	}
	return 0;
}

/*
 * Let the leader, t[0], create all threads; they are stopped, armed, in t[1]...
 */
static void start_threads(struct __test_metadata *_metadata, struct tracee *t,
			  struct team *team)
{
	int err = adopt_threads(t, team);

	skip_if_few_processes(_metadata, err);
	ASSERT_EQ(0, err);
}

/*
 * Each has its own slots, at separate addresses, and accesses those of others
 */
TEST_F(thread, own_addresses)
{
	start_team(_metadata, self->t);
	start_threads(_metadata, self->t, self->team);
	ASSERT_EQ(0, group_run(self->t, 1 + THREADS));
}

/* All are armed at the same addresses: each traps for its own accesses */
TEST_F(thread, same_addresses)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++)
		self->team->thread[i].m.nr = 0;
	start_team(_metadata, self->t);
	start_threads(_metadata, self->t, self->team);
	ASSERT_EQ(0, group_run(self->t, 1 + THREADS));
}

/* Every other one has nothing armed, and accesses what the armed ones watch */
TEST_F(thread, unarmed_never_trap)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		self->team->thread[i].m.nr = i / 2;
		self->team->thread[i].m.armed = i % 2;
	}
	start_team(_metadata, self->t);
	start_threads(_metadata, self->t, self->team);
	ASSERT_EQ(0, group_run(self->t, 1 + THREADS));
}

/* All access the same data, one is armed: neither the first nor the last */
TEST_F(thread, only_armed_thread_traps)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		self->team->thread[i].m.nr = 0;
		self->team->thread[i].m.armed = i == THREADS / 2;
	}
	start_team(_metadata, self->t);
	start_threads(_metadata, self->t, self->team);
	ASSERT_EQ(0, group_run(self->t, 1 + THREADS));
	ASSERT_EQ(iterations(5) * GROUP_TRAPS_PER_ROUND, self->t[1 + THREADS / 2].traps);
}

/*
 * One more thread accesses everything without a slot: the leader of the process
 * is armed, the threads are not.
 */
TEST_F(thread, armed_leader_and_unarmed_threads)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		self->team->thread[i].m.nr = 0;
		self->team->thread[i].m.armed = false;
	}
	self->team->leader.armed = true;
	start_team(_metadata, self->t);
	/* The leader accesses none of it; only its exit is expected */
	ASSERT_EQ(0, group_arm(&self->t[0]));
	start_threads(_metadata, self->t, self->team);
	ASSERT_EQ(0, group_run(self->t, 1 + THREADS));
}

/*
 * A ring: the turn is passed through pipes, one access for each turn, so that
 * there is a context switch before each access.  Armed, unarmed on the same
 * data, armed elsewhere, and so on: registers left by the previous thread would
 * be hit in the next, and registers that are not loaded for the next would be
 * missed.
 */
static void ring(struct __test_metadata *_metadata, struct tracee *t,
		 struct team *team, unsigned int n, const char *armed,
		 const char *nr)
{
	struct thread *th = team->thread;
	unsigned int i;

	team->n = n;
	team->ring = true;
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, pipe2(th[i].turn, O_CLOEXEC));
		th[i].next = &th[(i + 1) % n];
		th[i].m.nr = nr[i] - '0';
		th[i].m.armed = armed[i] == '+';
		th[i].m.rounds = iterations(20);
	}
	start_team(_metadata, t);
	start_threads(_metadata, t, team);
	ASSERT_EQ(1, write(th[0].turn[1], "", 1));
	ASSERT_EQ(0, group_run(t, 1 + n));
}

TEST_F(thread, ring_of_two_armed)
{
	ring(_metadata, self->t, self->team, 2, "++", "01");
}

TEST_F(thread, ring_of_armed_and_unarmed)
{
	ring(_metadata, self->t, self->team, 2, "+-", "00");
}

TEST_F(thread, ring_of_armed_unarmed_armed)
{
	ring(_metadata, self->t, self->team, 3, "+-+", "001");
}

TEST_F(thread, ring_of_same_addresses_and_unarmed)
{
	ring(_metadata, self->t, self->team, 4, "++-+", "0001");
}

/*
 * A thread is armed while all others run on the same word, and disarmed again,
 * one after the other.
 */
TEST_F(thread, armed_one_at_a_time_while_all_run)
{
	struct team *team = self->team;
	struct tracee *t = self->t;
	unsigned int i, n;
	siginfo_t info;
	struct stop s;

	skip_if_dead(_metadata, BY_PTRACE, NEEDS_WRITE);
	team->n = 4;
	t->body = run_leader_and_stores;
	for (i = 0; i < team->n; i++)
		team->thread[i].m.armed = false;
	start_team(_metadata, t);
	start_threads(_metadata, t, team);
	for (i = 0; i <= team->n; i++) {
		ASSERT_EQ(0, tracee_cont(&t[i])) {
			TH_LOG("thread %u", i);
		}
	}
	for (i = 1; i <= team->n; i++) {
		unsigned long at;

		ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, t[i].tid, NULL, NULL));
		ASSERT_EQ(0, tracee_wait(&t[i], &s));
		ASSERT_EQ(PTRACE_EVENT_STOP, s.status >> 16) {
			tracee_report(&t[i], &s, "interrupt expected");
		}
		ASSERT_EQ(0, tracee_arm(&t[i], i % DR_SLOTS, BP_WRITE, 4,
					&team->word));
		at = s.progress;
		for (n = 0; n < 10; n++) {
			ASSERT_EQ(0, tracee_cont(&t[i]));
			ASSERT_EQ(0, tracee_wait_trap(&t[i], &s, at + 1 + n));
			/* It is not known whether that store was made before */
			if (!n && s.progress == at + 1)
				at++;
			ASSERT_EQ(0, tracee_check_trap(&t[i], &s,
						       &(struct trap){
				.ip = probe_store4_next,
				.slots = 1U << i % DR_SLOTS,
				.progress = at + n }));
		}
		ASSERT_EQ(0, tracee_disarm(&t[i], i % DR_SLOTS));
		ASSERT_EQ(0, tracee_cont(&t[i]));
	}
	/* No trap is expected from here on, and none was before */
	info.si_pid = 0;
	ASSERT_EQ(0, waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG |
			    WNOWAIT | __WALL));
	ASSERT_EQ(0, info.si_pid);
	__atomic_store_n(&team->stop, 1, __ATOMIC_RELEASE);
	for (i = 1; i <= team->n; i++) {
		ASSERT_EQ(0, tracee_wait(&t[i], &s));
		ASSERT_EQ(0, tracee_check_exit(&t[i], &s));
	}
	ASSERT_EQ(0, tracee_wait(&t[0], &s));
	ASSERT_EQ(0, tracee_check_exit(&t[0], &s));
}

#define BORN	(-1)	/* instead of a status: it is adopted, and stopped */

/* Wait for any event; threads that were just created are adopted */
static struct tracee *next_event(struct tracee *t, struct team *team,
				 struct stop *s)
{
	siginfo_t info;
	unsigned int i;

	if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOWAIT | __WALL))
		return NULL;
	for (i = 0; i <= team->n; i++) {
		if (t[i].tid == info.si_pid)
			return tracee_wait(&t[i], s) ? NULL : &t[i];
		if (i && !t[i].tid &&
		    __atomic_load_n(&team->thread[i - 1].tid,
				    __ATOMIC_ACQUIRE) == info.si_pid) {
			if (adopt(&t[i], t, &team->thread[i - 1], i))
				return NULL;
			s->status = BORN;
			return &t[i];
		}
	}
	return NULL;
}

/*
 * Threads that are armed, trap and exit, while armed threads run: an exit must
 * not clear the registers of other threads on that CPU, nor keep slots that the
 * next thread needs.
 */
TEST_F(thread, thread_exit_under_load)
{
	struct team *team = self->team;
	struct tracee *t;
	unsigned int i, left;
	struct stop s;

	team->n = 4 + BRIEF;
	team->brief = BRIEF;
	for (i = 0; i < team->n; i++)
		team->thread[i].m.rounds = i < 4 ? iterations(30) : 1;
	start_team(_metadata, self->t);
	ASSERT_EQ(0, tracee_cont(self->t));
	for (left = 1 + team->n; left;) {
		t = next_event(self->t, team, &s);
		ASSERT_NE(NULL, t);
		if (t == self->t)
			skip_if_few_processes(_metadata, team->err);
		if (s.status == BORN || (t == self->t && s.status >> 8 ==
				  (SIGTRAP | PTRACE_EVENT_CLONE << 8))) {
			ASSERT_EQ(0, tracee_cont(t));
			continue;
		}
		ASSERT_EQ(0, group_event(t, &s));
		if (t->tid < 0)
			left--;
	}
	for (i = 1; i <= team->n; i++) {
		ASSERT_EQ(team->thread[i - 1].m.rounds * GROUP_TRAPS_PER_ROUND,
			  self->t[i].traps);
	}
}

TEST_HARNESS_MAIN
