// SPDX-License-Identifier: GPL-2.0
/*
 * How long an armed slot lives: through fork, exec, detach, the end of the
 * tracer and the end of the tracee.
 *
 * Slots belong to one thread.  None is handed on to a new one (copy_thread()
 * in arch/x86/kernel/process.c), execve() ends them all
 * (flush_ptrace_hw_breakpoint(), from flush_thread()), so does the end of the
 * thread, but neither a detach nor the end of the tracer: the thread then dies
 * of the SIGTRAP that nobody takes.
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

#include "company.h"
#include "harness.h"
#include "probes.h"

#define STACK	16384

/**
 * struct life - what the processes of a test share
 * @word: watched by the parent's slot 0; its slot 3 is on execute target 0
 * @own: watched by the child's slot 1
 * @sink: where the target stores
 * @progress: how far the child is
 * @child: thread id of the child, from the kernel
 * @done: the child is through
 * @status: of the child, as its parent got it
 * @flags: for clone()
 * @traced: the child stops for the tracer
 * @stack: of the child
 */
struct life {
	unsigned int word;
	unsigned int own;
	unsigned long sink;
	unsigned long progress;
	int child;
	int done;
	int status;
	int flags;
	bool traced;
	char stack[STACK] __attribute__((aligned(16)));
};

#define HAS_THREAD(flags)	((flags) & CLONE_THREAD)
#define THREAD_FLAGS							\
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
	 CLONE_SYSVSEM)

static int child(void *arg)
{
	struct life *l = arg;
	int pass;

	if (!HAS_THREAD(l->flags))
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (pass = 0; pass < 2; pass++) {
		l->progress = 1 + 3 * pass;
		probe_store4(&l->word, 10 + pass);
		probe_visit(0, &l->sink, pass);
		l->progress = 2 + 3 * pass;
		probe_store4(&l->own, 20 + pass);
		l->progress = 3 + 3 * pass;
		if (l->traced)
			tracee_sync();
	}
	__atomic_store_n(&l->done, 1, __ATOMIC_RELEASE);
	return 0;
}

static void parent(struct tracee *t)
{
	struct life *l = t->arg;
	sigset_t set;
	pid_t pid;

	/* Its delivery would be one more stop */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);

	*t->progress = 1;
	probe_store4(&l->word, 1);
	*t->progress = 2;
	probe_visit(0, &l->sink, 2);
	*t->progress = 3;
	pid = clone(child, l->stack + STACK, l->flags | CLONE_PARENT_SETTID, l,
		    &l->child);
	if (pid < 0)
		_exit(1);
	while (!__atomic_load_n(&l->done, __ATOMIC_ACQUIRE)) {
		sched_yield();
		/* A thread that dies takes us with it, a process tells us */
		if (!HAS_THREAD(l->flags) &&
		    waitpid(pid, &l->status, __WALL | WNOHANG) == pid) {
			pid = 0;
			break;
		}
	}
	if (pid && !HAS_THREAD(l->flags))
		waitpid(pid, &l->status, __WALL);
	*t->progress = 4;
	probe_store4(&l->word, 4);
	*t->progress = 5;
	probe_visit(0, &l->sink, 5);
	*t->progress = 6;
	tracee_sync();
}

FIXTURE(birth) {
	struct life *l;
	struct tracee t, c;
};

FIXTURE_VARIANT(birth) {
	int flags;
	int event;
	enum tracee_how how;
};

FIXTURE_VARIANT_ADD(birth, fork) {
	.flags = SIGCHLD, .event = PTRACE_EVENT_FORK,
};

FIXTURE_VARIANT_ADD(birth, fork_attached) {
	.flags = SIGCHLD, .event = PTRACE_EVENT_FORK, .how = TRACEE_ATTACH,
};

FIXTURE_VARIANT_ADD(birth, fork_seized) {
	.flags = SIGCHLD, .event = PTRACE_EVENT_FORK, .how = TRACEE_SEIZE,
};

FIXTURE_VARIANT_ADD(birth, vfork) {
	.flags = CLONE_VFORK | CLONE_VM | SIGCHLD, .event = PTRACE_EVENT_VFORK,
};

FIXTURE_VARIANT_ADD(birth, process_that_shares_memory) {
	.flags = CLONE_VM, .event = PTRACE_EVENT_CLONE,
};

