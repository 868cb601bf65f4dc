// SPDX-License-Identifier: GPL-2.0
/*
 * The lifetime of an armed slot: exec, detach, exit of the tracer and of the
 * tracee.
 *
 * Slots belong to one thread.  execve() clears them
 * (flush_ptrace_hw_breakpoint(), called by flush_thread()), and so does the
 * exit of the thread, but neither a detach nor the exit of the tracer: the
 * thread then dies of a SIGTRAP that nobody handles.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stressor.h"
#include "harness.h"
#include "probes.h"
#include "lifetime.h"

/*
 * A new program has new memory, possibly with other privileges: no slot may
 * survive execve().  The new program maps memory and code at the addresses that
 * the old one had watched, and accesses them.
 *
 * Regression test for f7da04c9c486 (DR6 and DR7 showed the old values).
 */
#define ARENA	((char *)FIXED_ADDRESS)
#define ARENA_WORD	((unsigned int *)(ARENA + 1024))
#define ARENA_OTHER	((unsigned int *)(ARENA + 2048))
#define ARENA_CODE	(ARENA + 4096)
#define EXEC_ENV	"HW_BREAKPOINT_LIFETIME_EXEC"

static void arena_map(void)
{
	if (mmap(ARENA, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != ARENA)
		_exit(EXIT_FAILURE);
	*ARENA_CODE = 0xc3;	/* ret */
}

static void arena_touch(void)
{
	char *code = ARENA_CODE;

	/* clang 14 cannot call a constant address in a 32-bit PIE */
	asm("" : "+r" (code));
	probe_load4(ARENA_WORD, 1);
	probe_store4(ARENA_OTHER, 1);
	((void (*)(void))(unsigned long)code)();
}

/* The new program; runs before the constructors of the other files */
static void __attribute__((constructor(101))) after_exec(void)
{
	if (!getenv(EXEC_ENV))
		return;
	arena_map();
	arena_touch();
	tracee_sync();
	arena_touch();
	_exit(0);
}

static int do_exec(void *arg)
{
	char * const args[] = { "lifetime_test", NULL };
	char * const env[] = { EXEC_ENV "=1", NULL };

	(void)arg;
	probe_store4(ARENA_WORD, 1);
	tracee_sync();
	syscall(SYS_execve, "/proc/self/exe", args, env);
	return errno == ENOENT ? ENOSYS : errno;
}

static void exec_from_leader(struct tracee *t)
{
	arena_map();
	*t->progress = 1;
	_exit(do_exec(NULL));
}

static void exec_from_thread(struct tracee *t)
{
	struct family *l = t->arg;

	arena_map();
	*t->progress = 1;
	if (clone(do_exec, l->stack + STACK, THREAD_FLAGS, NULL) < 0)
		_exit(1);
	for (;;) {
		probe_store4(ARENA_WORD, 1);
		*t->progress = 2;
		pause();
	}
}

FIXTURE(exec) {
	struct family *l;
	struct tracee t, thread;
};

FIXTURE_VARIANT(exec) {
	enum tracee_how how;
	bool from_thread;
};

FIXTURE_VARIANT_ADD(exec, traceme) {
	.how = TRACEE_TRACEME,
};

FIXTURE_VARIANT_ADD(exec, attached) {
	.how = TRACEE_ATTACH,
};

FIXTURE_VARIANT_ADD(exec, seized) {
	.how = TRACEE_SEIZE,
};

FIXTURE_VARIANT_ADD(exec, from_thread) {
	.from_thread = true,
};

FIXTURE_VARIANT_ADD(exec, from_thread_seized) {
	.how = TRACEE_SEIZE, .from_thread = true,
};

FIXTURE_SETUP(exec)
{
	if (access("/proc/self/exe", X_OK))
		SKIP(_exit(EXIT_SKIPPED), SKIP_NO_PROC);
	self->l = shared_alloc(sizeof(*self->l));
	self->t.arg = self->l;
	self->t.body = variant->from_thread ? exec_from_thread : exec_from_leader;
	self->thread.id = 1;
	start_tracee(_metadata, &self->t, variant->how);
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, self->t.tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC |
			    PTRACE_O_TRACECLONE));
}

