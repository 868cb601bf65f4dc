// SPDX-License-Identifier: GPL-2.0
/*
 * System calls with breakpoints: what coincides with an access of the kernel to
 * watched memory.
 *
 * That single system calls cause no trap is tested in kernel_access_test.  Here
 * the kernel's #DB (exc_debug_kernel() in arch/x86/kernel/traps.c) meets a
 * large copy, a page fault, a context switch, a syscall-stop, an execute
 * breakpoint or a single-step on the call, and kernel text being patched.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf_event.h"
#include "probes.h"

#define ROUNDS		16
#define LARGE		16384	/* bytes: fits into a pipe */
#define PATCHES		20	/* of kernel text, at the least */
#define TRAPS		300	/* while text is patched, at the least */

/*
 * write(val, addr, 4), with the labels around the system call instruction:
 * syscall, or int 0x80, either of which leaves TF to the kernel.
 */
#ifdef __x86_64__
DEFINE_PROBE(probe_write4, "mov %rdx, %rsi\n\tmov %rax, %rdi\n\t"
	     "mov $4, %edx\n\tmov $1, %eax", "syscall", "");
#else
DEFINE_PROBE(probe_write4, "push %ebx\n\tmov %eax, %ebx\n\tmov %edx, %ecx\n\t"
	     "mov $4, %edx\n\tmov $4, %eax", "int $0x80", "pop %ebx");
#endif
DECLARE_PROBE(probe_write4);

/**
 * struct calls - shared by tracer and tracee
 * @data: watched at four addresses
 * @source: copied from and to, not watched
 * @word: watched
 * @page: fresh in each iteration; each process has its own
 * @fd: pipe
 * @back: pipe in the other direction
 * @err: errno of an error in the tracee
 * @stop: asks the tracee, or the process that patches text, to end
 * @patches: number of times that text was patched
 */
struct calls {
	unsigned int data[LARGE / 4];
	unsigned int source[LARGE / 4];
	unsigned int word[2];
	unsigned int *page;
	int fd[2];
	int back[2];
	int err;
	int stop;
	unsigned long patches;
};

FIXTURE(syscalls) {
	struct tracee t[2];
	struct calls *c;
};

