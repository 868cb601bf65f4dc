// SPDX-License-Identifier: GPL-2.0
/*
 * Watched memory that the kernel accesses although no system call names it: for
 * the tracer, when the thread exits or is preempted, and for its signals.
 *
 * As in kernel_access_test these accesses must neither cause a trap nor cost one,
 * nor leave a bit in DR6.
 */
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 35)
#include <sys/rseq.h>
#define LIBRARY_RSEQ	((char *)__builtin_thread_pointer() + __rseq_offset)
#endif
#endif

#include "harness.h"
#include "probes.h"
#include "watched.h"

#define VALUE	0x123

/**
 * struct area - shared by tracer and tracee
 * @user: accessed by the tracee
 * @kernel: accessed by the kernel
 * @err: errno of an error in the tracee, negative
 * @sink: a process id or an address, from the tracee
 */
struct area {
	struct watched user, kernel;
	int err;
	unsigned long sink;
};

/*
 * The tracer accesses the memory of the tracee through the kernel's mapping of
 * the page, with the tracer's debug registers loaded.
 */
static void two_stores(struct tracee *t)
{
	struct area *a = t->arg;

	*t->progress = 1;
	probe_store4(a->user.word, 1);
	tracee_sync();
	*t->progress = 2;
	probe_load4(a->user.word, 0);
	*t->progress = 3;
	tracee_sync();
}

FIXTURE(implicit_access) {
	struct tracee t;
	struct area *a;
};

FIXTURE_SETUP(implicit_access)
{
	self->a = shared_alloc(sizeof(*self->a));
	watched_alloc(&self->a->user);
	watched_alloc(&self->a->kernel);
	self->t.arg = self->a;
}

FIXTURE_TEARDOWN(implicit_access)
{
	tracee_stop(&self->t);
}

TEST_F(implicit_access, peek_and_poke_by_tracer)
{
	struct tracee *t = &self->t;
	unsigned int *word = self->a->user.word;
	unsigned long dr6, seen;

	t->body = two_stores;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, word));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_poke(t, 6, DR6_NONE));
	errno = 0;
	seen = ptrace(PTRACE_PEEKDATA, t->tid, word, NULL);
	ASSERT_EQ(0, errno);
	ASSERT_EQ(1, seen & 0xffffffff);
	ASSERT_EQ(0, ptrace(PTRACE_POKEDATA, t->tid, word, VALUE));
	ASSERT_EQ(VALUE, *self->a->user.alias);
	ASSERT_EQ(0, tracee_expect_sync(t, 1));
	ASSERT_EQ(0, tracee_peek(t, 6, &dr6));
	ASSERT_EQ(DR6_NONE, dr6);
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_load4_next, 2));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/*
 * On exit the kernel writes a zero to clear_child_tid and wakes waiters, but
 * only if the memory has another user (mm_release() in kernel/fork.c): a
 * process that shares it.
 */
static int sharer(void *arg)
{
	struct area *a = arg;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != (pid_t)a->sink)
		return 0;
	while (__atomic_load_n(a->kernel.alias, __ATOMIC_RELAXED))
		syscall(SYS_futex, a->kernel.alias, FUTEX_WAIT, 1, NULL, NULL,
			0);
	return 0;
}

static void exit_clears_tid(struct tracee *t)
{
	static char stack[16384] __attribute__((aligned(16)));
	struct area *a = t->arg;

	*a->kernel.alias = 1;
	a->sink = getpid();
	if (clone(sharer, stack + sizeof(stack), CLONE_VM, a) < 0)
		_exit(errno);
	syscall(SYS_set_tid_address, a->kernel.word);
	*t->progress = 1;
	probe_store4(a->user.word, 1);
	*t->progress = 2;
	tracee_sync();
	syscall(SYS_exit, 0);
}

TEST_F(implicit_access, clear_child_tid)
{
	struct tracee *t = &self->t;

	t->body = exit_clears_tid;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, self->a->user.word));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 4, self->a->kernel.word));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
	ASSERT_EQ(1, *self->a->kernel.alias);
	ASSERT_EQ(0, tracee_expect_exit(t));
	ASSERT_EQ(0, *self->a->kernel.alias);
}

/*
 * On exit the kernel walks the thread's robust list, and marks each lock
 * (handle_futex_death() in kernel/futex/core.c): the head of the list and the
 * lock are watched.
 */
static void exit_holding_lock(struct tracee *t)
{
	struct area *a = t->arg;
	struct robust_list_head *head = (void *)a->kernel.alias;
	struct robust_list *lock = (void *)(a->user.word + 16);

	head->list.next = lock;
	head->futex_offset = (char *)a->user.word - (char *)lock;
	head->list_op_pending = NULL;
	((struct robust_list *)(a->user.alias + 16))->next =
		(void *)a->kernel.word;
	if (syscall(SYS_set_robust_list, a->kernel.word, sizeof(*head)))
		a->err = -errno;
	*t->progress = 1;
	probe_load4(a->kernel.word, 0);
	*t->progress = 2;
	probe_store4(a->user.word, syscall(SYS_gettid));
	*t->progress = 3;
	tracee_sync();
}

TEST_F(implicit_access, robust_list)
{
	struct tracee *t = &self->t;
	pid_t tid;

	t->body = exit_holding_lock;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	tid = t->tid;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, self->a->user.word));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 4, self->a->kernel.word));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_load4_next, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 2));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	skip_if_refused(_metadata, self->a->err, "set_robust_list");
	ASSERT_EQ((unsigned int)tid, *self->a->user.alias);
	ASSERT_EQ(0, tracee_expect_exit(t));
	ASSERT_EQ(FUTEX_OWNER_DIED, *self->a->user.alias);
}

