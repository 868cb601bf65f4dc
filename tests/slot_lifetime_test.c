// SPDX-License-Identifier: GPL-2.0
/*
 * What must not end the lifetime of an armed slot, and what must: cases not in
 * lifetime_test.
 *
 * A failed execve() must not, nor a second tracer.  Each thread is a tracer of
 * its own (ptrace_check_attach() in kernel/ptrace.c compares tasks,
 * exit_ptrace() runs for each).  A tracee in PTRACE_EVENT_EXIT still has its
 * slots: do_exit() releases them later.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stressor.h"
#include "perf_event.h"
#include "probes.h"

#define ARENA		((char *)FIXED_ADDRESS)
#define ARENA_WORD	((unsigned int *)(ARENA + 1024))
#define EXEC_ENV	"HW_BREAKPOINT_LIFETIMES_EXEC"
#define EXEC_CODE	7	/* exit code of the new program */

/**
 * struct shared - shared by tracer and tracee
 * @word: four words, one for each slot
 * @progress: of a tracee that was not started by tracee_start()
 * @err: errno of the call under test
 * @go: pipe: a byte for each access
 */
struct shared {
	unsigned int word[DR_SLOTS];
	unsigned long progress;
	int err;
	int go[2];
};

static void arena_map(void)
{
	if (mmap(ARENA, 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != ARENA)
		_exit(1);
}

/* The new program; runs before the constructors of the other files */
static void __attribute__((constructor(101))) after_exec(void)
{
	if (!getenv(EXEC_ENV))
		return;
	arena_map();
	probe_store4(ARENA_WORD, 1);
	probe_load4(ARENA_WORD + 1, 1);
	_exit(EXEC_CODE);
}

/* By system calls only: it may run in a child of vfork() */
static void exec_self(void)
{
	char * const args[] = { "slot_lifetime_test", NULL };
	char * const env[] = { EXEC_ENV "=1", NULL };

	syscall(SYS_execve, getauxval(AT_EXECFN), args, env);
	syscall(SYS_execve, "/proc/self/exe", args, env);
	_exit(1);
}

static void block_sigchld(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static int arm_four(struct tracee *t, unsigned int *word)
{
	unsigned int n;
	int err = 0;

	for (n = 0; n < DR_SLOTS && !err; n++)
		err = tracee_arm(t, n, BP_WRITE, 4, &word[n]);
	return err;
}

/* All registers are those of arm_four() after a hit of these slots */
static int shows_four(struct tracee *t, unsigned int *word, unsigned int hit)
{
	unsigned long want, dr7 = 0, dr;
	unsigned int n, wrong = 0;

	for (n = 0; n < 8; n++) {
		if (n == 4 || n == 5)
			continue;
		if (n < DR_SLOTS) {
			want = (unsigned long)&word[n];
			dr7 |= dr7_encode(n, BP_WRITE, 4);
		} else {
			want = n == 7 ? dr7 : dr6_encode(hit, false);
		}
		if (!tracee_peek(t, n, &dr) && dr == want)
			continue;
		tracee_report(t, NULL, "DR%u is %#lx, expected %#lx", n, dr,
			      want);
		wrong = 1;
	}
	return wrong;
}

FIXTURE(slot_lifetime) {
	struct tracee t;
	struct shared *l;
};

FIXTURE_SETUP(slot_lifetime)
{
	self->l = shared_alloc(sizeof(*self->l));
	ASSERT_EQ(0, pipe2(self->l->go, O_CLOEXEC));
	self->t.arg = self->l;
}

FIXTURE_TEARDOWN(slot_lifetime)
{
	tracee_stop(&self->t);
}

/*
 * execve() of a missing file, a directory, and a file that is no program: each
 * is refused before begin_new_exec() (fs/exec.c), which alone calls
 * flush_thread().
 */
static int exec_refused(unsigned int n)
{
	char * const none[] = { NULL };
	int fd;

	switch (n) {
	case 0:
		syscall(SYS_execve, "/dev/null/nothing", none, none);
		return errno == ENOTDIR || errno == ENOENT ? 0 : errno;
	case 1:
		syscall(SYS_execve, "/", none, none);
		return errno == EACCES ? 0 : errno;
	default:
		fd = syscall(SYS_memfd_create, "no program", 0);
		if (fd < 0 || write(fd, "no program", 10) != 10)
			return errno;
		syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH);
		return errno == ENOEXEC ? 0 : errno;
	}
}

static void fail_to_exec(struct tracee *t)
{
	struct shared *l = t->arg;
	unsigned int n;

	for (n = 0; n < 3; n++) {
		*t->progress = 1 + n;
		l->err = exec_refused(n);
		probe_store4(&l->word[n], n);
	}
	*t->progress = 4;
	tracee_sync();
}

TEST_F(slot_lifetime, kept_across_failed_execve)
{
	struct tracee *t = &self->t;
	unsigned int n;

	t->body = fail_to_exec;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, arm_four(t, self->l->word));
	for (n = 0; n < 3; n++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << n, probe_store4_next,
					       1 + n));
		skip_if_refused(_metadata, -self->l->err, "execve");
		ASSERT_EQ(0, shows_four(t, self->l->word, 1U << n));
	}
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/*
 * A thread that is detached while armed, and then executes another program: a
 * slot that survives execve() would kill it at the first access.
 */
