// SPDX-License-Identifier: GPL-2.0
/*
 * Signals and breakpoints.
 *
 * A trap is itself a signal, and other signals may arrive at the same
 * instruction. An execute breakpoint then depends on RF: the kernel sets it at
 * the trap, so that the instruction executes once; a handler must start with RF
 * clear, or a breakpoint on its first instruction is missed; and the return
 * from it must restore RF, or the trap is reported twice (handle_signal() in
 * arch/x86/kernel/signal.c, FIX_EFLAGS in arch/x86/include/asm/sighandling.h).
 */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "harness.h"
#include "probes.h"

#define EFLAGS_RF	0x10000UL

#ifdef __x86_64__
#define GREG_IP		REG_RIP
#else
#define GREG_IP		REG_EIP
#endif

struct words {
	unsigned int word[DR_SLOTS];
	unsigned long sink;
	unsigned long handled;
	unsigned long last;
	int resume_flag;
	int trapped_code;
	void *trapped_at;
	int trapped;
};

/* Handlers without a body; the first instruction is the function's own */
DECLARE_PROBE(sig_handler);
DEFINE_PROBE(sig_handler, "", "nop", "nop");
DECLARE_PROBE(sig_other_handler);
DEFINE_PROBE(sig_other_handler, "", "nop", "nop");

/* An instruction that faults, and where its handler continues */
DECLARE_PROBE(sig_fault);
DEFINE_PROBE(sig_fault, "", "ud2", "nop\n\tnop");

/* For handlers, which get no argument; each tracee has its own copy */
static struct tracee *me;

static const void *handler_at(void (*fn)(void *, unsigned long))
{
	return (const void *)(unsigned long)fn;
}

static void handle(int sig, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };

	sigaction(sig, &action, NULL);
}

static void handle_info(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = {
		.sa_sigaction = handler, .sa_flags = SA_SIGINFO,
	};

	sigaction(sig, &action, NULL);
}

static void send_self(int sig)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
}

FIXTURE(signals) {
	struct tracee t;
	struct words *words;
};

FIXTURE_SETUP(signals)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.arg = self->words;
}

FIXTURE_TEARDOWN(signals)
{
	tracee_stop(&self->t);
}

static void run(struct __test_metadata *_metadata, struct tracee *t,
		void (*body)(struct tracee *t), enum tracee_how how)
{
	t->body = body;
	start_tracee(_metadata, t, how);
}

/* Resume with @sig, and expect a hit; @progress as usual */
static int expect_hit_after(struct tracee *t, int sig, unsigned int slots,
			    const void *ip, unsigned long progress)
{
	struct trap trap = { .ip = ip, .slots = slots, .progress = progress };
	struct stop s;

	if (tracee_resume(t, PTRACE_CONT, sig) || tracee_wait(t, &s))
		return -1;
	return tracee_check_trap(t, &s, &trap);
}

static int expect_sync_after(struct tracee *t, int sig, unsigned long progress)
{
	struct stop s;

	if (tracee_resume(t, PTRACE_CONT, sig) || tracee_wait(t, &s))
		return -1;
	return tracee_check_sync(t, &s, progress);
}

/*
 * Resume with @sig, and expect a stop by signal @want at @ip, or at any address
 */
static int expect_signal_after(struct tracee *t, int sig, int want,
			       const void *ip, unsigned long progress)
{
	struct stop s;

	if (tracee_resume(t, PTRACE_CONT, sig) || tracee_wait(t, &s))
		return -1;
	if (!WIFSTOPPED(s.status) || s.status >> 16 ||
	    WSTOPSIG(s.status) != want || (ip && s.ip != (unsigned long)ip) ||
	    s.progress != progress) {
		tracee_report(t, &s, "expected signal %d at %#lx, access %lu",
			      want, (unsigned long)ip, progress);
		return -1;
	}
	return 0;
}

static void call_and_store(struct tracee *t)
{
	struct words *words = t->arg;

	handle(SIGUSR1, (void (*)(int))(unsigned long)sig_handler);
	handle(SIGUSR2, (void (*)(int))(unsigned long)sig_other_handler);
	for (;;) {
		*t->progress = 1;
		probe_call_target(0, &words->sink, 1);
		*t->progress = 2;
		probe_store4(&words->word[0], 2);
		*t->progress = 3;
		tracee_sync();
	}
}

