// SPDX-License-Identifier: GPL-2.0
/*
 * What must not end the life of an armed slot, and what must: the cases
 * beside those of lifetime_test.
 *
 * An execve() that fails is none, a second tracer is none, and a thread is a
 * tracer of its own (ptrace_check_attach() in kernel/ptrace.c compares tasks,
 * exit_ptrace() runs for each).  A tracee in PTRACE_EVENT_EXIT still has its
 * slots: do_exit() gives them up later.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "company.h"
#include "harness.h"
#include "probes.h"

#define ARENA		((char *)0x20000000)	/* user space in either bitness */
#define ARENA_WORD	((unsigned int *)(ARENA + 1024))
#define EXEC_ENV	"HW_BREAKPOINT_LIFETIMES_EXEC"
#define EXEC_CODE	7	/* exit code of the new program */

/**
 * struct lives - what tracer and tracee share
 * @word: four words, one for each slot
 * @progress: of a tracee that is no child of tracee_start()
 * @err: errno of the call under test
 * @go: pipe: a byte for each access
 */
struct lives {
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

/* The new program; before environment.c prints what it has printed already */
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
	char * const args[] = { "lifetimes_test", NULL };
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

FIXTURE(lives) {
	struct tracee t;
	struct lives *l;
};

FIXTURE_SETUP(lives)
{
	self->l = shared_alloc(sizeof(*self->l));
	ASSERT_EQ(0, pipe2(self->l->go, O_CLOEXEC));
	self->t.arg = self->l;
}

FIXTURE_TEARDOWN(lives)
{
	tracee_stop(&self->t);
}

/*
 * execve() of what does not exist, of a directory, and of a file that is no
 * program: each is refused before begin_new_exec() (fs/exec.c), which alone
 * comes to flush_thread().
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

static void execs_in_vain(struct tracee *t)
{
	struct lives *l = t->arg;
	unsigned int n;

	for (n = 0; n < 3; n++) {
		*t->progress = 1 + n;
		l->err = exec_refused(n);
		probe_store4(&l->word[n], n);
	}
	*t->progress = 4;
	tracee_sync();
}

TEST_F(lives, outlive_an_execve_that_fails)
{
	struct tracee *t = &self->t;
	unsigned int n;

	t->body = execs_in_vain;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, arm_four(t, self->l->word));
	for (n = 0; n < 3; n++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << n, probe_store4_next,
					       1 + n));
		if (!may_go_on(_metadata, -self->l->err, "execve"))
			return;
		ASSERT_EQ(0, shows_four(t, self->l->word, 1U << n));
	}
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/*
 * A thread that is set free while armed, and then starts another program: a
 * slot that outlived execve() would kill it at the first access.
 */
static void store_then_exec(struct tracee *t)
{
	arena_map();
	*t->progress = 1;
	tracee_sync();
	probe_store4(ARENA_WORD, 1);
	exec_self();
}

TEST_F(lives, of_a_freed_thread_end_with_execve)
{
	struct tracee *t = &self->t;
	int status;

	t->body = store_then_exec;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
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
 * What a tracer reads in the new program is that nothing is armed, and nothing
 * is.  One slot was hit before, and not several in one access, which not every
 * emulator can tell.
 *
 * Regression test for f7da04c9c486 (DR6 and DR7 showed the old values).
 */
TEST_F(lives, and_registers_end_with_execve)
{
	struct tracee *t = &self->t;
	unsigned long dr;
	unsigned int n;
	struct stop s;

	t->body = store_then_exec;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC));
	ASSERT_EQ(0, tracee_expect_sync(t, 1));
	ASSERT_EQ(0, arm_four(t, ARENA_WORD));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXEC << 8, s.status >> 8) {
		tracee_report(t, &s, "PTRACE_EVENT_EXEC expected");
	}
	for (n = 0; n < 8; n++) {
		if (n == 4 || n == 5)
			continue;
		ASSERT_EQ(0, tracee_peek(t, n, &dr));
		EXPECT_EQ(n == 6 ? DR6_NONE : 0, dr) {
			TH_LOG("DR%u outlives execve()", n);
		}
	}
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_EQ(EXEC_CODE << 8, s.status) {
		tracee_report(t, &s, "exit of the new program expected");
	}
}