static void store_then_exec(struct tracee *t)
{
	arena_map();
	*t->progress = 1;
	tracee_sync();
	probe_store4(ARENA_WORD, 1);
	exec_self();
}

TEST_F(slot_lifetime, execve_of_detached_thread_clears_slots)
{
	struct tracee *t = &self->t;
	int status;

	t->body = store_then_exec;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_expect_sync(t, 1));
	ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 4, ARENA_WORD));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_RW, 4, ARENA_WORD + 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, t->tid, NULL, NULL));
	ASSERT_EQ(t->tid, waitpid(t->tid, &status, __WALL));
	t->tid = 0;
	ASSERT_EQ(EXEC_CODE << 8, status) {
		TH_LOG("wait status %#x: killed by a slot of the old program?",
		       status);
	}
}

/*
 * A tracer reads in the new program that nothing is armed, and nothing is.  One
 * slot was hit before, not several in one access, which not every emulator
 * supports.
 *
 * Regression test for f7da04c9c486 (DR6 and DR7 showed the old values).
 */
TEST_F(slot_lifetime, execve_clears_slots_and_registers)
{
	struct tracee *t = &self->t;
	unsigned long dr;
	unsigned int n;
	struct stop s;

	t->body = store_then_exec;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC));
	ASSERT_EQ(0, tracee_expect_sync(t, 1));
	ASSERT_EQ(0, arm_four(t, ARENA_WORD));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXEC << 8, s.status >> 8) {
		tracee_report(t, &s, "expected PTRACE_EVENT_EXEC");
	}
	for (n = 0; n < 8; n++) {
		if (n == 4 || n == 5)
			continue;
		ASSERT_EQ(0, tracee_peek(t, n, &dr));
		EXPECT_EQ(n == 6 ? DR6_NONE : 0, dr) {
			TH_LOG("DR%u is not cleared by execve()", n);
		}
	}
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_EQ(EXEC_CODE << 8, s.status) {
		tracee_report(t, &s, "expected exit of the new program");
	}
}

/*
 * A child of vfork() shares all memory until it executes another program.  Its
 * execve() clears its own slots, of which it has none, and not its parent's.
 */
static void vfork_and_exec(struct tracee *t)
{
	struct shared *l = t->arg;
	int status = 0;
	pid_t pid;

	block_sigchld();
	arena_map();
	*t->progress = 1;
	tracee_sync();
	probe_store4(ARENA_WORD, 1);
	pid = vfork();
	if (!pid)
		exec_self();
	if (waitpid(pid, &status, 0) != pid)
		status = -1;
	l->err = status;
	*t->progress = 2;
	probe_load4(ARENA_WORD, 1);
	*t->progress = 3;
	tracee_sync();
}

TEST_F(slot_lifetime, parents_kept_across_vfork_execve)
{
	struct tracee *t = &self->t;

	t->body = vfork_and_exec;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_expect_sync(t, 1));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_RW, 4, ARENA_WORD));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_load4_next, 2));
	ASSERT_EQ(EXEC_CODE << 8, self->l->err) {
		TH_LOG("wait status %#x of the child: killed by its parent's slot?",
		       self->l->err);
	}
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/*
 * In PTRACE_EVENT_EXIT slots are still there, can be read and changed, and are
 * released afterwards: the next tracee gets four, again and again.
 */
static void store_and_end(struct tracee *t)
{
	struct shared *l = t->arg;

	*t->progress = 1;
	probe_store4(&l->word[3], 1);
	*t->progress = 2;
}