FIXTURE_VARIANT_ADD(birth, thread) {
	.flags = THREAD_FLAGS, .event = PTRACE_EVENT_CLONE,
};

FIXTURE_VARIANT_ADD(birth, thread_seized) {
	.flags = THREAD_FLAGS, .event = PTRACE_EVENT_CLONE,
	.how = TRACEE_SEIZE,
};

/* No event: the child alone says that it is traced */
FIXTURE_VARIANT_ADD(birth, clone_ptrace_process) {
	.flags = CLONE_PTRACE | SIGCHLD,
};

FIXTURE_VARIANT_ADD(birth, clone_ptrace_thread) {
	.flags = CLONE_PTRACE | THREAD_FLAGS,
};

FIXTURE_SETUP(birth)
{
	struct life *l = shared_alloc(sizeof(*l));

	l->flags = variant->flags;
	self->l = l;
	self->t.body = parent;
	self->t.arg = l;
	self->c.id = 1;
	self->c.progress = &l->progress;
	if (!start(_metadata, &self->t, variant->how))
		return;
	ASSERT_EQ(0, tracee_arm(&self->t, 0, BP_RW, 4, &l->word));
	ASSERT_EQ(0, tracee_arm(&self->t, 3, BP_EXECUTE, 1, probe_target(0)));
}

FIXTURE_TEARDOWN(birth)
{
	tracee_stop(&self->c);
	tracee_stop(&self->t);
}

/* The parent comes to its clone(): so far, and its registers */
static int before_birth(struct tracee *t, unsigned long dr[8])
{
	unsigned int n;
	int err = tracee_expect_hit(t, 1, probe_store4_next, 1);

	if (!err)
		err = tracee_expect_hit(t, 8, probe_target(0), 2);
	for (n = 0; n < 8 && !err; n++)
		if (n != 4 && n != 5)
			err = tracee_peek(t, n, &dr[n]);
	return err;
}

/* The parent runs, and goes on when the child is done */
static int after_birth(struct tracee *t)
{
	struct stop s;
	int err = tracee_wait(t, &s);

	if (!err)
		err = tracee_check_trap(t, &s, &(struct trap){
			.ip = probe_store4_next, .slots = 1, .progress = 4 });
	if (!err)
		err = tracee_expect_hit(t, 8, probe_target(0), 5);
	if (!err)
		err = tracee_expect_sync(t, 6);
	return err ? err : tracee_expect_exit(t);
}

/* The child is not traced: what it inherits would kill it */
TEST_F(birth, untraced_child_runs_free)
{
	unsigned long dr[8];

	if (variant->flags & CLONE_PTRACE)
		self->l->flags &= ~CLONE_PTRACE;
	ASSERT_EQ(0, before_birth(&self->t, dr));
	ASSERT_EQ(0, tracee_cont(&self->t));
	ASSERT_EQ(0, after_birth(&self->t));
	ASSERT_EQ(0, self->l->status) {
		TH_LOG("the child died of what it inherited, wait status %#x",
		       self->l->status);
	}
	ASSERT_EQ(1, self->l->done);
}

/* Let the parent have its child, and the child come to its first stop */
static void give_birth(struct __test_metadata *_metadata, struct tracee *t,
		       struct tracee *c, struct life *l, int event)
{
	unsigned long dr[8], now[8], msg;
	siginfo_t info;
	unsigned int n;
	struct stop s;

	l->traced = true;
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL, PTRACE_O_EXITKILL |
			    PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
			    PTRACE_O_TRACECLONE));
	if (!event)
		ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
				    PTRACE_O_EXITKILL));
	ASSERT_EQ(0, before_birth(t, dr));
	ASSERT_EQ(0, tracee_cont(t));
	if (event) {
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP | event << 8, s.status >> 8) {
			tracee_report(t, &s, "event %d expected", event);
		}
		ASSERT_EQ(0, ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &msg));
		ASSERT_EQ((unsigned long)l->child, msg);
		for (n = 0; n < 8; n++) {
			if (n == 4 || n == 5)
				continue;
			ASSERT_EQ(0, tracee_peek(t, n, &now[n]));
			ASSERT_EQ(dr[n], now[n]) {
				TH_LOG("the parent's DR%u has changed", n);
			}
		}
		ASSERT_EQ(0, tracee_cont(t));
	}
	/* The parent owes nothing until the child is done */
	ASSERT_EQ(0, waitid(P_ALL, 0, &info,
			    WEXITED | WSTOPPED | WNOWAIT | __WALL));
	ASSERT_EQ(l->child, info.si_pid);
	ASSERT_EQ(0, tracee_adopt(c, l->child));
	if (HAS_THREAD(l->flags))
		c->pid = t->tid;
	ASSERT_EQ(0, tracee_wait(c, &s));
	ASSERT_TRUE(WIFSTOPPED(s.status)) {
		tracee_report(c, &s, "first stop of the child expected");
	}
}

