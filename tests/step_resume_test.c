// SPDX-License-Identifier: GPL-2.0
/*
 * Single steps that start in the middle: at stops of system calls and at ptrace
 * events, and the step over a handler's return.
 *
 * From a stop inside a system call the step ends right after the call, with si_code
 * TRAP_BRKPT and without BS (user_single_step_report() in arch/x86/kernel/ptrace.c);
 * from the stop at its end it ends after the next instruction, like any other step.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "step.h"

#ifdef __x86_64__
#define GETPID	"mov $39, %eax"
#define FORK	"mov $57, %eax"
#define CALL	"syscall"
#else
#define GETPID	"mov $20, %eax"
#define FORK	"mov $2, %eax"
#define CALL	"int $0x80"
#endif

/* The child of fork() returns to C as well */
DECLARE_PROBE(resume_getpid);
DEFINE_PROBE(resume_getpid, GETPID, CALL, "nop\n\tnop\n\tnop");
DECLARE_PROBE(resume_fork);
DEFINE_PROBE(resume_fork, FORK, CALL, "nop\n\tnop\n\tnop");

/* A signal handler */
DECLARE_PROBE(resume_handler);
DEFINE_PROBE(resume_handler, "", "nop", "");

#define MAX_STEPS	10	/* from the handler to the interrupted instruction */

static void call_getpid(struct tracee *t)
{
	for (;;) {
		*t->progress = 1;
		resume_getpid(NULL, 0);
		*t->progress = 2;
		tracee_sync();
	}
}

static void call_fork(struct tracee *t)
{
	for (;;) {
		*t->progress = 1;
		resume_fork(NULL, 0);
		if (getpid() != t->tid)
			_exit(0);
		*t->progress = 2;
		tracee_sync();
	}
}

static void handle_signal(struct tracee *t)
{
	struct sigaction action = {
		.sa_handler = (void (*)(int))(unsigned long)resume_handler,
	};

	sigaction(SIGUSR1, &action, NULL);
	for (;;) {
		*t->progress = 1;
		step_nops(NULL, 0);
		*t->progress = 2;
		tracee_sync();
	}
}

FIXTURE(step_resume) {
	struct tracee t;
};

FIXTURE_SETUP(step_resume)
{
}

FIXTURE_TEARDOWN(step_resume)
{
	tracee_stop(&self->t);
}

static void start(struct __test_metadata *_metadata, struct tracee *t,
		  void (*body)(struct tracee *t), long options)
{
	t->body = body;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL, PTRACE_O_EXITKILL |
			    PTRACE_O_TRACESYSGOOD | options));
}

/* The next stop at a system call, entry or exit, of the probe */
static int to_syscall_stop(struct tracee *t)
{
	struct stop s;

	do {
		if (tracee_resume(t, PTRACE_SYSCALL, 0) || tracee_wait(t, &s))
			return -1;
		if (s.status >> 8 != (SIGTRAP | 0x80)) {
			tracee_report(t, &s, "stop at a system call expected");
			return -1;
		}
	} while (s.progress != 1);
	return 0;
}

/* One step that is reported by the system call, at @ip */
static int expect_step_in_call(struct tracee *t, const void *ip)
{
	struct stop s;

	if (tracee_resume(t, PTRACE_SINGLESTEP, 0) || tracee_wait(t, &s))
		return -1;
	if (WIFSTOPPED(s.status) && !(s.status >> 16) &&
	    WSTOPSIG(s.status) == SIGTRAP && s.info.si_code == TRAP_BRKPT &&
	    s.ip == (unsigned long)ip && s.progress == 1)
		return 0;
	tracee_report(t, &s, "step with code %d expected, ip %#lx", TRAP_BRKPT,
		      (unsigned long)ip);
	return -1;
}