FIXTURE_SETUP(syscalls)
{
	self->c = shared_alloc(sizeof(*self->c));
	ASSERT_EQ(0, pipe2(self->c->fd, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(self->c->back, O_CLOEXEC));
	self->t[0].arg = self->c;
	self->t[1].arg = self->c;
	self->t[1].id = 1;
}

FIXTURE_TEARDOWN(syscalls)
{
	tracee_stop(self->t);
	tracee_stop(&self->t[1]);
}

/* Continue to a tracee_sync(); accesses of the kernel must not show in DR6 */
static int sync_without_trace(struct tracee *t, unsigned long progress)
{
	unsigned long dr6;
	int err = tracee_poke(t, 6, DR6_NONE);

	if (!err)
		err = tracee_expect_sync(t, progress);
	if (!err)
		err = tracee_peek(t, 6, &dr6);
	if (err || dr6 == DR6_NONE)
		return err;
	tracee_report(t, NULL, "DR6 %#lx has bits of the kernel's accesses", dr6);
	return 1;
}

/*
 * One copy over four watched words: however the copy is made, by rep movsb for
 * instance, it is interrupted by several #DB.
 */
static const unsigned int large_at[DR_SLOTS] = { 1, 1024, 2049, 4095 };

static void copy_repeatedly(struct tracee *t)
{
	struct calls *c = t->arg;
	unsigned int n, round;

	for (round = 0; round < ROUNDS; round++) {
		memset(c->source, 1 + round, LARGE);
		if (write(c->fd[1], c->source, LARGE) != LARGE ||
		    read(c->fd[0], c->data, LARGE) != LARGE ||
		    write(c->fd[1], c->data, LARGE) != LARGE)
			c->err = errno ? errno : EIO;
		memset(c->source, 0, LARGE);
		if (read(c->fd[0], c->source, LARGE) != LARGE)
			c->err = errno ? errno : EIO;
		for (n = 0; n < LARGE / 4; n++)
			if (c->source[n] != (1 + round) * 0x01010101U)
				c->err = EILSEQ;
		*t->progress = 1;
		tracee_sync();
		for (n = 0; n < DR_SLOTS; n++) {
			*t->progress = 2 + n;
			probe_load4(&c->data[large_at[n]], 0);
		}
	}
	*t->progress = 6;
}

TEST_F(syscalls, large_copy_across_all_slots)
{
	struct tracee *t = self->t;
	struct calls *c = self->c;
	unsigned int n, round;

	/* Small for a user who has many pipes: /proc/sys/fs/pipe-user-pages-soft */
	if (fcntl(c->fd[1], F_GETPIPE_SZ) < LARGE)
		SKIP(return, SKIP_REFUSED, "a pipe of 16 KB");
	t->body = copy_repeatedly;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	for (n = 0; n < DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_arm(t, n, BP_RW, 4, &c->data[large_at[n]])) {
			TH_LOG("slot %u", n);
		}
	}
	for (round = 0; round < ROUNDS; round++) {
		ASSERT_EQ(0, sync_without_trace(t, 1));
		ASSERT_EQ(0, c->err);
		for (n = 0; n < DR_SLOTS; n++) {
			ASSERT_EQ(0, tracee_expect_hit(t, 1U << n,
						       probe_load4_next,
						       2 + n));
		}
	}
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/*
 * The kernel is the first to access the page: its access faults, is repeated
 * and only then hits.
 */
static void kernel_accesses_first(struct tracee *t)
{
	struct calls *c = t->arg;
	unsigned int round;

	for (round = 0; round < ROUNDS; round++) {
		if (madvise(c->page, 4096, MADV_DONTNEED) ||
		    write(c->fd[1], &round, 4) != 4 ||
		    read(c->fd[0], c->page + 16, 4) != 4)
			c->err = errno ? errno : EIO;
		*t->progress = 1;
		tracee_sync();
		*t->progress = 2;
		probe_load4(c->page + 16, 0);
		*t->progress = 3;
		probe_store4(c->page + 16, 0);
	}
	*t->progress = 4;
}

TEST_F(syscalls, first_access_of_page)
{
	struct tracee *t = self->t;
	struct calls *c = self->c;
	unsigned int round;

	c->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, c->page);
	t->body = kernel_accesses_first;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 2, BP_RW, 4, c->page + 16));
	for (round = 0; round < ROUNDS; round++) {
		ASSERT_EQ(0, sync_without_trace(t, 1));
		ASSERT_EQ(0, c->err);
		ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_load4_next, 2));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 3));
	}
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/* A write() of the watched word and a store to it, repeatedly */
static void writes_and_stores(struct tracee *t)
{
	struct calls *c = t->arg;
	unsigned long n;

	for (n = 1; !__atomic_load_n(&c->stop, __ATOMIC_RELAXED); n += 2) {
		*t->progress = n;
		probe_write4(c->word, c->fd[1]);
		*t->progress = n + 1;
		probe_store4(c->word, n);
	}
}

static void start_writes(struct __test_metadata *_metadata, struct tracee *t)
{
	struct calls *c = t->arg;

	t->body = writes_and_stores;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, c->word));
}

/* The kernel has read the word: each write() has put it into the pipe */
static void check_written(struct __test_metadata *_metadata, struct calls *c)
{
	unsigned int n, val;

	for (n = 0; n < ROUNDS; n++) {
		ASSERT_EQ(4, read(c->fd[0], &val, 4));
		ASSERT_EQ(n ? 2 * n - 1 : 0, val);
	}
}

/* Execute breakpoints on the system call, or right after it, or both */
static void execute_around(struct __test_metadata *_metadata, struct tracee *t,
			   bool on, bool after)
{
	struct calls *c = t->arg;
	unsigned int n;

	start_writes(_metadata, t);
	if (on)
		ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, probe_write4_at));
	if (after)
		ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1,
					probe_write4_next));
	for (n = 0; n < ROUNDS; n++) {
		if (on)
			ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_write4_at,
						       1 + 2 * n));
		if (after)
			ASSERT_EQ(0, tracee_expect_hit(t, 8, probe_write4_next,
						       1 + 2 * n));
		if (n == ROUNDS - 1)
			c->stop = 1;
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next,
					       2 + 2 * n));
	}
	ASSERT_EQ(0, tracee_expect_exit(t));
	check_written(_metadata, c);
}

