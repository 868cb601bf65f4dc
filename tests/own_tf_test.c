// SPDX-License-Identifier: GPL-2.0
/*
 * A program that sets TF itself, with and without a handler, with and without a
 * tracer that passes its SIGTRAP on.
 *
 * The handler runs with TF clear, and its frame has TF, unless the instruction was
 * the one that clears it (setup_rt_frame() and handle_signal() in
 * arch/x86/kernel/signal.c).
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "environment.h"
#include "harness.h"
#include "perf_event.h"
#include "step.h"

#define SET_TF		"pushf\n\torl $0x100, (" PROBE_SP ")\n\tpopf"
#define CLEAR_TF	"pushf\n\tandl $~0x100, (" PROBE_SP ")\n\tpopf\n\tnop"

/*
 * TF set and cleared by the program itself.  The first trap is after the
 * instruction that follows popf, the last one after the popf that clears TF.
 */
DECLARE_PROBE(step_own);
DEFINE_PROBE(step_own, SET_TF, "nop",
	     "nop\n\tmovl %eax, (" PROBE_PTR ")\n\tnop\n\t" CLEAR_TF);

/* The ip of each trap, in bytes from step_own_at; a store precedes 4 */
static const unsigned int own_trap[] = { 1, 2, 4, 5, 6, 13, 14 };

#define TRAPS		ARRAY_SIZE(own_trap)

/**
 * struct run - shared by the test and the program
 * @word: the store in step_own() writes here
 * @n: how many times the handler has run
 * @ip: the ip in its frame, each time
 * @tf: whether TF was set there
 * @code: si_code
 * @clear: the handler clears TF in its frame
 */
struct run {
	unsigned int word[DR_SLOTS];
	unsigned int n;
	unsigned long ip[TRAPS + 1];
	bool tf[TRAPS + 1];
	int code[TRAPS + 1];
	bool clear;
};

static struct run *running;

static void on_trap(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	unsigned int n = running->n < TRAPS ? running->n : TRAPS;

	(void)sig;
	running->n++;
	running->ip[n] = regs[UC_IP];
	running->tf[n] = regs[REG_EFL] & TF;
	running->code[n] = info->si_code;
	if (running->clear)
		regs[REG_EFL] &= ~TF;
}

static int handle_traps(struct run *run)
{
	struct sigaction action = {
		.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO,
	};

	running = run;
	return sigaction(SIGTRAP, &action, NULL);
}

static void run_with_handler(struct run *run)
{
	handle_traps(run);
	step_own(run->word, 1);
}

static void check_runs(struct __test_metadata *_metadata, struct run *run,
		       unsigned int traps)
{
	unsigned int n;

	ASSERT_EQ(traps, run->n);
	for (n = 0; n < traps; n++) {
		ASSERT_EQ((unsigned long)step_own_at + own_trap[n], run->ip[n]) {
			TH_LOG("run %u of the handler", n);
		}
		ASSERT_EQ(n != TRAPS - 1, run->tf[n]);
		ASSERT_EQ(TRAP_TRACE, run->code[n]);
	}
}

static void own_steps(struct tracee *t)
{
	struct run *run = t->arg;

	for (;;) {
		*t->progress = 1;
		step_own(run->word, 1);
		*t->progress = 2;
		step_store(run->word, 2);
		*t->progress = 3;
		tracee_sync();
	}
}

FIXTURE(own_tf) {
	struct tracee t;
	struct run *run;
};

FIXTURE_SETUP(own_tf)
{
	self->run = shared_alloc(sizeof(*self->run));
}

FIXTURE_TEARDOWN(own_tf)
{
	tracee_stop(&self->t);
}

static void start(struct __test_metadata *_metadata, struct tracee *t,
		  struct run *run, void (*body)(struct tracee *t))
{
	t->arg = run;
	t->body = body;
	start_tracee(_metadata, t, TRACEE_TRACEME);
}

/* A trap of the program's own TF, while the tracer just continues it */
static int expect_own(struct tracee *t, unsigned int n, unsigned int slots)
{
	struct trap trap = {
		.ip = step_own_at + own_trap[n], .slots = slots, .step = true,
		.progress = 1,
	};

	return tracee_expect_trap(t, &trap);
}

/* Execute breakpoints that are hit between the program's own steps */
TEST_F(own_tf, execute_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int n, round;

	start(_metadata, t, self->run, own_steps);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, step_own_at + 2));
	ASSERT_EQ(0, tracee_arm(t, 3, BP_EXECUTE, 1, step_own_at));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 8, step_own_at, 1));
		for (n = 0; n < ARRAY_SIZE(own_trap); n++) {
			ASSERT_EQ(0, expect_own(t, n, 0));
			if (own_trap[n] == 2)
				ASSERT_EQ(0, tracee_expect_hit(t, 1,
							       step_own_at + 2,
							       1));
		}
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
	}
}

