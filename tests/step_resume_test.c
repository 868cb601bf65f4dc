// SPDX-License-Identifier: GPL-2.0
/*
 * Single steps that start in the middle: at stops of system calls and at ptrace
 * events, and the step over a handler's return.
 *
 * From a stop inside a system call the step ends right after the call, with si_code
 * TRAP_BRKPT and without BS (user_single_step_report() in arch/x86/kernel/ptrace.c);
 * from the stop at its end it ends after the next instruction, like any other step.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "step.h"

#ifdef __x86_64__
#define GETPID	"mov $39, %eax"
/* Flags from PROBE_VAL; no stack, so that the child has a copy of the parent's */
#define CLONE	"mov %rax, %rdi\n\txor %esi, %esi\n\tmov $56, %eax"
#define CLONED	"nop\n\tnop\n\tnop"
#define CALL	"syscall"
#else
#define GETPID	"mov $20, %eax"
#define CLONE	"push %ebx\n\tmov %eax, %ebx\n\txor %ecx, %ecx\n\tmov $120, %eax"
#define CLONED	"nop\n\tnop\n\tnop\n\tpop %ebx"
#define CALL	"int $0x80"
#endif

DECLARE_PROBE(resume_getpid);
DEFINE_PROBE(resume_getpid, GETPID, CALL, "nop\n\tnop\n\tnop");
/* The child returns as well */
DECLARE_PROBE(resume_clone);
DEFINE_PROBE(resume_clone, CLONE, CALL, CLONED);

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

static void call_clone(struct tracee *t)
{
	const unsigned long *flags = t->arg;

	for (;;) {
		*t->progress = 1;
		resume_clone(NULL, *flags);
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

DECLARE_PROBE(resume_exit);
#ifdef __x86_64__
DEFINE_PROBE(resume_exit, "mov $7, %edi\n\tmov $60, %eax", CALL, "ud2");
#else
DEFINE_PROBE(resume_exit, "mov $7, %ebx\n\tmov $1, %eax", CALL, "ud2");
#endif

static void call_exit(struct tracee *t)
{
	*t->progress = 1;
	resume_exit(NULL, 0);
}

/* The step ends with the task: nothing is reported but its exit */
TEST_F(step_resume, over_exit)
{
	struct tracee *t = &self->t;
	unsigned int i;
	struct stop s;

	for (i = 0; i < 4; i++) {
		start(_metadata, t, call_exit, 0);
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, resume_exit_at));
		ASSERT_EQ(0, tracee_expect_hit(t, 1 << i, resume_exit_at, 1));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(7 << 8, s.status) {
			tracee_report(t, &s, "exit status 7 expected");
		}
		tracee_stop(t);
	}
	expect_no_slot_leaked(_metadata);
}

FIXTURE(step_event) {
	struct tracee t;
	unsigned long flags;
};

/* The flags of clone(), and the event that it reports */
FIXTURE_VARIANT(step_event) {
	unsigned long flags;
	long option;
	int event;
};

FIXTURE_VARIANT_ADD(step_event, fork) {
	SIGCHLD, PTRACE_O_TRACEFORK, PTRACE_EVENT_FORK,
};

FIXTURE_VARIANT_ADD(step_event, clone) {
	0, PTRACE_O_TRACECLONE, PTRACE_EVENT_CLONE,
};

FIXTURE_VARIANT_ADD(step_event, vfork) {
	CLONE_VFORK, PTRACE_O_TRACEVFORK, PTRACE_EVENT_VFORK,
};

FIXTURE_VARIANT_ADD(step_event, vfork_done) {
	CLONE_VFORK, PTRACE_O_TRACEVFORKDONE, PTRACE_EVENT_VFORK_DONE,
};

FIXTURE_SETUP(step_event)
{
	self->flags = variant->flags;
	self->t.arg = &self->flags;
	start(_metadata, &self->t, call_clone, variant->option);
}

FIXTURE_TEARDOWN(step_event)
{
	tracee_stop(&self->t);
}