/* What the tracer does with a signal that arrives at a breakpoint */
static const struct {
	int deliver;
	void (*handler)(void *addr, unsigned long val);
} deliveries[] = {
	{ 0, NULL },
	{ SIGUSR1, sig_handler },
	{ SIGUSR2, sig_other_handler },
};

/*
 * A signal is pending when the tracee is continued from its trap: it stops for
 * the signal at the same ip, and whether the tracer suppresses, delivers or
 * replaces it, a breakpoint on the handler's first instruction traps, and the
 * interrupted instruction does not trap again.  Regression test for RF in
 * handlers and across sigreturn (both fixed in 2013).
 */
TEST_F(signals, pending_at_execute_breakpoint)
{
	const void *target = probe_target(0);
	struct tracee *t = &self->t;
	unsigned int i, j;

	run(_metadata, t, call_and_store, TRACEE_TRACEME);
	for (i = 0; i < DR_SLOTS; i++) {
		unsigned int h = (i + 1) % DR_SLOTS;

		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, target));
		for (j = 0; j < ARRAY_SIZE(deliveries); j++) {
			const void *handler = handler_at(deliveries[j].handler);

			if (handler)
				ASSERT_EQ(0, tracee_arm(t, h, BP_EXECUTE, 1,
							handler));
			ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, target, 1));
			ASSERT_EQ(0, syscall(SYS_tgkill, t->tid, t->tid,
					     SIGUSR1));
			ASSERT_EQ(0, expect_signal_after(t, 0, SIGUSR1, target,
							 1));
			if (handler) {
				ASSERT_EQ(0, expect_hit_after(t,
							      deliveries[j].deliver,
							      1U << h, handler,
							      1));
			}
			ASSERT_EQ(0, tracee_expect_sync(t, 3));
		}
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/* The SIGTRAP of the breakpoint itself is replaced by the tracer */
TEST_F(signals, replaces_sigtrap_of_breakpoint)
{
	const void *target = probe_target(0);
	struct tracee *t = &self->t;
	unsigned int i, j;

	run(_metadata, t, call_and_store, TRACEE_TRACEME);
	for (i = 0; i < DR_SLOTS; i++) {
		unsigned int h = (i + 1) % DR_SLOTS, w = (i + 2) % DR_SLOTS;

		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, target));
		ASSERT_EQ(0, tracee_arm(t, w, BP_WRITE, 4, self->words->word));
		for (j = 1; j < ARRAY_SIZE(deliveries); j++) {
			const void *handler = handler_at(deliveries[j].handler);
			int sig = deliveries[j].deliver;

			ASSERT_EQ(0, tracee_arm(t, h, BP_EXECUTE, 1, handler));
			ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, target, 1));
			ASSERT_EQ(0, expect_hit_after(t, sig, 1U << h, handler,
						      1));
			ASSERT_EQ(0, tracee_expect_hit(t, 1U << w,
						       probe_store4_next, 2));
			ASSERT_EQ(0, expect_hit_after(t, sig, 1U << h, handler,
						      2));
			ASSERT_EQ(0, tracee_expect_sync(t, 3));
		}
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/* At a watchpoint the store has been done, and is neither repeated nor lost */
TEST_F(signals, pending_at_watchpoint)
{
	struct tracee *t = &self->t;
	unsigned int i, j;

	run(_metadata, t, call_and_store, TRACEE_TRACEME);
	for (i = 0; i < DR_SLOTS; i++) {
		unsigned int h = (i + 1) % DR_SLOTS;

		ASSERT_EQ(0, tracee_arm(t, i, BP_WRITE, 4, self->words->word));
		for (j = 0; j < ARRAY_SIZE(deliveries); j++) {
			const void *handler = handler_at(deliveries[j].handler);

			if (handler)
				ASSERT_EQ(0, tracee_arm(t, h, BP_EXECUTE, 1,
							handler));
			ASSERT_EQ(0, tracee_expect_hit(t, 1U << i,
						       probe_store4_next, 2));
			ASSERT_EQ(0, syscall(SYS_tgkill, t->tid, t->tid,
					     SIGUSR1));
			ASSERT_EQ(0, expect_signal_after(t, 0, SIGUSR1,
							 probe_store4_next,
							 2));
			if (handler)
				ASSERT_EQ(0, expect_hit_after(t,
							      deliveries[j].deliver,
							      1U << h, handler,
							      2));
			ASSERT_EQ(0, tracee_expect_sync(t, 3));
		}
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

static void skip_fault(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	struct words *words = me->arg;

	(void)sig;
	(void)info;
	uc->uc_mcontext.gregs[GREG_IP] = (unsigned long)sig_fault_next;
	uc->uc_mcontext.gregs[REG_EFL] &= ~EFLAGS_RF;
	if (words->resume_flag)
		uc->uc_mcontext.gregs[REG_EFL] |= EFLAGS_RF;
}

static void fault(struct tracee *t)
{
	me = t;
	handle_info(SIGILL, skip_fault);
	for (;;) {
		*t->progress = 1;
		sig_fault(NULL, 0);
		*t->progress = 2;
		tracee_sync();
	}
}

/*
 * A handler that returns to an armed instruction: it traps unless the handler
 * has set RF in its frame, which sigreturn honours.
 */
TEST_F(signals, return_to_breakpoint)
{
	struct tracee *t = &self->t;
	unsigned int i;
	int rf;

	run(_metadata, t, fault, TRACEE_TRACEME);
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, sig_fault_next));
		for (rf = 0; rf < 2; rf++) {
			self->words->resume_flag = rf;
			ASSERT_EQ(0, expect_signal_after(t, 0, SIGILL,
							 sig_fault_at, 1));
			if (!rf)
				ASSERT_EQ(0, expect_hit_after(t, SIGILL,
							      1U << i,
							      sig_fault_next,
							      1));
			ASSERT_EQ(0, expect_sync_after(t, rf ? SIGILL : 0, 2));
		}
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/* Nested handlers, each with a breakpoint */
static void inner_handler(int sig)
{
	struct words *words = me->arg;

	(void)sig;
	probe_call_target(2, &words->sink, 3);
	probe_store4(&words->word[0], 4);
}

static void outer_handler(int sig)
{
	struct words *words = me->arg;

	(void)sig;
	probe_call_target(1, &words->sink, 1);
	probe_store4(&words->word[0], 2);
	send_self(SIGUSR2);
	probe_call_target(1, &words->sink, 5);
	probe_store4(&words->word[0], 6);
}

static void nest(struct tracee *t)
{
	struct words *words = t->arg;

	me = t;
	handle(SIGUSR1, outer_handler);
	handle(SIGUSR2, inner_handler);
	for (;;) {
		*t->progress = 1;
		probe_call_target(0, &words->sink, 0);
		probe_store4(&words->word[0], 0);
		send_self(SIGUSR1);
		probe_store4(&words->word[0], 7);
		*t->progress = 2;
		tracee_sync();
	}
}

TEST_F(signals, nested_handlers_trap)
{
	const void *word = self->words->word;
	struct tracee *t = &self->t;
	unsigned int round, i;

	run(_metadata, t, nest, TRACEE_TRACEME);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, probe_target(i))) {
			TH_LOG("number %u", i);
		}
	}
	ASSERT_EQ(0, tracee_arm(t, 3, BP_WRITE, 4, word));
	for (round = 0; round < 3; round++) {
		struct trap store = {
			.ip = probe_store4_next, .slots = 8, .progress = 1,
			.mem = word, .mem_size = 4,
		};

		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_target(0), 1));
		ASSERT_EQ(0, tracee_expect_trap(t, &store));
		ASSERT_EQ(0, expect_signal_after(t, 0, SIGUSR1, NULL, 1));
		ASSERT_EQ(0, expect_hit_after(t, SIGUSR1, 2, probe_target(1),
					      1));
		store.mem_value = 2;
		ASSERT_EQ(0, tracee_expect_trap(t, &store));
		ASSERT_EQ(0, expect_signal_after(t, 0, SIGUSR2, NULL, 1));
		ASSERT_EQ(0, expect_hit_after(t, SIGUSR2, 4, probe_target(2),
					      1));
		store.mem_value = 4;
		ASSERT_EQ(0, tracee_expect_trap(t, &store));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_target(1), 1));
		store.mem_value = 6;
		ASSERT_EQ(0, tracee_expect_trap(t, &store));
		store.mem_value = 7;
		ASSERT_EQ(0, tracee_expect_trap(t, &store));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* How the tracee treats SIGTRAP, in each iteration */