/* A watchpoint hit by an instruction that the program's own TF reports */
TEST_F(own_tf, watchpoint)
{
	struct tracee *t = &self->t;
	unsigned int n, i;

	if (environment_hangs_on_step_and_hit())
		SKIP(return, SKIP_TCG_HANGS);
	start(_metadata, t, self->run, own_steps);
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_WRITE, 4, self->run->word));
		for (n = 0; n < ARRAY_SIZE(own_trap); n++) {
			ASSERT_EQ(0, expect_own(t, n, own_trap[n] == 4 ?
						1U << i : 0));
		}
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, STORE_NEXT, 2));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

static void untraced(struct __test_metadata *_metadata, struct run *run)
{
	int status = -1;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		run_with_handler(run);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
}

TEST_F(own_tf, handler)
{
	untraced(_metadata, self->run);
	check_runs(_metadata, self->run, TRAPS);
}

TEST_F(own_tf, handler_that_clears_tf)
{
	self->run->clear = true;
	untraced(_metadata, self->run);
	check_runs(_metadata, self->run, 1);
}

static void traced(struct tracee *t)
{
	*t->progress = 1;
	run_with_handler(t->arg);
	*t->progress = 2;
	tracee_sync();
}

/* The tracer sees each trap, and passes the signal on to the handler */
static void pass_on(struct __test_metadata *_metadata, struct tracee *t,
		    unsigned int store_slots, unsigned int execute_slots)
{
	const char *at = step_own_at;
	unsigned int n;
	struct stop s;

	ASSERT_EQ(0, tracee_cont(t));
	for (n = 0; n < TRAPS; n++) {
		struct trap trap = {
			.ip = at + own_trap[n], .step = true, .progress = 1,
			.slots = own_trap[n] == 4 ? store_slots : 0,
		};

		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, SIGTRAP));
		if (own_trap[n] != 2 || !execute_slots)
			continue;
		/* When the handler has returned */
		ASSERT_EQ(0, tracee_wait(t, &s));
		trap.step = false;
		trap.slots = execute_slots;
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_cont(t));
	}
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_EQ(0, tracee_check_sync(t, &s, 2));
}

TEST_F(own_tf, passed_on_by_tracer)
{
	start(_metadata, &self->t, self->run, traced);
	pass_on(_metadata, &self->t, 0, 0);
	check_runs(_metadata, self->run, TRAPS);
}

TEST_F(own_tf, passed_on_beside_execute_breakpoint)
{
	start(_metadata, &self->t, self->run, traced);
	ASSERT_EQ(0, tracee_arm(&self->t, 2, BP_EXECUTE, 1, step_own_at + 2));
	pass_on(_metadata, &self->t, 0, 4);
	check_runs(_metadata, self->run, TRAPS);
}

TEST_F(own_tf, passed_on_beside_watchpoint)
{
	if (environment_hangs_on_step_and_hit())
		SKIP(return, SKIP_TCG_HANGS);
	start(_metadata, &self->t, self->run, traced);
	ASSERT_EQ(0, tracee_arm(&self->t, 1, BP_WRITE, 4, self->run->word));
	pass_on(_metadata, &self->t, 2, 0);
	check_runs(_metadata, self->run, TRAPS);
}

/* A store, and steps that make no access; a trap after each, and after the last popf */
DECLARE_PROBE(store_then_own);
DEFINE_PROBE(store_then_own, "", "movl %eax, (" PROBE_PTR ")",
	     SET_TF "\n\tnop\n\tnop\n\t" CLEAR_TF);
#define STEPS_AFTER	5

/* DR6 still has the slot then, unless it was cleared: the hit is not counted again */
TEST_F(own_tf, hit_before_steps_counted_once)
{
	unsigned int *word = shared_alloc(sizeof(*word));
	struct perf_event_attr attr = perf_attr(HW_BREAKPOINT_W, word, 4);
	int fd = perf_open(_metadata, &attr, 0, -1);
	unsigned int n;

	ASSERT_EQ(0, handle_traps(self->run));
	for (n = 1; n <= 4; n++) {
		store_then_own(word, n);
		ASSERT_EQ(n * STEPS_AFTER, self->run->n);
		ASSERT_EQ(n, perf_count(fd));
	}
}

TEST_HARNESS_MAIN