FIXTURE_TEARDOWN(exec)
{
	/* A thread is killed and reaped with its process */
	tracee_stop(&self->t);
}

static int arm_arena(struct tracee *t)
{
	int err = tracee_arm(t, 0, BP_RW, 4, ARENA_WORD);

	if (!err)
		err = tracee_arm(t, 1, BP_WRITE, 4, ARENA_OTHER);
	if (!err)
		err = tracee_arm(t, 2, BP_EXECUTE, 1, ARENA_CODE);
	return err ? err : tracee_arm(t, 3, BP_RW, 1, ARENA + 128);
}

/* Up to the sync before execve(), with all slots armed, and one that was hit */
static int armed_before_exec(struct tracee *t)
{
	int err = arm_arena(t);

	/* One slot is hit, and leaves its bit in DR6 */
	if (!err)
		err = tracee_expect_hit(t, 1, probe_store4_next, *t->progress);
	return err ? err : tracee_expect_sync(t, *t->progress);
}

TEST_F(exec, clears_all_slots)
{
	struct tracee *t = &self->t, *execs = t;
	unsigned long dr, msg;
	unsigned int n;
	struct stop s;

	if (variant->from_thread) {
		execs = &self->thread;
		ASSERT_EQ(0, tracee_arm(t, 3, BP_RW, 4, ARENA_WORD));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP | PTRACE_EVENT_CLONE << 8, s.status >> 8);
		ASSERT_EQ(0, ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &msg));
		ASSERT_EQ(0, tracee_adopt(execs, msg));
		execs->pid = t->tid;
		ASSERT_EQ(0, tracee_wait(execs, &s));
		ASSERT_TRUE(WIFSTOPPED(s.status));
		ASSERT_EQ(0, tracee_disarm_all(execs));
		/* The leader is armed as well, and is stopped at a hit */
		ASSERT_EQ(0, tracee_expect_hit(t, 8, probe_store4_next, 1));
	} else {
		/* First the mapping, for the byte of code */
		*t->progress = 1;
	}
	ASSERT_EQ(0, armed_before_exec(execs));

	ASSERT_EQ(0, tracee_cont(execs));
	ASSERT_EQ(0, tracee_wait(t, &s));
	if (WIFEXITED(s.status))
		skip_if_refused(_metadata, -WEXITSTATUS(s.status),
				"/proc/self/exe");
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXEC << 8, s.status >> 8) {
		tracee_report(t, &s, "expected execve()");
	}
	for (n = 0; n < DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_peek(t, n, &dr));
		EXPECT_EQ(0, dr) {
			TH_LOG("DR%u is not cleared by execve()", n);
		}
	}
	ASSERT_EQ(0, tracee_peek(t, 6, &dr));
	EXPECT_EQ(DR6_NONE, dr);
	ASSERT_EQ(0, tracee_peek(t, 7, &dr));
	EXPECT_EQ(0, dr);

	/* No progress is recorded from here on */
	ASSERT_EQ(0, tracee_expect_sync(t, *t->progress));
	ASSERT_EQ(0, arm_arena(t));
	/* The addresses of the new program's probes are unknown (ASLR) */
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_EQ(dr6_encode(1, false), s.dr6);
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_EQ(dr6_encode(2, false), s.dr6);
	ASSERT_EQ(0, tracee_expect_hit(t, 4, ARENA_CODE, *t->progress));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/*
 * Detach, attach again, and tracers that exit.  The tracee waits for a byte
 * from a pipe before each access, and exits at the end of the pipe.
 */
struct detached {
	unsigned int word;
	unsigned long progress;
	unsigned long hits;	/* seen by the tracer */
	pid_t tid;
	int go[2];
};

