// SPDX-License-Identifier: GPL-2.0
/*
 * System calls beside breakpoints: what comes together with an access of the
 * kernel to watched memory.
 *
 * That the single calls owe no trap is in kernel_access_test.  Here the
 * kernel's #DB (exc_debug_kernel() in arch/x86/kernel/traps.c) meets a large
 * copy, a page fault, a switch of tasks, a stop of the tracer at the call, an
 * execute breakpoint or a single-step on it, and kernel text being patched.
 */
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "probes.h"

#define ROUNDS		16
#define LARGE		16384	/* bytes: fits into a pipe */
#define PATCHES		20	/* of kernel text, at the least */
#define TRAPS		300	/* while text is patched, at the least */

/*
 * write(val, addr, 4), with the system call itself between the labels: syscall,
 * or int 0x80, either of which leaves TF to the kernel.
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
 * struct calls - what tracer and tracees share
 * @data: watched in four places
 * @source: copied from and to, not watched
 * @word: watched
 * @page: fresh in each round; each process has its own
 * @fd: pipe
 * @back: pipe the other way
 * @err: errno of what went wrong in the tracee
 * @stop: the tracee, or who patches text, has to end
 * @patches: how often text has been patched
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

FIXTURE(calls) {
	struct tracee t, other;
	struct calls *c;
};

FIXTURE_SETUP(calls)
{
	self->c = shared_alloc(sizeof(*self->c));
	ASSERT_EQ(0, pipe2(self->c->fd, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(self->c->back, O_CLOEXEC));
	self->t.arg = self->c;
	self->other.arg = self->c;
	self->other.id = 1;
}

FIXTURE_TEARDOWN(calls)
{
	tracee_stop(&self->t);
	tracee_stop(&self->other);
}

/* Continue to a tracee_sync(); what the kernel hit on the way left no trace */
static int quiet_sync(struct tracee *t, unsigned long progress)
{
	unsigned long dr6;
	int err = tracee_poke(t, 6, DR6_NONE);

	if (!err)
		err = tracee_expect_sync(t, progress);
	if (!err)
		err = tracee_peek(t, 6, &dr6);
	if (err || dr6 == DR6_NONE)
		return err;
	tracee_report(t, NULL, "DR6 %#lx tells of what the kernel did", dr6);
	return 1;
}

/*
 * One copy over four watched words: whatever the copy routine does, rep movsb
 * among it, it is interrupted by several #DB.
 */
static const unsigned int large_at[DR_SLOTS] = { 1, 1024, 2049, 4095 };

static void copies(struct tracee *t)
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

TEST_F(calls, large_copy_over_all_slots)
{
	struct tracee *t = &self->t;
	struct calls *c = self->c;
	unsigned int n, round;

	t->body = copies;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	for (n = 0; n < DR_SLOTS; n++) {
		ASSERT_EQ(0, tracee_arm(t, n, BP_RW, 4, &c->data[large_at[n]])) {
			TH_LOG("slot %u", n);
		}
	}
	for (round = 0; round < ROUNDS; round++) {
		ASSERT_EQ(0, quiet_sync(t, 1));
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
 * The kernel is the first to touch the page: its access faults, is repeated
 * and only then hits.
 */
static void kernel_touches_first(struct tracee *t)
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

TEST_F(calls, first_touch_of_a_page)
{
	struct tracee *t = &self->t;
	struct calls *c = self->c;
	unsigned int round;

	c->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, c->page);
	t->body = kernel_touches_first;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 2, BP_RW, 4, c->page + 16));
	for (round = 0; round < ROUNDS; round++) {
		ASSERT_EQ(0, quiet_sync(t, 1));
		ASSERT_EQ(0, c->err);
		ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_load4_next, 2));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 3));
	}
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/* A write() of the watched word, a store to it, over and over */
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

static bool start_writes(struct __test_metadata *_metadata, struct tracee *t)
{
	struct calls *c = t->arg;

	t->body = writes_and_stores;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return false;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, c->word));
	return true;
}

/* The kernel did come to the word: each write() has put it into the pipe */
static void check_written(struct __test_metadata *_metadata, struct calls *c)
{
	unsigned int n, val;

	for (n = 0; n < ROUNDS; n++) {
		ASSERT_EQ(4, read(c->fd[0], &val, 4));
		ASSERT_EQ(n ? 2 * n - 1 : 0, val);
	}
}

/* Execute breakpoints on the system call, or right behind it, or both */
static void execute_around(struct __test_metadata *_metadata, struct tracee *t,
			   bool on, bool behind)
{
	struct calls *c = t->arg;
	unsigned int n;

	if (!start_writes(_metadata, t))
		return;
	if (on)
		ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, probe_write4_at));
	if (behind)
		ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1,
					probe_write4_next));
	for (n = 0; n < ROUNDS; n++) {
		if (on)
			ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_write4_at,
						       1 + 2 * n));
		if (behind)
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

TEST_F(calls, execute_breakpoint_on_the_call)
{
	execute_around(_metadata, &self->t, true, false);
}

TEST_F(calls, execute_breakpoint_behind_the_call)
{
	execute_around(_metadata, &self->t, false, true);
}

/*
 * RF, with which the call is run after the first, is clear behind it: INT n is
 * complete when it has come to the kernel, and saves flags without RF (SDM,
 * "Instruction-Breakpoint Exception Condition").
 */
TEST_F(calls, execute_breakpoints_on_and_behind_the_call)
{
	execute_around(_metadata, &self->t, true, true);
}