/*
 * A child of vfork() shares all memory until it starts another program.  Its
 * execve() flushes its own slots, of which it has none, and not its parent's.
 */
static void vforks_and_execs(struct tracee *t)
{
	struct lives *l = t->arg;
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

TEST_F(lives, of_a_parent_outlive_the_execve_of_its_child)
{
	struct tracee *t = &self->t;

	t->body = vforks_and_execs;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
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
 * In PTRACE_EVENT_EXIT the slots are there, can be read and changed, and are
 * given up afterwards nevertheless: the next tracee gets four, again and again.
 */
static void store_and_end(struct tracee *t)
{
	struct lives *l = t->arg;

	*t->progress = 1;
	probe_store4(&l->word[3], 1);
	*t->progress = 2;
}

TEST_F(lives, last_to_the_exit_stop)
{
	struct tracee *t = &self->t;
	unsigned int *word = self->l->word;
	unsigned long dr;
	struct stop s;
	int round;

	t->body = store_and_end;
	for (round = 0; round < 20; round++) {
		if (!start(_metadata, t, TRACEE_TRACEME))
			return;
		ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
				    PTRACE_O_EXITKILL | PTRACE_O_TRACEEXIT));
		ASSERT_EQ(0, arm_four(t, word));
		ASSERT_EQ(0, tracee_expect_hit(t, 8, probe_store4_next, 1));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXIT << 8, s.status >> 8) {
			tracee_report(t, &s, "PTRACE_EVENT_EXIT expected");
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

/* After its end, and before it is reaped, there is nobody to ask */
TEST_F(lives, of_the_dead_cannot_be_touched)
{
	struct tracee *t = &self->t;
	siginfo_t info;
	unsigned long dr;

	t->body = do_nothing;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, arm_four(t, self->l->word));
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, waitid(P_PID, t->tid, &info, WEXITED | WNOWAIT));
	ASSERT_EQ(CLD_EXITED, info.si_code);
	ASSERT_EQ(-ESRCH, tracee_peek(t, 7, &dr));
	ASSERT_EQ(-ESRCH, tracee_poke(t, 7, 0));
	ASSERT_EQ(-ESRCH, tracee_poke(t, 0, 0));
}

/*
 * Only the thread that traces may ask or change: neither another thread of its
 * process nor another process, and none of them can become a second tracer.
 */
struct stranger {
	pid_t tid;
	unsigned int *word;
	int err;
};

static int try_as_stranger(const struct stranger *who)
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

static void *strange_thread(void *arg)
{
	struct stranger *who = arg;

	who->err = try_as_stranger(who);
	return NULL;
}

static void traced_twice(struct tracee *t)
{
	struct lives *l = t->arg;

	*t->progress = 1;
	probe_store4(&l->word[0], 1);
	*t->progress = 2;
	l->err = ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? errno : 0;
	probe_store4(&l->word[1], 1);
	*t->progress = 3;
	tracee_sync();
}

TEST_F(lives, have_one_master)
{
	struct tracee *t = &self->t;
	struct stranger who = { .word = &self->l->word[3] };
	pthread_t thread;
	int status;
	pid_t pid;

	skip_without_futex(_metadata);
	t->body = traced_twice;
	if (!start(_metadata, t, TRACEE_SEIZE))
		return;
	who.tid = t->tid;
	ASSERT_EQ(0, arm_four(t, self->l->word));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, strange_thread, &who));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	ASSERT_EQ(0, who.err);
	ASSERT_EQ(0, shows_four(t, self->l->word, 1));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(-try_as_stranger(&who));
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
 * A tracer that is a thread and ends while its process lives: its tracees are
 * freed, and what it armed stays for the next tracer, a thread beside it.
 */
static void store_when_told(struct lives *l)
{
	unsigned long n;
	char byte;

	for (n = 1; read(l->go[0], &byte, 1) == 1; n++) {
		l->progress = n;
		probe_store4(&l->word[n % DR_SLOTS], n);
	}
	_exit(0);
}

static int tell(struct lives *l)
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

struct passing {
	struct tracee *t;
	struct lives *l;
	pid_t tid;
	int err;
};