TEST_F(birth, traced_child_has_nothing_armed)
{
	struct tracee *t = &self->t, *c = &self->c;
	struct life *l = self->l;

	give_birth(_metadata, t, c, l, variant->event);
	ASSERT_EQ(0, tracee_expect_sync(c, 3));
	/* It has slots of its own: another one, and another address */
	ASSERT_EQ(0, tracee_disarm_all(c));
	ASSERT_EQ(0, tracee_arm(c, 1, BP_WRITE, 4, &l->own));
	ASSERT_EQ(0, tracee_expect_hit(c, 2, probe_store4_next, 5));
	ASSERT_EQ(0, tracee_expect_sync(c, 6));
	ASSERT_EQ(0, tracee_expect_exit(c));
	ASSERT_EQ(0, after_birth(t));
	ASSERT_EQ(0, l->status);
}

/*
 * Nothing is armed in the child, and its registers must say so: a tracer that
 * reads DR7, adds a slot of its own and writes it back would arm slots that it
 * has never seen.  72f674d203cd meant to clear all of them.
 */
TEST_F(birth, traced_child_shows_nothing_armed)
{
	struct tracee *c = &self->c;
	unsigned long dr;
	unsigned int n;

	give_birth(_metadata, &self->t, c, self->l, variant->event);
	for (n = 0; n < DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_peek(c, n, &dr));
		EXPECT_EQ(0, dr) {
			TH_LOG("DR%u is the parent's", n);
		}
	}
	ASSERT_EQ(0, tracee_peek(c, 6, &dr));
	EXPECT_EQ(DR6_NONE, dr) {
		TH_LOG("DR6 is the parent's");
	}
	ASSERT_EQ(0, tracee_peek(c, 7, &dr));
	EXPECT_EQ(0, dr) {
		TH_LOG("DR7 is the parent's");
	}
}

/*
 * A new program has new memory, maybe of other rights: no slot may outlive
 * execve().  The new program maps memory and code to the very addresses that
 * the old one had watched, and touches them.
 *
 * Regression test for f7da04c9c486 (DR6 and DR7 showed the old values).
 */
#define ARENA	((char *)0x20000000)	/* user space in either bitness */
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

/* The new program; before environment.c prints what it has printed already */
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

static void exec_alone(struct tracee *t)
{
	arena_map();
	*t->progress = 1;
	_exit(do_exec(NULL));
}

static void exec_from_thread(struct tracee *t)
{
	struct life *l = t->arg;

	arena_map();
	*t->progress = 1;
	if (clone(do_exec, l->stack + STACK, THREAD_FLAGS, NULL) < 0)
		_exit(1);
	for (;;) {
		probe_store4(ARENA_WORD, 1);
		pause();
	}
}