static void store_on_request(struct tracee *t)
{
	struct detached *f = t->arg;
	char byte;

	/* It may outlive its tracer, see init_cleanup() in tracee.c */
	prctl(PR_SET_PDEATHSIG, 0);
	close(f->go[1]);
	f->tid = t->tid;
	tracee_sync();
	f->progress = 1;
	probe_store4(&f->word, 1);
	/* After a missed trap it does not wait for the next access */
	if (!__atomic_load_n(&f->hits, __ATOMIC_RELAXED))
		_exit(1);
	for (;;) {
		if (read(f->go[0], &byte, 1) != 1)
			_exit(0);
		f->progress += 1;
		probe_store4(&f->word, f->progress);
	}
}

FIXTURE(detach) {
	struct tracee t;
	struct detached *f;
};

FIXTURE_VARIANT(detach) {
	enum tracee_how how;
	enum tracee_how again;
};

FIXTURE_VARIANT_ADD(detach, traceme) {
	.how = TRACEE_TRACEME, .again = TRACEE_ATTACH,
};

FIXTURE_VARIANT_ADD(detach, attach) {
	.how = TRACEE_ATTACH, .again = TRACEE_SEIZE,
};

FIXTURE_VARIANT_ADD(detach, seize) {
	.how = TRACEE_SEIZE, .again = TRACEE_ATTACH,
};

FIXTURE_SETUP(detach)
{
	skip_if_dead(_metadata, BY_PTRACE, NEEDS_WRITE);
	self->f = shared_alloc(sizeof(*self->f));
	ASSERT_EQ(0, pipe2(self->f->go, O_CLOEXEC));
	self->t.body = store_on_request;
	self->t.arg = self->f;
}

FIXTURE_TEARDOWN(detach)
{
	tracee_stop(&self->t);
}

/* Trace, arm, and verify one hit */
static int arm_and_hit(struct tracee *t, enum tracee_how how)
{
	struct detached *f = t->arg;
	unsigned long *progress;
	struct stop s;
	int err = tracee_start(t, how);

	if (err)
		return err;
	progress = t->progress;
	err = tracee_expect_sync(t, 0);
	if (!err)
		err = tracee_arm(t, 2, BP_WRITE, 4, &f->word);
	if (!err)
		err = tracee_cont(t) || tracee_wait(t, &s);
	t->progress = &f->progress;
	s.progress = f->progress;
	if (!err)
		err = tracee_check_trap(t, &s, &(struct trap){
			.ip = probe_store4_next, .slots = 4, .progress = 1 });
	f->hits = !err;
	t->progress = progress;
	return err;
}

static int let_tracee_access(struct detached *f)
{
	return write(f->go[1], "", 1) == 1 ? 0 : -errno;
}

static int attach_again(struct tracee *t, enum tracee_how how)
{
	struct stop s;

	if (how == TRACEE_ATTACH) {
		if (ptrace(PTRACE_ATTACH, t->tid, NULL, NULL))
			return -errno;
	} else if (ptrace(PTRACE_SEIZE, t->tid, NULL, NULL) ||
		   ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL)) {
		return -errno;
	}
	return tracee_wait(t, &s) || !WIFSTOPPED(s.status);
}

/* Armed slots are still there for the next tracer, and trap */
static void check_still_armed(struct __test_metadata *_metadata, struct tracee *t,
			      struct detached *f)
{
	unsigned long dr;

	t->progress = &f->progress;
	ASSERT_EQ(0, tracee_peek(t, 2, &dr));
	ASSERT_EQ((unsigned long)&f->word, dr);
	ASSERT_EQ(0, tracee_peek(t, 7, &dr));
	ASSERT_EQ(dr7_encode(2, BP_WRITE, 4), dr);
	ASSERT_EQ(0, tracee_peek(t, 6, &dr));
	ASSERT_EQ(dr6_encode(4, false), dr);
	/* Three accesses and the exit: after a missed trap it does not wait */
	ASSERT_EQ(3, write(f->go[1], "abc", 3));
	close(f->go[1]);
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 2));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 3));
	/* And can be disarmed by a tracer that did not arm them */
	ASSERT_EQ(0, tracee_disarm_all(t));
	ASSERT_EQ(0, tracee_expect_exit(t));
	ASSERT_EQ(4, f->progress);
}