static void *trace_and_end(void *arg)
{
	struct passing *p = arg;
	struct tracee t = { .progress = &p->l->progress };

	p->tid = syscall(SYS_gettid);
	p->err = tracee_adopt(&t, p->t->tid);
	if (!p->err)
		p->err = seize(&t);
	if (!p->err)
		p->err = arm_four(&t, p->l->word);
	if (!p->err)
		p->err = tell(p->l);
	if (!p->err)
		p->err = tracee_expect_hit(&t, 2, probe_store4_next, 1);
	if (!p->err)
		p->err = tracee_cont(&t);
	return NULL;
}

/* Fork the tracee without tracing it: it is to be freed and found again */
static void start_freed(struct __test_metadata *_metadata, struct tracee *t,
			struct lives *l)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		close(l->go[1]);
		store_when_told(l);
	}
	t->progress = &l->progress;
	ASSERT_EQ(0, tracee_adopt(t, pid));
}

static void end_freed(struct tracee *t)
{
	/* In the memory of the test, nothing of the tracee's */
	t->progress = NULL;
	tracee_stop(t);
}

TEST_F(lives, outlive_a_tracer_that_is_a_thread)
{
	struct tracee *t = &self->t;
	struct lives *l = self->l;
	struct passing p = { .t = t, .l = l };
	pthread_t thread;

	skip_without_futex(_metadata);
	if (!can_trace(_metadata))
		return;
	start_freed(_metadata, t, l);
	ASSERT_EQ(0, pthread_create(&thread, NULL, trace_and_end, &p));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	/* Joined it is from exit_mm() on, its tracees are free in exit_notify() */
	while (!syscall(SYS_tgkill, getpid(), p.tid, 0))
		sched_yield();
	/* Yama and the like: what may be done once may be done twice */
	if (!may_go_on(_metadata, p.err, "attach")) {
		end_freed(t);
		return;
	}
	EXPECT_EQ(0, seize(t));
	EXPECT_EQ(0, shows_four(t, l->word, 2));
	EXPECT_EQ(0, tell(l));
	EXPECT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 2));
	EXPECT_EQ(0, tell(l));
	EXPECT_EQ(0, tracee_expect_hit(t, 8, probe_store4_next, 3));
	EXPECT_EQ(0, tracee_disarm_all(t));
	EXPECT_EQ(0, tell(l));
	close(l->go[1]);
	EXPECT_EQ(0, tracee_expect_exit(t));
	EXPECT_EQ(4, l->progress);
	end_freed(t);
}

/*
 * Slots of a thread that is freed stay charged as long as they are armed, and
 * are free again once it has died of them.
 */
TEST_F(lives, of_a_freed_thread_are_charged)
{
	struct tracee *t = &self->t;
	struct lives *l = self->l;
	int cpu, fd, err, status;

	if (!can_trace(_metadata))
		return;
	ASSERT_EQ(1, allowed_cpus(&cpu, 1));
	expect_slots_free(_metadata);
	err = slots_take(cpu, &fd, 1);
	if (!may_go_on(_metadata, err == -ENOENT ? -ENOSYS : err,
		       "events on a CPU"))
		return;
	close(fd);
	start_freed(_metadata, t, l);
	EXPECT_EQ(0, seize(t));
	EXPECT_EQ(0, arm_four(t, l->word));
	EXPECT_EQ(0, ptrace(PTRACE_DETACH, t->tid, NULL, NULL));
	EXPECT_EQ(-ENOSPC, slots_take(cpu, &fd, 1));
	EXPECT_EQ(0, tell(l));
	/* Where no trap comes it ends all the same */
	close(l->go[1]);
	EXPECT_EQ(t->tid, waitpid(t->tid, &status, 0));
	t->tid = 0;
	EXPECT_EQ(SIGTRAP, status);
	end_freed(t);
	expect_slots_free(_metadata);
}

/* One slot, moved and switched on and off ten thousand times, then used */
#define USES	10000

TEST_F(lives, are_not_worn_out)
{
	struct tracee *t = &self->t;
	unsigned int *word = self->l->word;
	unsigned long on = dr7_encode(0, BP_WRITE, 4);
	unsigned int n;

	t->body = store_and_end;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
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