FIXTURE(exec) {
	struct life *l;
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
		SKIP(_exit(EXIT_SKIPPED), "no /proc/self/exe to execute");
	self->l = shared_alloc(sizeof(*self->l));
	self->t.arg = self->l;
	self->t.body = variant->from_thread ? exec_from_thread : exec_alone;
	self->thread.id = 1;
	if (!start(_metadata, &self->t, variant->how))
		return;
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

/* Up to the sync before execve(), with all slots armed, and one tried */
static int armed_before_exec(struct tracee *t)
{
	int err = arm_arena(t);

	/* One slot is hit, and leaves its bit in DR6 */
	if (!err)
		err = tracee_expect_hit(t, 1, probe_store4_next, *t->progress);
	return err ? err : tracee_expect_sync(t, *t->progress);
}

TEST_F(exec, clears_all)
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
		/* The leader, too, is armed, was hit, and stands */
		ASSERT_EQ(0, tracee_expect_hit(t, 8, probe_store4_next, 1));
	} else {
		/* First the mapping, for the byte of code */
		*t->progress = 1;
	}
	ASSERT_EQ(0, armed_before_exec(execs));

	ASSERT_EQ(0, tracee_cont(execs));
	ASSERT_EQ(0, tracee_wait(t, &s));
	if (WIFEXITED(s.status) &&
	    !may_go_on(_metadata, -WEXITSTATUS(s.status), "/proc/self/exe"))
		return;
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXEC << 8, s.status >> 8) {
		tracee_report(t, &s, "execve() expected");
	}
	for (n = 0; n < DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_peek(t, n, &dr));
		EXPECT_EQ(0, dr) {
			TH_LOG("DR%u outlives execve()", n);
		}
	}
	ASSERT_EQ(0, tracee_peek(t, 6, &dr));
	EXPECT_EQ(DR6_NONE, dr);
	ASSERT_EQ(0, tracee_peek(t, 7, &dr));
	EXPECT_EQ(0, dr);

	/* From here on no progress is told */
	ASSERT_EQ(0, tracee_expect_sync(t, *t->progress));
	ASSERT_EQ(0, arm_arena(t));
	/* Where the new program's probes are is not known: it is moved about */
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
 * Detach, attach again, and tracers that end.  The tracee waits for a byte on
 * a pipe before each access; it ends where the test is no more.
 */
struct freed {
	unsigned int word;
	unsigned long progress;
	pid_t tid;
	int go[2];
};

static void stores_when_told(struct tracee *t)
{
	struct freed *f = t->arg;
	char byte;

	/* It may outlive its tracer, see leave_nothing_behind() in tracee.c */
	prctl(PR_SET_PDEATHSIG, 0);
	close(f->go[1]);
	f->tid = t->tid;
	tracee_sync();
	f->progress = 1;
	probe_store4(&f->word, 1);
	for (;;) {
		if (read(f->go[0], &byte, 1) != 1)
			_exit(0);
		f->progress += 1;
		probe_store4(&f->word, f->progress);
	}
}

FIXTURE(detach) {
	struct tracee t;
	struct freed *f;
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
	self->t.body = stores_when_told;
	self->t.arg = self->f;
}

FIXTURE_TEARDOWN(detach)
{
	tracee_stop(&self->t);
}

/* Trace, arm, see one hit: what must live on */
static int arm_and_hit(struct tracee *t, enum tracee_how how)
{
	struct freed *f = t->arg;
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
	t->progress = progress;
	return err;
}

static int tell(struct freed *f)
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

/* What was armed is there again for the next tracer, and still hits */
static void still_armed(struct __test_metadata *_metadata, struct tracee *t,
			struct freed *f)
{
	unsigned long dr;

	t->progress = &f->progress;
	ASSERT_EQ(0, tracee_peek(t, 2, &dr));
	ASSERT_EQ((unsigned long)&f->word, dr);
	ASSERT_EQ(0, tracee_peek(t, 7, &dr));
	ASSERT_EQ(dr7_encode(2, BP_WRITE, 4), dr);
	ASSERT_EQ(0, tracee_peek(t, 6, &dr));
	ASSERT_EQ(dr6_encode(4, false), dr);
	ASSERT_EQ(0, tell(f));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 2));
	ASSERT_EQ(0, tell(f));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 3));
	/* And can be disarmed by the one who did not arm it */
	ASSERT_EQ(0, tracee_disarm_all(t));
	ASSERT_EQ(0, tell(f));
	close(f->go[1]);
	ASSERT_EQ(0, tracee_expect_exit(t));
	ASSERT_EQ(4, f->progress);
}

TEST_F(detach, keeps_what_is_armed)
{
	struct tracee *t = &self->t;
	int status;

	if (!may_go_on(_metadata, arm_and_hit(t, variant->how), "ptrace"))
		return;
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, t->tid, NULL, NULL));
	ASSERT_EQ(0, tell(self->f));
	/* Where it does not trap it ends, and does not wait for more */
	close(self->f->go[1]);
	ASSERT_EQ(t->tid, waitpid(t->tid, &status, __WALL));
	t->tid = 0;
	ASSERT_TRUE(WIFSIGNALED(status)) {
		TH_LOG("wait status %#x", status);
	}
	ASSERT_EQ(SIGTRAP, WTERMSIG(status));
	/* The trap comes behind the store */
	ASSERT_EQ(2, self->f->word);
}

