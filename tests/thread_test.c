// SPDX-License-Identifier: GPL-2.0
/*
 * Threads of one process: the same memory, but each its own slots.
 *
 * Slots belong to a thread (thread_struct.ptrace_bps), and between two threads
 * of a process the kernel switches debug registers without switching the
 * address space.  So all threads run the same code on the same data here, and
 * owe a trap just where they are armed themselves: a switch that leaves the
 * registers of the last thread, or loses those of the next, shows at the very
 * next access.  Crews of processes are in tracees_test.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crew.h"
#include "harness.h"
#include "probes.h"

#define THREADS		32
#define BRIEF		150	/* threads that come and go */
#define STACK		8192
#define THREAD_FLAGS							\
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
	 CLONE_SYSVSEM | CLONE_PARENT_SETTID)

struct team;

/**
 * struct thread - one thread, in shared memory
 * @stack: its stack
 * @m: what it touches and, if armed, owes
 * @team: its team
 * @turn: ends of the pipe from which it reads its turn, where there is a ring
 * @next: whom it gives the turn
 * @progress: how far it is
 * @tid: from the kernel, before it runs
 */
struct thread {
	char stack[STACK] __attribute__((aligned(16)));
	struct crew_member m;
	struct team *team;
	int turn[2];
	struct thread *next;
	unsigned long progress;
	int tid;
};

/**
 * struct team - a process and its threads, in shared memory
 * @leader: what the leader owes: nothing but its exit
 * @n: number of threads
 * @begun: threads that were made
 * @ended: threads that are through
 * @ring: a thread hands over to the next after every access
 * @brief: a thread of the last @brief is made when the one before has ended
 * @stop: those that run without end have to end
 * @word: what all of these store to
 * @thread: the threads
 */
struct team {
	struct crew_member leader;
	unsigned int n;
	unsigned int begun;
	unsigned int ended;
	bool ring;
	unsigned int brief;
	int stop;
	unsigned int word;
	struct thread thread[4 + BRIEF];
};

static int play(void *arg)
{
	struct thread *th = arg;
	struct team *team = th->team;
	unsigned long step;
	char turn = 0;

	for (step = 0; step < th->m.rounds * 8UL; step++) {
		if (team->ring && read(th->turn[0], &turn, 1) != 1)
			return 1;
		th->progress = 1 + step;
		crew_access(&th->m, step);
		if (!team->ring)
			sched_yield();
		else if (write(th->next->turn[1], &turn, 1) != 1)
			return 1;
	}
	__atomic_add_fetch(&team->ended, 1, __ATOMIC_RELEASE);
	return 0;
}

static int store_until_told(void *arg)
{
	struct thread *th = arg;
	struct team *team = th->team;

	while (!__atomic_load_n(&team->stop, __ATOMIC_RELAXED)) {
		th->progress += 1;
		probe_store4(&team->word, th->progress);
	}
	__atomic_add_fetch(&team->ended, 1, __ATOMIC_RELEASE);
	return 0;
}

/* The leader of the process: makes the threads, and ends after them */
static void lead(struct team *team, int (*body)(void *arg))
{
	struct thread *th;
	unsigned int i;

	for (i = 0; i < team->n; i++) {
		th = &team->thread[i];
		if (clone(body, th->stack + STACK, THREAD_FLAGS, th,
			  &th->tid) < 0)
			_exit(1);
		/* Those that come and go: few at a time */
		while (team->brief && i > team->n - team->brief &&
		       __atomic_load_n(&team->ended, __ATOMIC_ACQUIRE) + 4 < i)
			sched_yield();
	}
	while (__atomic_load_n(&team->ended, __ATOMIC_ACQUIRE) != team->n)
		sched_yield();
}

static void lead_players(struct tracee *t)
{
	struct crew_member *leader = t->arg;

	lead((struct team *)leader, play);
}

static void lead_stores(struct tracee *t)
{
	struct crew_member *leader = t->arg;

	lead((struct team *)leader, store_until_told);
}