/*
 * Restartable sequences: on the return to a thread that was preempted, migrated, or
 * signalled, which includes the return from a #DB, the kernel reads rseq_cs and
 * writes cpu_id_start and cpu_id (__rseq_handle_notify_resume() in kernel/rseq.c),
 * since 6.19 only if they change.  The headers are not used: they came in 4.18 and
 * differ between kernel and C library.
 */
#ifndef SYS_rseq
#ifdef __x86_64__
#define SYS_rseq	334
#else
#define SYS_rseq	386
#endif
#endif
#define AREA_SIZE	32
#define AREA_SIGNATURE	0x53053053

static int rseq(void *area, int flags)
{
	return syscall(SYS_rseq, area, AREA_SIZE, flags, AREA_SIGNATURE);
}

/* Since 2.35 the C library registers an area itself */
static void unregister_library_rseq(void)
{
#ifdef LIBRARY_RSEQ
	rseq(LIBRARY_RSEQ, 1);
#endif
}

static void empty_handler(int sig)
{
	(void)sig;
}

static void rseq_updates(struct tracee *t)
{
	struct area *a = t->arg;
	unsigned int *area = a->user.word, *alias = a->user.alias, i;

	signal(SIGUSR1, empty_handler);
	unregister_library_rseq();
	if (rseq(area, 0))
		a->err = -errno;
	tracee_sync();
	for (i = 1; i < 40; i += 3) {
		unsigned int before = alias[1];

		*t->progress = i;
		raise(SIGUSR1);
		*t->progress = i + 1;
		/*
		 * The kernel must have written here, otherwise the test proves
		 * nothing: the tracer has moved this thread
		 */
		if (alias[1] == before)
			_exit(1);
		probe_load4(area, 0);
		sched_yield();
		*t->progress = i + 2;
		probe_load8(area + 2, 0);
	}
	*t->progress = i;
	tracee_sync();
	/* No code of the C library may see another area */
	syscall(SYS_exit_group, 0);
}

TEST_F(implicit_access, rseq_area)
{
	struct tracee *t = &self->t;
	unsigned int *area = self->a->user.word;
	struct stop s;
	unsigned long i;
	int cpus[2];

	if (allowed_cpus(cpus, 2) < 2)
		SKIP(return, SKIP_ONE_CPU);
	t->body = rseq_updates;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, pin_to_cpu(t->tid, cpus[0]));
	ASSERT_EQ(0, tracee_expect_sync(t, 0));
	/* EINVAL and EBUSY: the C library's area could not be unregistered */
	if (self->a->err)
		SKIP(return, SKIP_NOT_BUILT_IN);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, area));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 4, area + 1));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_RW, 8, area + 2));
	for (i = 1; i < 40; i += 3) {
		ASSERT_EQ(0, tracee_poke(t, 6, DR6_NONE));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGUSR1, WSTOPSIG(s.status));
		ASSERT_EQ(i, s.progress);
		ASSERT_EQ(DR6_NONE, s.dr6);
		ASSERT_EQ(0, pin_to_cpu(t->tid, cpus[i % 2]));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, SIGUSR1));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(0, tracee_check_trap(t, &s, &(struct trap){
			.ip = probe_load4_next, .slots = 1,
			.progress = i + 1 }));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_load8_next, i + 2));
	}
	ASSERT_EQ(0, tracee_expect_sync(t, i));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/*
 * The kernel pushes a signal frame to the stack and reads it on return.  Its
 * address is found with a first signal; it only depends on the top of the stack
 * and the size of the CPU state.
 */
#define FRAME_STACK	65536

static struct {
	void *word;		/* in the ucontext of the frame */
	struct tracee *t;
} frame;

static void frame_handler(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	frame.word = context;
	*frame.t->progress += 1;
	probe_load4(context, 0);
	*frame.t->progress += 1;
}

static void signals_on_watched_stack(struct tracee *t)
{
	struct area *a = t->arg;
	struct sigaction action = {
		.sa_sigaction = frame_handler,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};
	stack_t stack = {
		.ss_sp = shared_alloc(FRAME_STACK),
		.ss_size = FRAME_STACK,
	};
	int i;

	frame.t = t;
	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	for (i = 0; i < 10; i++) {
		raise(SIGUSR1);
		*t->progress += 1;
		probe_load4(frame.word, 0);
		if (!i) {
			a->sink = (unsigned long)frame.word;
			tracee_sync();
		}
	}
	*t->progress += 1;
	tracee_sync();
}

TEST_F(implicit_access, signal_frame_on_watched_stack)
{
	struct tracee *t = &self->t;
	unsigned long n;
	struct stop s;
	int i;

	t->body = signals_on_watched_stack;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	for (i = 0; i < 10; i++) {
		n = 3 * i;
		ASSERT_EQ(0, tracee_poke(t, 6, DR6_NONE));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGUSR1, WSTOPSIG(s.status));
		ASSERT_EQ(n, s.progress);
		ASSERT_EQ(DR6_NONE, s.dr6);
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, SIGUSR1));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (!i) {
			ASSERT_EQ(0, tracee_check_sync(t, &s, 3));
			ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4,
						(void *)self->a->sink));
			continue;
		}
		ASSERT_EQ(0, tracee_check_trap(t, &s, &(struct trap){
			.ip = probe_load4_next, .slots = 1,
			.progress = n + 1 }));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_load4_next, n + 3));
	}
	ASSERT_EQ(0, tracee_expect_sync(t, 31));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

TEST_HARNESS_MAIN