TEST_F(detach, leaves_slots_armed)
{
	struct tracee *t = &self->t;
	int status;

	skip_if_refused(_metadata, arm_and_hit(t, variant->how), "ptrace");
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, t->tid, NULL, NULL));
	ASSERT_EQ(0, let_tracee_access(self->f));
	/* If it does not trap it exits instead of waiting for more */
	close(self->f->go[1]);
	ASSERT_EQ(t->tid, waitpid(t->tid, &status, __WALL));
	t->tid = 0;
	ASSERT_TRUE(WIFSIGNALED(status)) {
		TH_LOG("wait status %#x", status);
	}
	ASSERT_EQ(SIGTRAP, WTERMSIG(status));
	/* The trap is reported after the store */
	ASSERT_EQ(2, self->f->word);
}

TEST_F(detach, disarmed_never_traps)
{
	struct tracee *t = &self->t;
	int status;

	skip_if_refused(_metadata, arm_and_hit(t, variant->how), "ptrace");
	ASSERT_EQ(0, tracee_disarm_all(t));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, t->tid, NULL, NULL));
	ASSERT_EQ(0, let_tracee_access(self->f));
	close(self->f->go[1]);
	ASSERT_EQ(t->tid, waitpid(t->tid, &status, __WALL));
	t->tid = 0;
	ASSERT_EQ(0, status);
	ASSERT_EQ(2, self->f->progress);
}

TEST_F(detach, next_tracer_finds_slots_armed)
{
	struct tracee *t = &self->t;

	skip_if_refused(_metadata, arm_and_hit(t, variant->how), "ptrace");
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, t->tid, NULL, NULL));
	skip_if_refused(_metadata, attach_again(t, variant->again), "attach");
	check_still_armed(_metadata, t, self->f);
}

/* A tracer that arms slots, lets the tracee run, and exits without a detach */
static void tracer_that_exits(struct detached *f, enum tracee_how how, bool killed)
{
	struct tracee t = { .body = store_on_request, .arg = f };

	/*
	 * The parent of the tracee has exited then, and closed its end of the
	 * pipe
	 */
	if (arm_and_hit(&t, how))
		_exit(1);
	if (ptrace(PTRACE_SETOPTIONS, t.tid, NULL, 0) || tracee_cont(&t))
		_exit(2);
	if (killed)
		kill(getpid(), SIGKILL);
	_exit(0);
}

static void let_tracer_exit(struct __test_metadata *_metadata, struct detached *f,
			    enum tracee_how how, bool killed)
{
	pid_t tracer;
	int status;

	/* The orphaned tracee becomes our child */
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	tracer = fork();
	ASSERT_LE(0, tracer);
	if (!tracer)
		tracer_that_exits(f, how, killed);
	ASSERT_EQ(tracer, waitpid(tracer, &status, 0));
	ASSERT_EQ(killed ? SIGKILL : 0, status);
}

TEST_F(detach, exiting_tracer_leaves_slots_armed)
{
	struct detached *f = self->f;
	int status;

	skip_if_cannot_trace(_metadata);
	let_tracer_exit(_metadata, f, variant->how, false);
	self->t.tid = f->tid;
	ASSERT_EQ(0, let_tracee_access(f));
	close(f->go[1]);
	ASSERT_EQ(f->tid, waitpid(f->tid, &status, __WALL));
	self->t.tid = 0;
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(SIGTRAP, WTERMSIG(status));
}

TEST_F(detach, killed_tracer_leaves_slots_armed)
{
	struct tracee *t = &self->t;
	struct detached *f = self->f;

	skip_if_cannot_trace(_metadata);
	let_tracer_exit(_metadata, f, variant->how, true);
	t->progress = &f->progress;
	ASSERT_EQ(0, tracee_adopt(t, f->tid));
	skip_if_refused(_metadata, attach_again(t, variant->again), "attach");
	check_still_armed(_metadata, t, f);
}

/*
 * The stops of PTRACE_SEIZE.  None of them may cost an armed slot, and a tracee
 * in PTRACE_LISTEN must not run into one.
 */