FIXTURE(threads) {
	struct team *team;
	struct tracee t[1 + 4 + BRIEF];
};

FIXTURE_VARIANT(threads) {
	bool pinned;
};

FIXTURE_VARIANT_ADD(threads, on_one_cpu) {
	.pinned = true,
};

FIXTURE_VARIANT_ADD(threads, roaming) {
	.pinned = false,
};

/* All threads get members of their own; the tests change what they need */
FIXTURE_SETUP(threads)
{
	struct team *team = shared_alloc(sizeof(*team));
	struct crew_area *area = crew_areas();
	unsigned int i;
	int cpu;

	self->team = team;
	team->n = THREADS;
	team->leader = (struct crew_member){ .area = area, .of = THREADS };
	self->t[0].arg = &team->leader;
	self->t[0].body = lead_players;
	for (i = 0; i < 4 + BRIEF; i++) {
		team->thread[i].team = team;
		team->thread[i].m = (struct crew_member){
			.area = area, .nr = i % THREADS, .of = THREADS,
			.rounds = 10, .armed = true };
	}
	if (variant->pinned) {
		ASSERT_EQ(1, allowed_cpus(&cpu, 1));
		ASSERT_EQ(0, pin_to_cpu(0, cpu));
	}
}

FIXTURE_TEARDOWN(threads)
{
	/* All of them die with the leader; those that are known are reaped */
	unsigned int i;

	for (i = 1; i <= self->team->n; i++) {
		/* In the team's memory, nothing of the tracee's */
		self->t[i].progress = NULL;
		tracee_stop(&self->t[i]);
	}
	tracee_stop(&self->t[0]);
}

static bool start_team(struct __test_metadata *_metadata, struct tracee *t)
{
	if (!start(_metadata, t, TRACEE_SEIZE))
		return false;
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE));
	return true;
}

/* Put a thread that has its first stop ahead of it under the ledger */
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
	return th->m.armed ? crew_arm(t) : 0;
}

/* Let the leader, t[0], make all threads; they stand, armed, in t[1]... */
static int muster(struct tracee *t, struct team *team)
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
			tracee_report(t, &s, "clone of thread %u expected", i);
			return 1;
		}
		err = adopt(&t[1 + i], t, &team->thread[i], 1 + i);
		if (err)
			return err;
	}
	return 0;
}

/* Each has its own slots, at its own addresses, and touches others' */
TEST_F(threads, own_addresses)
{
	if (!start_team(_metadata, self->t))
		return;
	ASSERT_EQ(0, muster(self->t, self->team));
	ASSERT_EQ(0, crew_run(self->t, 1 + THREADS));
}

/* All are armed at the same addresses: each owes a trap for its own accesses */
TEST_F(threads, same_addresses)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++)
		self->team->thread[i].m.nr = 0;
	if (!start_team(_metadata, self->t))
		return;
	ASSERT_EQ(0, muster(self->t, self->team));
	ASSERT_EQ(0, crew_run(self->t, 1 + THREADS));
}

/* Every other one is armed with nothing, and touches what the armed watch */
TEST_F(threads, unarmed_touch_freely)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		self->team->thread[i].m.nr = i / 2;
		self->team->thread[i].m.armed = i % 2;
	}
	if (!start_team(_metadata, self->t))
		return;
	ASSERT_EQ(0, muster(self->t, self->team));
	ASSERT_EQ(0, crew_run(self->t, 1 + THREADS));
}

/* All touch the same data, one is armed: neither the first nor the last */
TEST_F(threads, only_the_armed_one_traps)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		self->team->thread[i].m.nr = 0;
		self->team->thread[i].m.armed = i == THREADS / 2;
	}
	if (!start_team(_metadata, self->t))
		return;
	ASSERT_EQ(0, muster(self->t, self->team));
	ASSERT_EQ(0, crew_run(self->t, 1 + THREADS));
	ASSERT_EQ(10UL * CREW_TRAPS, self->t[1 + THREADS / 2].traps);
}