TEST_F(detach, disarmed_runs_free)
{
	struct tracee *t = &self->t;
	int status;

	if (!may_go_on(_metadata, arm_and_hit(t, variant->how), "ptrace"))
		return;
	ASSERT_EQ(0, tracee_disarm_all(t));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, t->tid, NULL, NULL));
	ASSERT_EQ(0, tell(self->f));
	close(self->f->go[1]);
	ASSERT_EQ(t->tid, waitpid(t->tid, &status, __WALL));
	t->tid = 0;
	ASSERT_EQ(0, status);
	ASSERT_EQ(2, self->f->progress);
}

TEST_F(detach, next_tracer_finds_it_armed)
{
	struct tracee *t = &self->t;

	if (!may_go_on(_metadata, arm_and_hit(t, variant->how), "ptrace"))
		return;
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, t->tid, NULL, NULL));
	if (!may_go_on(_metadata, attach_again(t, variant->again), "attach"))
		return;
	still_armed(_metadata, t, self->f);
}

/* A tracer that arms, lets the tracee run and ends without a detach */
static void tracer_that_ends(struct freed *f, enum tracee_how how, bool killed)
{
	struct tracee t = { .body = stores_when_told, .arg = f };

	/* The parent of the tracee is gone then, and so is the end of the pipe */
	if (arm_and_hit(&t, how))
		_exit(1);
	if (ptrace(PTRACE_SETOPTIONS, t.tid, NULL, 0) || tracee_cont(&t))
		_exit(2);
	if (killed)
		kill(getpid(), SIGKILL);
	_exit(0);
}

static void let_tracer_end(struct __test_metadata *_metadata, struct freed *f,
			   enum tracee_how how, bool killed)
{
	pid_t tracer;
	int status;

	/* What it leaves becomes ours */
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	tracer = fork();
	ASSERT_LE(0, tracer);
	if (!tracer)
		tracer_that_ends(f, how, killed);
	ASSERT_EQ(tracer, waitpid(tracer, &status, 0));
	ASSERT_EQ(killed ? SIGKILL : 0, status);
}

TEST_F(detach, by_exit_of_tracer_keeps_what_is_armed)
{
	struct freed *f = self->f;
	int status;

	if (!can_trace(_metadata))
		return;
	let_tracer_end(_metadata, f, variant->how, false);
	self->t.tid = f->tid;
	ASSERT_EQ(0, tell(f));
	ASSERT_EQ(f->tid, waitpid(f->tid, &status, __WALL));
	self->t.tid = 0;
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(SIGTRAP, WTERMSIG(status));
}

TEST_F(detach, by_death_of_tracer_keeps_what_is_armed)
{
	struct tracee *t = &self->t;
	struct freed *f = self->f;

	if (!can_trace(_metadata))
		return;
	let_tracer_end(_metadata, f, variant->how, true);
	t->progress = &f->progress;
	ASSERT_EQ(0, tracee_adopt(t, f->tid));
	if (!may_go_on(_metadata, attach_again(t, variant->again), "attach"))
		return;
	still_armed(_metadata, t, f);
}

/*
 * The stops of PTRACE_SEIZE.  None of them may cost an armed slot, and a
 * tracee left in PTRACE_LISTEN does not run into one.
 */