static void store_repeatedly(struct tracee *t)
{
	struct detached *f = t->arg;
	char byte;

	for (;;) {
		if (read(f->go[0], &byte, 1) != 1)
			_exit(0);
		*t->progress += 1;
		probe_store4(&f->word, 1);
		if (__atomic_load_n(&f->hits, __ATOMIC_RELAXED) != *t->progress)
			_exit(1);
	}
}

static int event_stop(struct tracee *t, int sig)
{
	struct stop s;

	if (tracee_wait(t, &s))
		return 1;
	if (WIFSTOPPED(s.status) &&
	    s.status >> 8 == (sig | PTRACE_EVENT_STOP << 8))
		return 0;
	tracee_report(t, &s, "expected PTRACE_EVENT_STOP of signal %d", sig);
	return 1;
}

FIXTURE(seized) {
	struct tracee t;
	struct detached *f;
};

FIXTURE_SETUP(seized)
{
	self->f = shared_alloc(sizeof(*self->f));
	ASSERT_EQ(0, pipe2(self->f->go, O_CLOEXEC));
	self->t.body = store_repeatedly;
	self->t.arg = self->f;
	start_tracee(_metadata, &self->t, TRACEE_SEIZE);
}

FIXTURE_TEARDOWN(seized)
{
	tracee_stop(&self->t);
}

TEST_F(seized, interrupt_and_listen_keep_slots_armed)
{
	struct tracee *t = &self->t;
	struct detached *f = self->f;
	unsigned long n;
	struct stop s;

	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 4, &f->word));
	for (n = 1; n <= 20; n++) {
		/* A stop between two accesses: twice, without a hit */
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL));
		ASSERT_EQ(0, event_stop(t, SIGTRAP));
		/* A group-stop, and its end while listening */
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, kill(t->tid, SIGSTOP));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGSTOP, s.status >> 8);
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, SIGSTOP));
		ASSERT_EQ(0, event_stop(t, SIGSTOP));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_LISTEN, 0));
		ASSERT_EQ(0, let_tracee_access(f));
		ASSERT_EQ(0, kill(t->tid, SIGCONT));
		ASSERT_EQ(0, event_stop(t, SIGTRAP));
		ASSERT_EQ(n - 1, *t->progress);
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGCONT, s.status >> 8) {
			tracee_report(t, &s, "expected SIGCONT");
		}
		ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, n));
		f->hits = n;
	}
}

/*
 * Slots of a thread that has exited are free again.  A leaked one is charged to
 * a task that no longer exists, where another task cannot see it; events on
 * CPUs can, if they are permitted.
 *
 * Regression test for 8b4d801b2b12, c790b0ad23f4, 45a73372efe4.
 */
#define TASKS	40	/* with four slots each; a single leaked one is detected */

FIXTURE(task_end) {
	unsigned int *word;
};

FIXTURE_SETUP(task_end)
{
	self->word = shared_alloc(4096);
	skip_if_cannot_trace(_metadata);
}

FIXTURE_TEARDOWN(task_end)
{
}

static int arm_four(struct tracee *t, unsigned int *word)
{
	unsigned int n;
	int err = 0;

	for (n = 0; n < DR_SLOTS && !err; n++)
		err = tracee_arm(t, n, BP_WRITE, 4, &word[n]);
	return err;
}

static void run_and_end(struct __test_metadata *_metadata, unsigned int *word,
			bool killed)
{
	struct tracee t;
	int i;

	for (i = 0; i < TASKS; i++) {
		t = (struct tracee){ .body = do_nothing, .arg = word };
		ASSERT_EQ(0, tracee_start(&t, TRACEE_TRACEME));
		ASSERT_EQ(0, arm_four(&t, word)) {
			TH_LOG("tracee %d: slots are not free", i);
		}
		if (!killed)
			ASSERT_EQ(0, tracee_expect_exit(&t));
		tracee_stop(&t);
	}
	expect_no_slot_leaked(_metadata);
}

TEST_F(task_end, exit_releases_slots)
{
	run_and_end(_metadata, self->word, false);
}

TEST_F(task_end, sigkill_releases_slots)
{
	run_and_end(_metadata, self->word, true);
}