TEST_F(syscalls, execute_breakpoint_on_call)
{
	execute_around(_metadata, self->t, true, false);
}

TEST_F(syscalls, execute_breakpoint_after_call)
{
	execute_around(_metadata, self->t, false, true);
}

/*
 * RF, with which the call is executed after the first trap, is clear after it:
 * INT n is complete when the kernel is entered, and saves flags without RF
 * (SDM, "Instruction-Breakpoint Exception Condition").
 */
TEST_F(syscalls, execute_breakpoints_on_and_after_call)
{
	execute_around(_metadata, self->t, true, true);
}

/* The tracer stops it at entry and exit, and sees no bit in DR6 */
TEST_F(syscalls, syscall_stops)
{
	struct tracee *t = self->t;
	unsigned int n, stop;
	struct stop s;

	start_writes(_metadata, t);
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
	for (n = 0; n < ROUNDS; n++) {
		/*
		 * The first of all stops is in a system call of tracee_sync()
		 */
		for (stop = 0; stop < 2; stop++) {
			ASSERT_EQ(0, tracee_poke(t, 6, DR6_NONE));
			do {
				ASSERT_EQ(0, tracee_resume(t, PTRACE_SYSCALL,
							   0));
				ASSERT_EQ(0, tracee_wait(t, &s));
				ASSERT_EQ(SIGTRAP | 0x80, s.status >> 8) {
					tracee_report(t, &s, "stop %u of write() expected",
						      stop);
				}
			} while (!s.progress);
			ASSERT_EQ(1 + 2 * n, s.progress);
			ASSERT_EQ((unsigned long)probe_write4_next, s.ip);
			ASSERT_EQ(DR6_NONE, s.dr6);
		}
		if (n == ROUNDS - 1)
			self->c->stop = 1;
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next,
					       2 + 2 * n));
	}
	ASSERT_EQ(0, tracee_expect_exit(t));
	check_written(_metadata, self->c);
}

/*
 * A single-step over the call ends right after it (6342adcaa683), without bits
 * of the kernel's accesses.  DR6 and si_code of such a step are tested in
 * step_kernel_test.
 */
TEST_F(syscalls, single_step_over_call)
{
	struct tracee *t = self->t;
	unsigned int n;
	struct stop s;

	start_writes(_metadata, t);
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, probe_write4_at));
	for (n = 0; n < ROUNDS; n++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_write4_at,
					       1 + 2 * n));
		ASSERT_EQ(0, tracee_poke(t, 6, DR6_NONE));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP, s.status >> 8);
		ASSERT_EQ((unsigned long)probe_write4_next, s.ip) {
			tracee_report(t, &s, "end of the step expected after the call");
		}
		ASSERT_EQ(0, (s.dr6 ^ DR6_NONE) & DR_SLOTS_ALL) {
			tracee_report(t, &s, "no slot was hit by the program");
		}
		if (n == ROUNDS - 1)
			self->c->stop = 1;
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next,
					       2 + 2 * n));
	}
	ASSERT_EQ(0, tracee_expect_exit(t));
	check_written(_metadata, self->c);
}

/*
 * Two armed tracees pass a word to each other: each access of the kernel is
 * next to a context switch, in the middle of a system call.
 */
#define TURNS	100

static void pass_word(struct tracee *t, unsigned int *word, int from, int to)
{
	struct calls *c = t->arg;
	unsigned int n;

	for (n = 1; n <= TURNS; n++) {
		if (read(from, word, 4) != 4)
			c->err = errno ? errno : EIO;
		*t->progress = 2 * n;
		probe_load4(word, 0);
		*t->progress = 2 * n + 1;
		if (write(to, word, 4) != 4)
			c->err = errno ? errno : EIO;
	}
	*t->progress = 0;
	tracee_sync();
}

static void ping(struct tracee *t)
{
	struct calls *c = t->arg;

	pass_word(t, &c->word[0], c->back[0], c->fd[1]);
}

static void pong(struct tracee *t)
{
	struct calls *c = t->arg;

	pass_word(t, &c->word[1], c->fd[0], c->back[1]);
}

/*
 * The other tracee's write() has woken tracee @i: its trap, and continue.  Only
 * one of them runs at a time, up to the last turn: then the other one ends.
 */