static void stores_in_turn(struct tracee *t)
{
	struct freed *f = t->arg;
	char byte;

	for (;;) {
		if (read(f->go[0], &byte, 1) != 1)
			_exit(0);
		*t->progress += 1;
		probe_store4(&f->word, 1);
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
	tracee_report(t, &s, "PTRACE_EVENT_STOP of signal %d expected", sig);
	return 1;
}

FIXTURE(seized) {
	struct tracee t;
	struct freed *f;
};

FIXTURE_SETUP(seized)
{
	self->f = shared_alloc(sizeof(*self->f));
	ASSERT_EQ(0, pipe2(self->f->go, O_CLOEXEC));
	self->t.body = stores_in_turn;
	self->t.arg = self->f;
	if (!start(_metadata, &self->t, TRACEE_SEIZE))
		return;
}

FIXTURE_TEARDOWN(seized)
{
	tracee_stop(&self->t);
}

TEST_F(seized, interrupt_and_listen_keep_it_armed)
{
	struct tracee *t = &self->t;
	struct freed *f = self->f;
	unsigned long n;
	struct stop s;

	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 4, &f->word));
	for (n = 1; n <= 20; n++) {
		/* A stop between two accesses: twice, and no hit */
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
		ASSERT_EQ(0, tell(f));
		ASSERT_EQ(0, kill(t->tid, SIGCONT));
		ASSERT_EQ(0, event_stop(t, SIGTRAP));
		ASSERT_EQ(n - 1, *t->progress);
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGCONT, s.status >> 8) {
			tracee_report(t, &s, "SIGCONT expected");
		}
		ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, n));
	}
}

/*
 * Slots of a thread that has ended are free again.  One that is leaked is
 * charged to a thread that is gone, where no new one can see it, so it is
 * looked for with events on CPUs, by those who may have them.
 *
 * Regression test for 8b4d801b2b12, c790b0ad23f4, 45a73372efe4.
 */
#ifndef LIVES
#define LIVES		200	/* of four slots; one leaked is seen; 10,000 hold */
#endif

FIXTURE(end) {
	unsigned int *word;
};

FIXTURE_SETUP(end)
{
	self->word = shared_alloc(4096);
	if (!can_trace(_metadata))
		return;
}

FIXTURE_TEARDOWN(end)
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

static void live(struct __test_metadata *_metadata, unsigned int *word,
		 bool killed)
{
	struct tracee t;
	int i;

	for (i = 0; i < LIVES; i++) {
		t = (struct tracee){ .body = do_nothing, .arg = word };
		ASSERT_EQ(0, tracee_start(&t, TRACEE_TRACEME));
		ASSERT_EQ(0, arm_four(&t, word)) {
			TH_LOG("tracee %d: slots are not free again", i);
		}
		if (!killed)
			ASSERT_EQ(0, tracee_expect_exit(&t));
		tracee_stop(&t);
	}
	expect_slots_free(_metadata);
}

TEST_F(end, by_exit_gives_slots_back)
{
	live(_metadata, self->word, false);
}

TEST_F(end, by_sigkill_gives_slots_back)
{
	live(_metadata, self->word, true);
}

/*
 * The tracee is killed by another process while its registers are written:
 * each call is done or finds nobody, and nothing of it stays.
 *
 * Regression test for bf26c018490c, 87dc669ba257.
 */
#define KILLS	100

struct race {
	pid_t victim;
	unsigned int round;
};

static void killer(struct race *r)
{
	unsigned int round, spins;

	for (round = 1; round <= KILLS; round++) {
		while (__atomic_load_n(&r->round, __ATOMIC_ACQUIRE) != round)
			sched_yield();
		/* Earlier and later, from one round to the next */
		for (spins = 0; spins < round * 40; spins++)
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
		kill(r->victim, SIGKILL);
	}
	_exit(0);
}

TEST_F(end, poke_of_a_dying_tracee)
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
	expect_slots_free(_metadata);
}

/*
 * However it is traced: a new tracee has nothing armed, and what is then armed
 * fires.
 */
FIXTURE(traced) {
	struct tracee t;
	struct life *l;
};

FIXTURE_VARIANT(traced) {
	enum tracee_how how;
};

FIXTURE_VARIANT_ADD(traced, by_traceme) {
	.how = TRACEE_TRACEME,
};

FIXTURE_VARIANT_ADD(traced, by_attach) {
	.how = TRACEE_ATTACH,
};

FIXTURE_VARIANT_ADD(traced, by_seize) {
	.how = TRACEE_SEIZE,
};

FIXTURE_SETUP(traced)
{
	self->l = shared_alloc(sizeof(*self->l));
	self->t.body = parent;
	self->t.arg = self->l;
	self->l->flags = SIGCHLD;
	if (!start(_metadata, &self->t, variant->how))
		return;
}

FIXTURE_TEARDOWN(traced)
{
	tracee_stop(&self->t);
}

TEST_F(traced, starts_with_nothing_armed)
{
	struct tracee *t = &self->t;
	struct life *l = self->l;
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