/* A child that is traced from its start on, or none of ours any more */
static void end_child(pid_t child)
{
	int status;

	kill(child, SIGKILL);
	while (waitpid(child, &status, __WALL) == child && WIFSTOPPED(status))
		;
}

/* The step is reported first, then the breakpoint, which is the parent's only */
TEST_F(step_event, single_step)
{
	struct tracee *t = &self->t;
	unsigned long child;
	unsigned int i;
	struct stop s;

	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, resume_clone_next));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP | variant->event << 8, s.status >> 8) {
			tracee_report(t, &s, "event %d expected", variant->event);
		}
		ASSERT_EQ(0, ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &child));
		/* The parent would wait for it */
		if (variant->event != PTRACE_EVENT_VFORK_DONE)
			end_child(child);
		ASSERT_EQ(0, expect_step_in_call(t, resume_clone_next));
		/* SIGCHLD, which is ignored by default */
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (WIFSTOPPED(s.status) && WSTOPSIG(s.status) == SIGCHLD) {
			ASSERT_EQ(0, tracee_cont(t));
			ASSERT_EQ(0, tracee_wait(t, &s));
		}
		ASSERT_EQ(0, tracee_check_trap(t, &s, &(struct trap){
			.ip = resume_clone_next, .slots = 2, .progress = 1 }));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

static void call_exec(struct tracee *t)
{
	*t->progress = 1;
	execl("/proc/self/exe", "step_resume_test", NULL);
	tracee_sync();
}

/* At PTRACE_EVENT_EXEC: at the new program's first instruction, then after it */
TEST_F(step_resume, at_exec_event)
{
	struct tracee *t = &self->t;
	struct stop s, stepped;

	start(_metadata, t, call_exec, PTRACE_O_TRACEEXEC);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_nops_at));
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	if (WIFSTOPPED(s.status) && WSTOPSIG(s.status) == SIGSTOP)
		SKIP(return, SKIP_NO_PROC);
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXEC << 8, s.status >> 8) {
		tracee_report(t, &s, "exec expected");
	}
	ASSERT_EQ(0, expect_step_in_call(t, (void *)s.ip));
	ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
	ASSERT_EQ(0, tracee_wait(t, &stepped));
	ASSERT_TRUE(stepped.status == (SIGTRAP << 8 | 0x7f) &&
		    stepped.info.si_code == TRAP_TRACE && stepped.ip != s.ip &&
		    stepped.dr6 == dr6_encode(0, true)) {
		tracee_report(t, &stepped, "step over the first instruction expected");
	}
}

static void call_getpid_filtered(struct tracee *t)
{
	struct sock_filter insns[] = {
		/* Only that call: tracee_sync() calls getpid() as well */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, instruction_pointer)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			 (unsigned int)(unsigned long)resume_getpid_next, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(insns), insns };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		tracee_sync();
	call_getpid(t);
}

/* At PTRACE_EVENT_SECCOMP, before the call */
TEST_F(step_resume, at_seccomp_event)
{
	struct tracee *t = &self->t;
	unsigned int i;
	struct stop s;

	start(_metadata, t, call_getpid_filtered, PTRACE_O_TRACESECCOMP);
	for (i = 0; i < 3; i++) {
		/* The second time with a breakpoint, which comes after the step */
		if (i == 1)
			ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1,
						resume_getpid_next));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (!i && s.progress == 0)
			SKIP(return, SKIP_NOT_BUILT_IN);
		ASSERT_EQ(SIGTRAP | PTRACE_EVENT_SECCOMP << 8, s.status >> 8) {
			tracee_report(t, &s, "seccomp event expected");
		}
		ASSERT_EQ(0, expect_step_in_call(t, resume_getpid_next));
		if (i)
			ASSERT_EQ(0, expect_hit_by(t, PTRACE_SINGLESTEP, 8,
						   resume_getpid_next, 1));
		ASSERT_EQ(0, expect_step(t, resume_getpid_next + 1, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

TEST_HARNESS_MAIN