static void note_trap(int sig, siginfo_t *info, void *context)
{
	struct words *words = me->arg;

	(void)sig;
	(void)context;
	words->trapped_code = info->si_code;
	words->trapped_at = info->si_addr;
	words->trapped++;
}

static void block_trap(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTRAP);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void ignore_trap(void)
{
	handle(SIGTRAP, SIG_IGN);
}

static void handle_trap(void)
{
	handle_info(SIGTRAP, note_trap);
}

static void handle_and_block_trap(void)
{
	handle_trap();
	block_trap();
}

static void call_repeatedly(struct tracee *t, void (*prepare)(void))
{
	struct words *words = t->arg;

	me = t;
	for (;;) {
		*t->progress = 1;
		prepare();
		probe_call_target(0, &words->sink, 1);
		*t->progress = 2;
		prepare();
		probe_store4(&words->word[0], 2);
		*t->progress = 3;
		tracee_sync();
	}
}

static void call_with_sigtrap_blocked(struct tracee *t)
{
	call_repeatedly(t, block_trap);
}

static void call_with_sigtrap_ignored(struct tracee *t)
{
	call_repeatedly(t, ignore_trap);
}

static void call_with_sigtrap_handled(struct tracee *t)
{
	call_repeatedly(t, handle_trap);
}