TEST_F(slot_lifetime, kept_in_exit_stop)
{
	struct tracee *t = &self->t;
	unsigned int *word = self->l->word;
	unsigned long dr;
	struct stop s;
	int round;

	t->body = store_and_end;
	for (round = 0; round < 20; round++) {
		start_tracee(_metadata, t, TRACEE_TRACEME);
		ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
				    PTRACE_O_EXITKILL | PTRACE_O_TRACEEXIT));
		ASSERT_EQ(0, arm_four(t, word));
		ASSERT_EQ(0, tracee_expect_hit(t, 8, probe_store4_next, 1));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXIT << 8, s.status >> 8) {
			tracee_report(t, &s, "expected PTRACE_EVENT_EXIT");
		}
		ASSERT_EQ(0, shows_four(t, word, 8));
		if (round & 1) {
			ASSERT_EQ(0, tracee_disarm_all(t));
			ASSERT_EQ(0, tracee_peek(t, 7, &dr));
			ASSERT_EQ(0, dr);
			ASSERT_EQ(0, arm_four(t, word));
			ASSERT_EQ(0, shows_four(t, word, 8));
		}
		ASSERT_EQ(0, tracee_expect_exit(t));
		tracee_stop(t);
	}
}

/* After its exit, and before it is reaped, ESRCH */
TEST_F(slot_lifetime, zombie_gives_esrch)
{
	struct tracee *t = &self->t;
	siginfo_t info;
	unsigned long dr;

	t->body = do_nothing;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, arm_four(t, self->l->word));
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, waitid(P_PID, t->tid, &info, WEXITED | WNOWAIT));
	ASSERT_EQ(CLD_EXITED, info.si_code);
	ASSERT_EQ(-ESRCH, tracee_peek(t, 7, &dr));
	ASSERT_EQ(-ESRCH, tracee_poke(t, 7, 0));
	ASSERT_EQ(-ESRCH, tracee_poke(t, 0, 0));
}

/*
 * Only the tracing thread may access the registers: neither another thread of
 * its process nor another process, and none of them can become a second tracer.
 */
struct other_task {
	pid_t tid;
	unsigned int *word;
	int err;
};

static int access_registers(const struct other_task *who)
{
	struct tracee t = { .tid = who->tid };
	unsigned long dr;
	int err;

	err = tracee_peek(&t, 7, &dr);
	if (err == -ESRCH)
		err = tracee_poke(&t, 0, (unsigned long)who->word);
	if (err == -ESRCH)
		err = tracee_poke(&t, 7, 0);
	if (err != -ESRCH)
		return err ? err : -EIO;
	err = ptrace(PTRACE_ATTACH, t.tid, NULL, NULL) ? -errno : -EIO;
	if (err == -EPERM)
		err = ptrace(PTRACE_SEIZE, t.tid, NULL, NULL) ? -errno : -EIO;
	if (err != -EPERM)
		return err;
	return ptrace(PTRACE_DETACH, t.tid, NULL, NULL) && errno == ESRCH ?
	       0 : -EIO;
}

static void *other_thread(void *arg)
{
	struct other_task *who = arg;

	who->err = access_registers(who);
	return NULL;
}

static void traced_twice(struct tracee *t)
{
	struct shared *l = t->arg;

	*t->progress = 1;
	probe_store4(&l->word[0], 1);
	*t->progress = 2;
	l->err = ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? errno : 0;
	probe_store4(&l->word[1], 1);
	*t->progress = 3;
	tracee_sync();
}

TEST_F(slot_lifetime, only_tracer_may_access)
{
	struct tracee *t = &self->t;
	struct other_task who = { .word = &self->l->word[3] };
	pthread_t thread;
	int status;
	pid_t pid;

	skip_without_futex(_metadata);
	t->body = traced_twice;
	start_tracee(_metadata, t, TRACEE_SEIZE);
	who.tid = t->tid;
	ASSERT_EQ(0, arm_four(t, self->l->word));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, other_thread, &who));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	ASSERT_EQ(0, who.err);
	ASSERT_EQ(0, shows_four(t, self->l->word, 1));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(-access_registers(&who));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(0, shows_four(t, self->l->word, 1));
	/* Nor can the tracee ask for another tracer */
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, 2));
	ASSERT_EQ(EPERM, self->l->err);
	ASSERT_EQ(0, shows_four(t, self->l->word, 2));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/*
 * A tracer that is a thread and exits while its process continues: its tracees
 * are detached, and armed slots stay for the next tracer, another thread of the
 * process.
 */
static void store_on_request(struct shared *l)
{
	unsigned long n;
	char byte;

	for (n = 1; read(l->go[0], &byte, 1) == 1; n++) {
		l->progress = 2 * n - 1;
		probe_store4(&l->word[n % DR_SLOTS], n);
		l->progress = 2 * n;
	}
	_exit(0);
}

static int let_tracee_store(struct shared *l)
{
	return write(l->go[1], "", 1) == 1 ? 0 : -errno;
}

static int seize(struct tracee *t)
{
	struct stop s;

	if (ptrace(PTRACE_SEIZE, t->tid, NULL, NULL) ||
	    ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL))
		return -errno;
	return tracee_wait(t, &s) || !WIFSTOPPED(s.status);
}

struct passing_tracer {
	struct tracee *t;
	struct shared *l;
	pid_t tid;
	int err;
};