/*
 * One thread more touches everything and was never traced by a slot: the
 * leader of the process is armed, the threads are not.
 */
TEST_F(threads, armed_leader_and_unarmed_threads)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		self->team->thread[i].m.nr = 0;
		self->team->thread[i].m.armed = false;
	}
	if (!start_team(_metadata, self->t))
		return;
	/* The leader touches none of it, and owes just its exit */
	ASSERT_EQ(0, crew_arm(&self->t[0]));
	ASSERT_EQ(0, muster(self->t, self->team));
	ASSERT_EQ(0, crew_run(self->t, 1 + THREADS));
}

/*
 * A ring: the turn goes round by pipes, one access a turn, so that there is a
 * switch before each.  Armed, not armed and on the same data, armed elsewhere,
 * ...: what the last one leaves in the registers would hit the next, and what
 * is not loaded for the next would be missed.
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
		th[i].m.rounds = 40;
	}
	if (!start_team(_metadata, t))
		return;
	ASSERT_EQ(0, muster(t, team));
	ASSERT_EQ(1, write(th[0].turn[1], "", 1));
	ASSERT_EQ(0, crew_run(t, 1 + n));
}

TEST_F(threads, ring_of_two_armed)
{
	ring(_metadata, self->t, self->team, 2, "++", "01");
}

TEST_F(threads, ring_of_armed_and_unarmed)
{
	ring(_metadata, self->t, self->team, 2, "+-", "00");
}

TEST_F(threads, ring_of_armed_unarmed_armed)
{
	ring(_metadata, self->t, self->team, 3, "+-+", "001");
}

TEST_F(threads, ring_of_armed_alike_and_unarmed)
{
	ring(_metadata, self->t, self->team, 4, "++-+", "0001");
}

/*
 * A thread is armed while all others run on the same word, and disarmed again,
 * one after the other.
 */
TEST_F(threads, armed_one_at_a_time_while_all_run)
{
	struct team *team = self->team;
	struct tracee *t = self->t;
	unsigned int i, n;
	siginfo_t info;
	struct stop s;

	skip_if_dead(_metadata, BY_PTRACE, NEEDS_WRITE);
	team->n = 8;
	t->body = lead_stores;
	for (i = 0; i < team->n; i++)
		team->thread[i].m.armed = false;
	if (!start_team(_metadata, t))
		return;
	ASSERT_EQ(0, muster(t, team));
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
			ASSERT_EQ(0, tracee_wait(&t[i], &s));
			/* Whether that store was made before is not known */
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
	/* Nobody owes anything now, and nobody did all the time */
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

#define BORN	(-1)	/* instead of a status: it is adopted, and stands */

/* Whose event comes next, with those adopted that are just born */
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
 * Threads that are armed, trap and end, while armed threads run: an end must
 * not take what the others on the CPU have, nor keep what the next needs.
 */
TEST_F(threads, thread_exit_under_load)
{
	struct team *team = self->team;
	struct tracee *t;
	unsigned int i, left;
	struct stop s;

	team->n = 4 + BRIEF;
	team->brief = BRIEF;
	for (i = 0; i < team->n; i++)
		team->thread[i].m.rounds = i < 4 ? 60 : 1;
	if (!start_team(_metadata, self->t))
		return;
	ASSERT_EQ(0, tracee_cont(self->t));
	for (left = 1 + team->n; left;) {
		t = next_event(self->t, team, &s);
		ASSERT_NE(NULL, t);
		if (s.status == BORN || (t == self->t && s.status >> 8 ==
				  (SIGTRAP | PTRACE_EVENT_CLONE << 8))) {
			ASSERT_EQ(0, tracee_cont(t));
			continue;
		}
		ASSERT_EQ(0, crew_event(t, &s));
		if (t->tid < 0)
			left--;
	}
	for (i = 1; i <= team->n; i++) {
		ASSERT_EQ(team->thread[i - 1].m.rounds * CREW_TRAPS,
			  self->t[i].traps);
	}
}

TEST_HARNESS_MAIN