static void call_with_sigtrap_handled_and_blocked(struct tracee *t)
{
	call_repeatedly(t, handle_and_block_trap);
}

FIXTURE(sigtrap) {
	struct tracee t;
	struct words *words;
};

FIXTURE_VARIANT(sigtrap) {
	void (*body)(struct tracee *t);
};

FIXTURE_VARIANT_ADD(sigtrap, blocked) {
	.body = call_with_sigtrap_blocked,
};

FIXTURE_VARIANT_ADD(sigtrap, ignored) {
	.body = call_with_sigtrap_ignored,
};

FIXTURE_VARIANT_ADD(sigtrap, handled) {
	.body = call_with_sigtrap_handled,
};

FIXTURE_VARIANT_ADD(sigtrap, handled_and_blocked) {
	.body = call_with_sigtrap_handled_and_blocked,
};

FIXTURE_SETUP(sigtrap)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = variant->body;
	self->t.arg = self->words;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(sigtrap)
{
	tracee_stop(&self->t);
}

/*
 * The tracer sees the trap however the tracee treats SIGTRAP: it is forced
 * (force_sig_fault() in send_sigtrap()).  If it is suppressed the tracee's
 * handling is unchanged.
 */
TEST_F(sigtrap, reported_to_tracer)
{
	struct tracee *t = &self->t;
	unsigned int i, w, round;

	for (i = 0; i < DR_SLOTS; i++) {
		w = (i + 1) % DR_SLOTS;
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, probe_target(0)));
		ASSERT_EQ(0, tracee_arm(t, w, BP_WRITE, 4, self->words->word));
		for (round = 0; round < 3; round++) {
			ASSERT_EQ(0, tracee_expect_hit(t, 1U << i,
						       probe_target(0), 1));
			ASSERT_EQ(0, tracee_expect_hit(t, 1U << w,
						       probe_store4_next, 2));
			ASSERT_EQ(0, tracee_expect_sync(t, 3));
		}
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
	ASSERT_EQ(0, self->words->trapped);
}

/*
 * Delivered to a handler: once, with si_code and address, and the trap is over
 */
TEST_F(signals, sigtrap_delivered)
{
	struct words *words = self->words;
	struct tracee *t = &self->t;
	int round;

	run(_metadata, t, call_with_sigtrap_handled, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_EXECUTE, 1, probe_target(0)));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_WRITE, 4, words->word));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_target(0), 1));
		ASSERT_EQ(0, expect_hit_after(t, SIGTRAP, 2, probe_store4_next,
					      2));
		ASSERT_EQ(2 * round + 1, words->trapped);
		ASSERT_EQ(TRAP_HWBKPT, words->trapped_code);
		ASSERT_EQ((void *)probe_target(0), words->trapped_at);
		ASSERT_EQ(0, expect_sync_after(t, SIGTRAP, 3));
		ASSERT_EQ(2 * round + 2, words->trapped);
		ASSERT_EQ(TRAP_HWBKPT, words->trapped_code);
		ASSERT_EQ((void *)probe_store4_next, words->trapped_at);
	}
}

/* Registers and slots across a group-stop and the SIGCONT that ends it */
static int expect_group_stop(struct tracee *t, int event)
{
	struct stop s;

	if (tracee_resume(t, PTRACE_CONT, SIGSTOP) || tracee_wait(t, &s))
		return -1;
	if (!WIFSTOPPED(s.status) || WSTOPSIG(s.status) != SIGSTOP ||
	    s.status >> 16 != event) {
		tracee_report(t, &s, "expected a group-stop");
		return -1;
	}
	return 0;
}

/*
 * To the next stop that is neither that of SIGCONT nor of the end of the
 * group-stop; at most one of each arrives
 */