static void *trace_and_exit(void *arg)
{
	struct passing_tracer *p = arg;
	struct tracee t = { .progress = &p->l->progress };

	p->tid = syscall(SYS_gettid);
	p->err = tracee_adopt(&t, p->t->tid);
	if (!p->err)
		p->err = seize(&t);
	if (!p->err)
		p->err = arm_four(&t, p->l->word);
	if (!p->err)
		p->err = let_tracee_store(p->l);
	if (!p->err)
		p->err = tracee_expect_hit(&t, 2, probe_store4_next, 1);
	if (!p->err)
		p->err = tracee_cont(&t);
	return NULL;
}

/*
 * Fork the tracee without tracing it: it is to be detached and attached again
 */
static void start_detached(struct __test_metadata *_metadata, struct tracee *t,
			   struct shared *l)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		close(l->go[1]);
		store_on_request(l);
	}
	t->progress = &l->progress;
	ASSERT_EQ(0, tracee_adopt(t, pid));
}

static void end_detached(struct tracee *t)
{
	/* In the memory of the test, not allocated by tracee_start() */
	t->progress = NULL;
	tracee_stop(t);
}

TEST_F(slot_lifetime, kept_when_tracer_thread_exits)
{
	struct tracee *t = &self->t;
	struct shared *l = self->l;
	struct passing_tracer p = { .t = t, .l = l };
	pthread_t thread;

	skip_without_futex(_metadata);
	skip_if_cannot_trace(_metadata);
	start_detached(_metadata, t, l);
	ASSERT_EQ(0, pthread_create(&thread, NULL, trace_and_exit, &p));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	/*
	 * pthread_join() returns after exit_mm(), the tracees are detached in
	 * exit_notify()
	 */
	while (!syscall(SYS_tgkill, getpid(), p.tid, 0))
		let_others_run();
	/* If Yama and the like permit it once they permit it again */
	if (p.err)
		end_detached(t);
	skip_if_refused(_metadata, p.err, "attach");
	EXPECT_EQ(0, seize(t));
	EXPECT_EQ(0, shows_four(t, l->word, 2));
	/* Three stores and the exit: after a missed trap it does not wait */
	EXPECT_EQ(3, write(l->go[1], "abc", 3));
	close(l->go[1]);
	EXPECT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 3));
	EXPECT_EQ(0, tracee_expect_hit(t, 8, probe_store4_next, 5));
	EXPECT_EQ(0, tracee_disarm_all(t));
	EXPECT_EQ(0, tracee_expect_exit(t));
	EXPECT_EQ(8, l->progress);
	end_detached(t);
}

/*
 * Slots of a detached thread stay charged as long as they are armed, and are
 * free again once it has died of them.
 */
TEST_F(slot_lifetime, detached_thread_keeps_reservation)
{
	struct tracee *t = &self->t;
	struct shared *l = self->l;
	struct perf_event_attr attr = perf_attr(HW_BREAKPOINT_W, l->word, 4);
	int status;

	skip_if_cannot_trace(_metadata);
	skip_if_perf_refused(_metadata);
	expect_no_slot_leaked(_metadata);
	start_detached(_metadata, t, l);
	EXPECT_EQ(0, seize(t));
	EXPECT_EQ(0, arm_four(t, l->word));
	EXPECT_EQ(0, ptrace(PTRACE_DETACH, t->tid, NULL, NULL));
	EXPECT_EQ(-ENOSPC, perf_try_once(&attr, t->tid, -1));
	EXPECT_EQ(0, let_tracee_store(l));
	/* Without a trap it exits all the same */
	close(l->go[1]);
	EXPECT_EQ(t->tid, waitpid(t->tid, &status, 0));
	t->tid = 0;
	EXPECT_EQ(SIGTRAP, status);
	end_detached(t);
	expect_no_slot_leaked(_metadata);
}

/* One slot, moved, disabled and enabled a thousand times, then used */
#define USES	1000

TEST_F(slot_lifetime, thousand_changes)
{
	struct tracee *t = &self->t;
	unsigned int *word = self->l->word;
	unsigned long on = dr7_encode(0, BP_WRITE, 4);
	unsigned int n;

	t->body = store_and_end;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	for (n = 0; n < USES; n++) {
		ASSERT_EQ(0, tracee_poke_addr(t, 0, &word[n % DR_SLOTS]));
		ASSERT_EQ(0, tracee_poke(t, 7, n & 1 ? 0 : on)) {
			TH_LOG("use %u", n);
		}
	}
	ASSERT_EQ(0, arm_four(t, word));
	ASSERT_EQ(0, tracee_expect_hit(t, 8, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

TEST_HARNESS_MAIN