/*
 * The tracee is killed by another process while its registers are written: each
 * call succeeds or fails with ESRCH, and no slot is leaked.
 *
 * Regression test for bf26c018490c, 87dc669ba257.
 */
#define KILLS	30

struct race {
	pid_t victim;
	unsigned int round;
};

static void killer(struct race *r)
{
	unsigned int round, spins;

	for (round = 1; round <= KILLS; round++) {
		while (__atomic_load_n(&r->round, __ATOMIC_ACQUIRE) != round)
			let_others_run();
		/* Earlier and later, from one iteration to the next */
		for (spins = 0; spins < round * 100; spins++)
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
		kill(r->victim, SIGKILL);
	}
	_exit(0);
}

TEST_F(task_end, poke_of_dying_tracee)
{
	struct race *r = shared_alloc(sizeof(*r));
	unsigned long val = dr7_encode(0, BP_WRITE, 4), pokes, seen;
	unsigned int round;
	pid_t pid;
	int err, status;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		killer(r);
	for (round = 1; round <= KILLS; round++) {
		struct tracee t = { .body = do_nothing };

		ASSERT_EQ(0, tracee_start(&t, TRACEE_TRACEME));
		ASSERT_EQ(0, arm_four(&t, self->word));
		r->victim = t.tid;
		__atomic_store_n(&r->round, round, __ATOMIC_RELEASE);
		for (pokes = 0; ; pokes++) {
			err = tracee_poke(&t, 0, (unsigned long)
					  &self->word[pokes & 7]);
			if (!err)
				err = tracee_poke(&t, 7, pokes & 1 ? val : 0);
			if (!err)
				err = tracee_peek(&t, 7, &seen);
			if (err)
				break;
			ASSERT_EQ(pokes & 1 ? val : 0, seen);
		}
		ASSERT_EQ(-ESRCH, err);
		ASSERT_EQ(t.tid, waitpid(t.tid, &status, __WALL));
		ASSERT_EQ(SIGKILL, status);
		t.tid = 0;
		tracee_stop(&t);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	expect_no_slot_leaked(_metadata);
}

/*
 * However it is attached: a new tracee has nothing armed, and a slot that is
 * then armed fires.
 */
FIXTURE(new_tracee) {
	struct tracee t;
	struct family *l;
};

FIXTURE_VARIANT(new_tracee) {
	enum tracee_how how;
};

FIXTURE_VARIANT_ADD(new_tracee, by_traceme) {
	.how = TRACEE_TRACEME,
};

FIXTURE_VARIANT_ADD(new_tracee, by_attach) {
	.how = TRACEE_ATTACH,
};

FIXTURE_VARIANT_ADD(new_tracee, by_seize) {
	.how = TRACEE_SEIZE,
};

FIXTURE_SETUP(new_tracee)
{
	self->l = shared_alloc(sizeof(*self->l));
	self->t.body = parent;
	self->t.arg = self->l;
	self->l->flags = SIGCHLD;
	start_tracee(_metadata, &self->t, variant->how);
}

FIXTURE_TEARDOWN(new_tracee)
{
	tracee_stop(&self->t);
}

TEST_F(new_tracee, has_nothing_armed)
{
	struct tracee *t = &self->t;
	struct family *l = self->l;
	unsigned long dr;
	unsigned int n;

	for (n = 0; n < 8; n++) {
		if (n == 4 || n == 5)
			continue;
		ASSERT_EQ(0, tracee_peek(t, n, &dr));
		EXPECT_EQ(n == 6 ? DR6_NONE : 0, dr);
	}
	for (n = 0; n < DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_arm(t, n, BP_RW, 4, &l->word)) {
			TH_LOG("slot %u", n);
		}
	}
	ASSERT_EQ(0, tracee_disarm(t, 0));
	ASSERT_EQ(0, tracee_disarm(t, 2));
	ASSERT_EQ(0, tracee_disarm(t, 3));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, 4));
	ASSERT_EQ(0, tracee_expect_sync(t, 6));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

TEST_HARNESS_MAIN