static int wait_after_group_stop(struct tracee *t, struct stop *s)
{
	unsigned int n;

	for (n = 0; n < 3; n++) {
		bool event, cont;

		if (tracee_wait(t, s))
			return -1;
		event = s->status >> 16 == PTRACE_EVENT_STOP &&
			WSTOPSIG(s->status) == SIGTRAP;
		cont = !(s->status >> 16) && WIFSTOPPED(s->status) &&
		       WSTOPSIG(s->status) == SIGCONT;
		if (!event && !cont)
			return 0;
		if (tracee_resume(t, PTRACE_CONT, cont ? SIGCONT : 0))
			return -1;
	}
	tracee_report(t, s, "the group-stop does not end");
	return -1;
}

TEST_F(signals, group_stop_of_seized_tracee)
{
	struct trap trap = { .ip = probe_target(0), .progress = 1 };
	struct tracee *t = &self->t;
	unsigned long dr7, val;
	unsigned int i, w;
	struct stop s;

	run(_metadata, t, call_and_store, TRACEE_SEIZE);
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	for (i = 0; i < DR_SLOTS; i++) {
		w = (i + 1) % DR_SLOTS;
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, probe_target(0)));
		ASSERT_EQ(0, tracee_peek(t, 7, &dr7));
		ASSERT_EQ(0, expect_group_stop(t, PTRACE_EVENT_STOP));
		ASSERT_EQ(0, tracee_peek(t, 7, &val));
		ASSERT_EQ(dr7, val);
		/* Another slot, armed while the tracee is in the group-stop */
		ASSERT_EQ(0, tracee_arm(t, w, BP_WRITE, 4, self->words->word));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_LISTEN, 0));
		ASSERT_EQ(-ESRCH, tracee_peek(t, 7, &val));
		ASSERT_EQ(0, kill(t->tid, SIGCONT));
		ASSERT_EQ(0, wait_after_group_stop(t, &s));
		trap.slots = 1U << i;
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << w, probe_store4_next,
					       2));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

TEST_F(signals, group_stop_of_attached_tracee)
{
	struct tracee *t = &self->t;
	struct trap trap = { .ip = probe_target(0), .progress = 1 };
	unsigned long dr7, val;
	unsigned int i, w;
	struct stop s;

	run(_metadata, t, call_and_store, TRACEE_ATTACH);
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	for (i = 0; i < DR_SLOTS; i++) {
		w = (i + 1) % DR_SLOTS;
		ASSERT_EQ(0, tracee_arm(t, i, BP_EXECUTE, 1, probe_target(0)));
		ASSERT_EQ(0, tracee_peek(t, 7, &dr7));
		ASSERT_EQ(0, expect_group_stop(t, 0));
		ASSERT_EQ(0, tracee_peek(t, 7, &val));
		ASSERT_EQ(dr7, val);
		ASSERT_EQ(0, tracee_arm(t, w, BP_WRITE, 4, self->words->word));
		/* Continued in spite of the group-stop, and then by SIGCONT */
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << i, probe_target(0), 1));
		ASSERT_EQ(0, kill(t->tid, SIGCONT));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, wait_after_group_stop(t, &s));
		trap = (struct trap){
			.ip = probe_store4_next, .slots = 1U << w,
			.progress = 2,
		};
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_expect_sync(t, 3));
		ASSERT_EQ(0, tracee_disarm_all(t));
	}
}

/*
 * A timer of up to 100 us, while the tracee hits breakpoints as fast as it can.
 * It is set again once its signal was seen: an interval timer could, on a slow
 * machine, leave no time for anything else.  The test ends after a number of
 * accesses and signals, however long either takes.
 */
#define TIMER_NS	100000
#define TIMER_ACCESSES	200UL
#define TIMER_SIGNALS	50UL

static void timer_handler(int sig)
{
	struct words *words = me->arg;

	(void)sig;
	words->handled++;
	probe_call_target(1, &words->sink, 0);
}

static void other_timer_handler(int sig)
{
	struct words *words = me->arg;

	(void)sig;
	words->handled++;
	probe_call_target(2, &words->sink, 0);
}