static int expect_turn(struct tracee *set, unsigned int i, unsigned int slot,
		       unsigned int n)
{
	struct tracee *t = &set[i];
	struct stop s;
	int err = 0;

	if (n == TURNS)
		err = tracee_wait(t, &s);
	else
		t = tracee_wait_any(set, 2, &s);
	if (err || !t)
		return 1;
	if (t != &set[i]) {
		tracee_report(t, &s, "MISSED trap of tracee %u in turn %u", i, n);
		return 1;
	}
	err = tracee_check_trap(t, &s, &(struct trap){
		.ip = probe_load4_next, .slots = 1U << slot, .progress = 2 * n });
	return err ? err : tracee_cont(t);
}

static int run_to_exit(struct tracee *t)
{
	struct stop s;
	int err = tracee_wait(t, &s);

	if (!err)
		err = tracee_check_sync(t, &s, 0);
	return err ? err : tracee_expect_exit(t);
}

static void ping_pong(struct __test_metadata *_metadata, struct tracee *set,
		      struct calls *c)
{
	struct tracee *a = &set[0], *b = &set[1];
	unsigned int n, token = 1;

	skip_if_dead(_metadata, BY_PTRACE, NEEDS_RW);
	a->body = ping;
	b->body = pong;
	start_tracee(_metadata, a, TRACEE_TRACEME);
	start_tracee(_metadata, b, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(a, 0, BP_RW, 4, &c->word[0]));
	ASSERT_EQ(0, tracee_arm(b, 3, BP_RW, 4, &c->word[1]));
	/* And the word that the other one watches, which it does not access */
	ASSERT_EQ(0, tracee_arm(a, 3, BP_RW, 4, &c->word[1]));
	ASSERT_EQ(4, write(c->back[1], &token, 4));
	ASSERT_EQ(0, tracee_cont(a));
	ASSERT_EQ(0, tracee_cont(b));
	for (n = 1; n <= TURNS; n++) {
		ASSERT_EQ(0, expect_turn(set, 0, 0, n));
		ASSERT_EQ(0, expect_turn(set, 1, 3, n));
	}
	ASSERT_EQ(0, run_to_exit(a));
	ASSERT_EQ(0, run_to_exit(b));
	ASSERT_EQ(0, c->err);
	ASSERT_EQ(1, c->word[0]);
	ASSERT_EQ(1, c->word[1]);
}

TEST_F(syscalls, context_switch_in_call)
{
	ping_pong(_metadata, self->t, self->c);
}

TEST_F(syscalls, context_switch_in_call_on_one_cpu)
{
	int cpu = -1;

	ASSERT_EQ(1, allowed_cpus(&cpu, 1));
	ASSERT_EQ(0, pin_to_cpu(0, cpu));
	ping_pong(_metadata, self->t, self->c);
}

/*
 * Kernel text is patched by another process all the time.  Every CPU takes part in
 * that.  For patching by the thread itself see kernel_access_test.
 *
 * Regression test for 9020d3956317.
 */
static void patch_until_stopped(struct calls *c)
{
	int err;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		err = patch_text();
		if (err)
			_exit(err == -ENOENT ? ENOSYS : -err);
		__atomic_add_fetch(&c->patches, 1, __ATOMIC_RELEASE);
	}
	_exit(0);
}

TEST_F(syscalls, text_patched_by_other_process)
{
	struct tracee *t = self->t;
	struct calls *c = self->c;
	unsigned long n;
	int status = 0;
	pid_t pid;

	start_writes(_metadata, t);
	/* Nobody reads the pipe: it would soon be full */
	ASSERT_EQ(0, fcntl(c->fd[1], F_SETFL, O_NONBLOCK));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		patch_until_stopped(c);
	/* Every single store, before, during and after patching */
	for (n = 0; n < TRAPS ||
	     __atomic_load_n(&c->patches, __ATOMIC_ACQUIRE) < PATCHES; n++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next,
					       2 + 2 * n));
		if (waitpid(pid, &status, WNOHANG) == pid)
			break;
	}
	skip_if_refused(_metadata, -WEXITSTATUS(status), "perf_event_open");
	__atomic_store_n(&c->stop, 1, __ATOMIC_RELEASE);
	ASSERT_EQ(0, tracee_expect_exit(t));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
}

TEST_HARNESS_MAIN