TEST_F(step_resume, at_syscall_entry)
{
	struct tracee *t = &self->t;
	unsigned int i;

	start(_metadata, t, call_getpid, 0);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, to_syscall_stop(t));
		ASSERT_EQ(0, expect_step_in_call(t, resume_getpid_next));
		ASSERT_EQ(0, expect_step(t, resume_getpid_next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* The step is reported first, then the breakpoint */
TEST_F(step_resume, at_syscall_entry_onto_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;

	start(_metadata, t, call_getpid, 0);
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, resume_getpid_next));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, to_syscall_stop(t));
		ASSERT_EQ(0, expect_step_in_call(t, resume_getpid_next));
		ASSERT_EQ(0, expect_hit_by(t, PTRACE_SINGLESTEP, 4,
					   resume_getpid_next, 1));
		ASSERT_EQ(0, expect_step(t, resume_getpid_next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_F(step_resume, at_syscall_exit)
{
	struct tracee *t = &self->t;
	unsigned int i;

	start(_metadata, t, call_getpid, 0);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, to_syscall_stop(t));
		ASSERT_EQ(0, to_syscall_stop(t));
		ASSERT_EQ(0, expect_step(t, resume_getpid_next + 1, 1));
		ASSERT_EQ(0, expect_step(t, resume_getpid_next + 2, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* The step begins with the breakpoint: it comes before the instruction */
TEST_F(step_resume, at_syscall_exit_onto_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;

	start(_metadata, t, call_getpid, 0);
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, resume_getpid_next));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, to_syscall_stop(t));
		ASSERT_EQ(0, to_syscall_stop(t));
		ASSERT_EQ(0, expect_hit_by(t, PTRACE_SINGLESTEP, 4,
					   resume_getpid_next, 1));
		ASSERT_EQ(0, expect_step(t, resume_getpid_next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* At PTRACE_EVENT_FORK; the breakpoint is the parent's only */
TEST_F(step_resume, at_fork_event)
{
	struct tracee *t = &self->t;
	unsigned long child;
	unsigned int i;
	struct stop s;
	int status;

	start(_metadata, t, call_fork, PTRACE_O_TRACEFORK);
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, resume_fork_next));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP | PTRACE_EVENT_FORK << 8, s.status >> 8) {
			tracee_report(t, &s, "fork expected");
		}
		ASSERT_EQ(0, ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &child));
		ASSERT_EQ(0, expect_step_in_call(t, resume_fork_next));
		ASSERT_EQ(0, expect_hit_by(t, PTRACE_CONT, 2, resume_fork_next, 1));
		ASSERT_EQ(0, kill(child, SIGKILL));
		while (waitpid(child, &status, __WALL) == (pid_t)child &&
		       WIFSTOPPED(status))
			;
		/* SIGCHLD, which is ignored by default */
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (WIFSTOPPED(s.status) && WSTOPSIG(s.status) == SIGCHLD) {
			ASSERT_EQ(0, tracee_cont(t));
			ASSERT_EQ(0, tracee_wait(t, &s));
		}
		ASSERT_EQ(0, tracee_check_sync(t, &s, 2));
	}
}

/*
 * The tracee is resumed from a breakpoint with a signal.  Its handler returns by
 * sigreturn to the instruction, with RF from its frame: it is not hit a second time
 * (5e219b3c6718, 24cda10996f5).
 */
TEST_F(step_resume, over_handler_return_to_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int i, n;
	struct stop s;

	start(_metadata, t, handle_signal, 0);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, resume_handler_at));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, step_nops_next));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 8, step_nops_next, 1));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, SIGUSR1));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(0, tracee_check_trap(t, &s, &(struct trap){
			.ip = resume_handler_at, .slots = 1, .progress = 1 }));
		for (n = 0; n < MAX_STEPS; n++) {
			ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
			ASSERT_EQ(0, tracee_wait(t, &s));
			ASSERT_EQ(SIGTRAP, s.status >> 8) {
				tracee_report(t, &s, "step %u expected", n);
			}
			if (s.ip == (unsigned long)step_nops_next)
				break;
			ASSERT_EQ(dr6_encode(0, true), s.dr6) {
				tracee_report(t, &s, "step %u expected", n);
			}
		}
		ASSERT_GT(MAX_STEPS, n);
		ASSERT_EQ(dr6_encode(0, true), s.dr6);
		ASSERT_EQ(0, expect_step(t, step_nops_next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_HARNESS_MAIN