static void store_under_timer(struct tracee *t)
{
	struct itimerspec tick = { .it_value.tv_nsec = TIMER_NS };
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1,
	};
	struct words *words = t->arg;
	struct sigaction action = { .sa_handler = timer_handler };
	unsigned long i, signals = 0, armed = -1UL;
	timer_t timer;

	me = t;
	/* Neither signal interrupts the handler of the other */
	sigaddset(&action.sa_mask, SIGUSR1);
	sigaddset(&action.sa_mask, SIGUSR2);
	sigaction(SIGUSR1, &action, NULL);
	action.sa_handler = other_timer_handler;
	sigaction(SIGUSR2, &action, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer))
		_exit(1);
	for (i = 1; ; i++) {
		/* Another delay each time, so that it expires everywhere */
		tick.it_value.tv_nsec = 1 + i * 7919 % TIMER_NS;
		if (armed != signals && timer_settime(timer, 0, &tick, NULL))
			_exit(1);
		armed = signals;
		*t->progress = i;
		probe_call_target(0, &words->sink, i);
		probe_store4(&words->word[0], i);
		/*
		 * Set by the tracer when it has seen the signal, delivered or
		 * not
		 */
		signals = __atomic_load_n(&words->last, __ATOMIC_RELAXED);
		if (i >= TIMER_ACCESSES && signals >= TIMER_SIGNALS)
			break;
	}
	timer_delete(timer);
	tracee_sync();
}

FIXTURE(timer_signals) {
	struct tracee t;
	struct words *words;
};

FIXTURE_VARIANT(timer_signals) {
	int deliver;
};

FIXTURE_VARIANT_ADD(timer_signals, delivered) {
	.deliver = SIGUSR1,
};

FIXTURE_VARIANT_ADD(timer_signals, suppressed) {
	.deliver = 0,
};

FIXTURE_VARIANT_ADD(timer_signals, replaced) {
	.deliver = SIGUSR2,
};

FIXTURE_SETUP(timer_signals)
{
	self->words = shared_alloc(sizeof(*self->words));
	self->t.body = store_under_timer;
	self->t.arg = self->words;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(timer_signals)
{
	tracee_stop(&self->t);
}

/*
 * No trap is lost or doubled.  A signal that is delivered causes the hit in its
 * handler before anything else, as signals are blocked there.
 */
TEST_F(timer_signals, no_trap_lost_or_doubled)
{
	unsigned int x = 0, w = 3, h = 1, place;
	unsigned long i = 1, seen = 0, delivered = 0;
	bool stored = true, handling = false;
	struct tracee *t = &self->t;
	struct trap trap;
	struct stop s;
	int sig = 0;

	place = variant->deliver == SIGUSR2 ? 2 : 1;
	ASSERT_EQ(0, tracee_arm(t, x, BP_EXECUTE, 1, probe_target(0)));
	ASSERT_EQ(0, tracee_arm(t, w, BP_WRITE, 4, self->words->word));
	ASSERT_EQ(0, tracee_arm(t, h, BP_EXECUTE, 1, probe_target(place)));
	skip_if_dead(_metadata, BY_PTRACE, NEEDS_EXECUTE | NEEDS_WRITE);

	for (;;) {
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, sig));
		ASSERT_EQ(0, tracee_wait(t, &s));
		sig = 0;
		if (!handling && WIFSTOPPED(s.status) && !(s.status >> 16) &&
		    WSTOPSIG(s.status) == SIGUSR1) {
			seen++;
			__atomic_store_n(&self->words->last, seen,
					 __ATOMIC_RELAXED);
			sig = variant->deliver;
			handling = sig;
			delivered += handling;
			continue;
		}
		if (handling) {
			trap = (struct trap){
				.ip = probe_target(place), .slots = 1U << h,
				.progress = s.progress,
			};
			handling = false;
		} else if (WIFSTOPPED(s.status) &&
			   WSTOPSIG(s.status) == SIGSTOP) {
			break;
		} else if (stored) {
			trap = (struct trap){
				.ip = probe_target(0), .slots = 1U << x,
				.progress = i,
				.mem = self->words->word, .mem_size = 4,
				.mem_value = i - 1,
			};
			stored = false;
		} else {
			trap = (struct trap){
				.ip = probe_store4_next, .slots = 1U << w,
				.progress = i,
				.mem = self->words->word, .mem_size = 4,
				.mem_value = i,
			};
			i++;
			stored = true;
		}
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
	}
	ASSERT_EQ(0, tracee_check_sync(t, &s, i - 1));
	ASSERT_TRUE(stored);
	ASSERT_LE(TIMER_ACCESSES, i - 1);
	ASSERT_LE(TIMER_SIGNALS, seen);
	ASSERT_EQ(delivered, self->words->handled);
}

TEST_HARNESS_MAIN