/* The tracer stops it at entry and exit, and sees nothing in DR6 */
TEST_F(calls, syscall_stops)
{
	struct tracee *t = &self->t;
	unsigned int n, stop;
	struct stop s;

	if (!start_writes(_metadata, t))
		return;
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t->tid, NULL,
			    PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
	for (n = 0; n < ROUNDS; n++) {
		/* The first stop of all is in a system call of tracee_sync() */
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
 * A single-step over the call ends right behind it (6342adcaa683), and with it
 * come no bits of what the kernel hit on the way.  How DR6 and si_code tell of
 * such a step is in steps_test.
 */
TEST_F(calls, single_step_over_the_call)
{
	struct tracee *t = &self->t;
	unsigned int n;
	struct stop s;

	if (!start_writes(_metadata, t))
		return;
	ASSERT_EQ(0, tracee_arm(t, 1, BP_EXECUTE, 1, probe_write4_at));
	for (n = 0; n < ROUNDS; n++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_write4_at,
					       1 + 2 * n));
		ASSERT_EQ(0, tracee_poke(t, 6, DR6_NONE));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(SIGTRAP, s.status >> 8);
		ASSERT_EQ((unsigned long)probe_write4_next, s.ip) {
			tracee_report(t, &s, "end of the step expected behind the call");
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
 * Two armed tracees hand a word to each other: each access of the kernel is
 * next to a switch between them, in the middle of a system call.
 */
#define TURNS	100

static void play(struct tracee *t, unsigned int *word, int from, int to)
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

	play(t, &c->word[0], c->back[0], c->fd[1]);
}

static void pong(struct tracee *t)
{
	struct calls *c = t->arg;

	play(t, &c->word[1], c->fd[0], c->back[1]);
}

/* @t was let go by the other's write(): its trap, and it goes on */
static int take_turn(struct tracee *t, unsigned int slot, unsigned int n)
{
	struct stop s;
	int err = tracee_wait(t, &s);

	if (!err)
		err = tracee_check_trap(t, &s, &(struct trap){
			.ip = probe_load4_next, .slots = 1U << slot,
			.progress = 2 * n });
	return err ? err : tracee_cont(t);
}

static int comes_to_its_end(struct tracee *t)
{
	struct stop s;
	int err = tracee_wait(t, &s);

	if (!err)
		err = tracee_check_sync(t, &s, 0);
	return err ? err : tracee_expect_exit(t);
}

static void ping_pong(struct __test_metadata *_metadata, struct tracee *a,
		      struct tracee *b, struct calls *c)
{
	unsigned int n, token = 1;

	a->body = ping;
	b->body = pong;
	if (!start(_metadata, a, TRACEE_TRACEME) ||
	    !start(_metadata, b, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(a, 0, BP_RW, 4, &c->word[0]));
	ASSERT_EQ(0, tracee_arm(b, 3, BP_RW, 4, &c->word[1]));
	/* And what the other one watches, which it does not touch */
	ASSERT_EQ(0, tracee_arm(a, 3, BP_RW, 4, &c->word[1]));
	ASSERT_EQ(4, write(c->back[1], &token, 4));
	ASSERT_EQ(0, tracee_cont(a));
	ASSERT_EQ(0, tracee_cont(b));
	for (n = 1; n <= TURNS; n++) {
		ASSERT_EQ(0, take_turn(a, 0, n));
		ASSERT_EQ(0, take_turn(b, 3, n));
	}
	ASSERT_EQ(0, comes_to_its_end(a));
	ASSERT_EQ(0, comes_to_its_end(b));
	ASSERT_EQ(0, c->err);
	ASSERT_EQ(1, c->word[0]);
	ASSERT_EQ(1, c->word[1]);
}

TEST_F(calls, switch_in_the_middle)
{
	ping_pong(_metadata, &self->t, &self->other, self->c);
}

TEST_F(calls, switch_in_the_middle_on_one_cpu)
{
	int cpu;

	ASSERT_EQ(1, allowed_cpus(&cpu, 1));
	ASSERT_EQ(0, pin_to_cpu(0, cpu));
	ping_pong(_metadata, &self->t, &self->other, self->c);
}

/*
 * Kernel text is patched by somebody else all the time: the opening of the
 * first software event of its kind turns a static key on, its close turns it
 * off (perf_swevent_init() and sw_perf_event_destroy() in
 * kernel/events/core.c).  Every CPU takes part in that, wherever it is.  By the
 * thread itself: kernel_access_test.
 *
 * Regression test for 9020d3956317.
 */
static void patch_text(struct calls *c)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_PAGE_FAULTS,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	int fd;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
		if (fd < 0)
			_exit(errno == ENOENT ? ENOSYS : errno);
		close(fd);
		__atomic_add_fetch(&c->patches, 1, __ATOMIC_RELEASE);
	}
	_exit(0);
}

TEST_F(calls, text_patched_by_others)
{
	struct tracee *t = &self->t;
	struct calls *c = self->c;
	unsigned long n;
	int status = 0;
	pid_t pid;

	if (!start_writes(_metadata, t))
		return;
	/* Nobody reads the pipe: it would be full soon */
	ASSERT_EQ(0, fcntl(c->fd[1], F_SETFL, O_NONBLOCK));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		patch_text(c);
	/* Every single store, before, while and after it is patched */
	for (n = 0; n < TRAPS ||
	     __atomic_load_n(&c->patches, __ATOMIC_ACQUIRE) < PATCHES; n++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next,
					       2 + 2 * n));
		if (waitpid(pid, &status, WNOHANG) == pid)
			break;
	}
	if (!may_go_on(_metadata, -WEXITSTATUS(status), "perf_event_open"))
		return;
	__atomic_store_n(&c->stop, 1, __ATOMIC_RELEASE);
	ASSERT_EQ(0, tracee_expect_exit(t));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
}

TEST_HARNESS_MAIN
