// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints as perf events that send SIGTRAP to the task that hits them
 * (perf_event_attr.sigtrap, since 5.13).
 *
 * The #DB handler cannot send a signal, so the signal is sent by task work on
 * the return to user mode.  That was wrong in five ways (97ba62b27867, fixed by
 * the commits named below): signals were lost, had no address, killed tasks
 * that had SIGTRAP blocked, or hung a task that closed the event meanwhile.  So
 * after every hit it is checked whether its signal has been handled, and with
 * which siginfo.
 *
 * No thread sleeps or is stopped: throttling is undone at each schedule-in, so
 * it is visible only without any.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "perf_sigtrap.h"

static void block(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTRAP);
	pthread_sigmask(how, &set, NULL);
}

static bool is_pending(void)
{
	sigset_t set;

	sigpending(&set);
	return sigismember(&set, SIGTRAP);
}

/* When executed again, the program stores to the watched address */
static void __attribute__((constructor(101))) image_main(void)
{
	if (!perf_is_image())
		return;
	if (!perf_map_image_page())
		_exit(2);
	store4(PERF_IMAGE_PAGE, 5);
	_exit(0);
}

/* One signal for each hit, at once, with the right reason and address */
FIXTURE(perf_sigtrap) {
	struct perf_event_attr attr;
};

FIXTURE_VARIANT(perf_sigtrap) {
	unsigned int type;
};

FIXTURE_VARIANT_ADD(perf_sigtrap, write) {
	.type = HW_BREAKPOINT_W,
};

FIXTURE_VARIANT_ADD(perf_sigtrap, rw) {
	.type = HW_BREAKPOINT_RW,
};

FIXTURE_VARIANT_ADD(perf_sigtrap, execute) {
	.type = HW_BREAKPOINT_X,
};

FIXTURE_SETUP(perf_sigtrap)
{
	skip_if_perf_refused(_metadata);
	if (variant->type == HW_BREAKPOINT_X)
		self->attr = expect_sigtrap(_metadata, variant->type, (void *)probe_store4_at,
					    PERF_EXECUTE_LEN, probe_store4_at);
	else
		self->attr = expect_sigtrap(_metadata, variant->type, MIDDLE, 4,
					    probe_store4_next);
}

FIXTURE_TEARDOWN(perf_sigtrap)
{
}

/*
 * si_addr is the watched address (regression test for af169b7759a9: it was 0),
 * si_perf_data the event's sig_data, ip that of the trap; and an execute
 * breakpoint does not trap again when the handler returns to it (RF through
 * sigreturn).
 */
TEST_F(perf_sigtrap, each_hit)
{
	unsigned int i;
	int fd;

	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	for (i = 1; i <= 500; i++) {
		probe_store4(MIDDLE, i);
		ASSERT_EQ(i, signals());
		ASSERT_EQ(0, wrong());
		ASSERT_EQ(i, perf_count(fd));
		probe_store1(MIDDLE - 1, 0);
		probe_store8(MIDDLE + 8, 0);
		ASSERT_EQ(i, signals());
	}
}

/* One signal for each 3 hits, with that period */
TEST_F(perf_sigtrap, period)
{
	unsigned int i;
	int fd;

	self->attr.sample_period = 3;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	for (i = 1; i <= 100; i++) {
		probe_store4(MIDDLE, i);
		ASSERT_EQ(i / 3, signals());
	}
	ASSERT_EQ(0, wrong());
}

/*
 * A blocked signal must stay pending, and must not kill like a forced one; it
 * has TRAP_PERF_FLAG_ASYNC set, and there is only one (it is not a real-time
 * signal). Regression test for 78ed93d72ded.
 */
TEST_F(perf_sigtrap, blocked)
{
	unsigned long ip = trap.ip;
	unsigned int i;
	int fd;

	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	for (i = 0; i < 20; i++) {
		block(SIG_BLOCK);
		ASSERT_FALSE(is_pending());
		store4(MIDDLE, 3);
		ASSERT_EQ(2 * i, signals());
		ASSERT_TRUE(is_pending());
		trap.flags = TRAP_PERF_FLAG_ASYNC;
		trap.ip = 0;
		block(SIG_UNBLOCK);
		ASSERT_EQ(2 * i + 1, signals());
		ASSERT_EQ(0, wrong());
		ASSERT_EQ(4 * i + 3, perf_count(fd));

		/* And is delivered once it is unblocked */
		trap.flags = 0;
		trap.ip = ip;
		store4(MIDDLE, 1);
		ASSERT_EQ(2 * i + 2, signals());
		ASSERT_EQ(0, wrong());
	}
}

/* Ignored, only the count remains */
TEST_F(perf_sigtrap, ignored)
{
	int fd;

	signal(SIGTRAP, SIG_IGN);
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	store4(MIDDLE, 50);
	ASSERT_EQ(50, perf_count(fd));
	ASSERT_EQ(0, handle(0));
	store4(MIDDLE, 1);
	ASSERT_EQ(1, signals());
	ASSERT_EQ(0, wrong());
}

/* Neither handled nor ignored, it kills */
TEST_F(perf_sigtrap, default_action_kills)
{
	int status, fd;
	pid_t pid;

	skip_if_dead(_metadata, BY_PERF, perf_type_of(&self->attr));
	pid = fork();
	if (!pid) {
		signal(SIGTRAP, SIG_DFL);
		fd = perf_try(&self->attr, 0, -1);
		if (fd < 0)
			_exit(1);
		store4(MIDDLE, 1);
		_exit(2);
	}
	status = reap(pid);
	ASSERT_TRUE(WIFSIGNALED(status)) {
		TH_LOG("status %#x", status);
	}
	ASSERT_EQ(SIGTRAP, WTERMSIG(status));
}

/* Tests without variants */
FIXTURE(perf_sigtrap_task) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(perf_sigtrap_task)
{
	skip_if_perf_refused(_metadata);
	self->attr = expect_sigtrap(_metadata, HW_BREAKPOINT_W, MIDDLE, 4, probe_store4_next);
}

FIXTURE_TEARDOWN(perf_sigtrap_task)
{
}

/*
 * A burst far faster than kernel.perf_event_max_sample_rate permits samples:
 * breakpoints are not throttled ("perf: remove stub unthrottle callback",
 * 2010). If traps are slow, as in most guests, this cannot fail.
 */
TEST_F(perf_sigtrap_task, burst_not_throttled)
{
	int fd;

	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	store4(MIDDLE, 4000);
	ASSERT_EQ(4000, signals());
	ASSERT_EQ(4000, perf_count(fd));
	ASSERT_EQ(0, wrong());
}

/*
 * Threads on one CPU and on two: the signal must arrive in the thread that has
 * hit the breakpoint, before it hits it again, even if it is scheduled out in
 * between. Regression test for ca6c21327c6a.
 */
#define THREADS	8
#define ROUNDS	60

static __thread unsigned int own_signals;

static void count_own(void)
{
	own_signals++;
}

static void *hit_and_yield(void *arg)
{
	unsigned long missed = 0;
	unsigned int i;

	for (i = 1; i <= ROUNDS; i++) {
		probe_store4(arg, i);
		missed += own_signals != i;
		if (i % 4 == 0)
			sched_yield();
	}
	return (void *)missed;
}

static unsigned long hit_in_threads(void)
{
	unsigned long missed = 0;
	pthread_t thread[THREADS];
	void *ret;
	int i;

	for (i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, hit_and_yield, MIDDLE))
			return ~0UL;
	for (i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &ret);
		missed += (unsigned long)ret;
	}
	return missed;
}

TEST_F(perf_sigtrap_task, threads)
{
	int cpus[2], n, fd;

	skip_without_futex(_metadata);
	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	n = allowed_cpus(cpus, 2);
	ASSERT_LT(0, n);
	self->attr.inherit = 1;
	self->attr.inherit_thread = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	trap.action = count_own;
	ASSERT_EQ(0, hit_in_threads());
	ASSERT_EQ(0, pin_to_cpu(0, cpus[0]));
	ASSERT_EQ(0, hit_in_threads());
	ASSERT_EQ(2 * THREADS * ROUNDS, signals());
	ASSERT_EQ(2 * THREADS * ROUNDS, perf_count(fd));
	ASSERT_EQ(0, wrong());
}

/* A thread without an event gets no signal */
TEST_F(perf_sigtrap_task, one_thread_only)
{
	int fd;

	skip_without_futex(_metadata);
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	trap.action = count_own;
	/* Every hit there is missed, as expected */
	ASSERT_EQ(THREADS * ROUNDS, hit_in_threads());
	ASSERT_EQ(0, signals());
	store4(MIDDLE, 1);
	ASSERT_EQ(1, signals());
}

static void hit_and_check(void *arg)
{
	unsigned int before = signals();

	store4(arg, 20);
	if (signals() != before + 20 || wrong())
		_exit(1);
}

/* A child inherits the event, and handles its own signals */
TEST_F(perf_sigtrap_task, inherited_by_child)
{
	struct waiting_child child;
	int fd;

	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	self->attr.inherit = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	store4(MIDDLE, 2);
	ASSERT_EQ(0, child_start(&child, hit_and_check, MIDDLE));
	ASSERT_EQ(0, child_release(&child));
	ASSERT_EQ(2, signals());
	ASSERT_EQ(22, perf_count(fd));
}

/* An event on another task signals that task */
TEST_F(perf_sigtrap_task, another_task)
{
	struct waiting_child child;
	int fd;

	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	ASSERT_EQ(0, child_start(&child, hit_and_check, MIDDLE));
	fd = perf_open(_metadata, &self->attr, child.pid, -1);
	ASSERT_EQ(0, child_release(&child));
	ASSERT_EQ(0, signals());
	ASSERT_EQ(20, perf_count(fd));
}

static int event;
static struct perf_event_attr change;

static void disable_event(void)
{
	ioctl(event, PERF_EVENT_IOC_DISABLE, 0);
}

static void change_event(void)
{
	ioctl(event, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &change);
}

static void close_event(void)
{
	close(event);
}

TEST_F(perf_sigtrap_task, disabled_in_handler)
{
	int i;

	event = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, event);
	trap.action = disable_event;
	for (i = 1; i <= 100; i++) {
		store4(MIDDLE, 3);
		ASSERT_EQ(i, (int)signals());
		ASSERT_EQ(i, (int)perf_count(event));
		ASSERT_EQ(0, ioctl(event, PERF_EVENT_IOC_ENABLE, 0));
	}
	ASSERT_EQ(0, wrong());
}

/* The handler modifies address and sig_data; both take effect together */
TEST_F(perf_sigtrap_task, modified_in_handler)
{
	unsigned int i;

	change = self->attr;
	event = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, event);
	trap.action = change_event;
	for (i = 0; i < 100; i++) {
		void *at = (void *)(unsigned long)change.bp_addr;

		trap.addr = at;
		trap.data = change.sig_data;
		change.bp_addr = (unsigned long)&area[4 * (i % 8)];
		change.sig_data = i;
		store4(at, 1);
		ASSERT_EQ(i + 1, signals());
		ASSERT_EQ(0, wrong());
	}
}

/* A refused modification keeps sig_data */
TEST_F(perf_sigtrap_task, refused_modify_keeps_sig_data)
{
	event = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, event);
	store4(MIDDLE, 1);
	ASSERT_EQ(0, wrong());
	self->attr.bp_len = 3;
	self->attr.sig_data = 1;
	ASSERT_EQ(-1, ioctl(event, PERF_EVENT_IOC_MODIFY_ATTRIBUTES,
			    &self->attr));
	ASSERT_EQ(EINVAL, errno);
	store4(MIDDLE, 1);
	ASSERT_EQ(2, signals());
	if (wrong() == 1 && trap.last_data == 1)
		KNOWN_ISSUE(return, "a refused modification changes sig_data");
	ASSERT_EQ(0, wrong());
}

/* A modification also applies to inherited events, sig_data included */
TEST_F(perf_sigtrap_task, modify_reaches_children)
{
	struct waiting_child child;
	int fd;

	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	self->attr.inherit = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	/* What the child must expect */
	trap.addr = area;
	trap.data = 1;
	ASSERT_EQ(0, child_start(&child, hit_and_check, area));
	self->attr.bp_addr = (unsigned long)area;
	self->attr.sig_data = 1;
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &self->attr));
	ASSERT_EQ(0, child_release(&child));
	ASSERT_EQ(20, perf_count(fd));
	close(fd);
}

static void hit_other(void)
{
	if (signals() % 2)
		store4(MIDDLE, 1);
}

/*
 * The handler itself hits the event: signalled at once unless SIGTRAP is
 * blocked
 */
TEST_F(perf_sigtrap_task, hits_in_handler)
{
	int fd, i;

	ASSERT_EQ(0, handle(SA_NODEFER));
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	trap.action = hit_other;
	for (i = 1; i <= 100; i++) {
		store4(MIDDLE, 1);
		ASSERT_EQ(2 * i, (int)signals());
	}
	ASSERT_EQ(200, perf_count(fd));
	ASSERT_EQ(0, wrong());
}

/* The kernel's own accesses: no signal if the kernel is excluded */
TEST_F(perf_sigtrap_task, kernel_accesses_excluded)
{
	int fd, p[2], i;

	ASSERT_EQ(0, pipe(p));
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(4, write(p[1], area, 4));
		ASSERT_EQ(4, read(p[0], MIDDLE, 4));
		ASSERT_EQ(i, (int)signals());
		store4(MIDDLE, 1);
		ASSERT_EQ(i + 1, (int)signals());
	}
	ASSERT_EQ(0, wrong());
}

/*
 * Closed in the handler, while its signal is pending, and while another thread
 * keeps hitting it: no hang, and no signal afterwards.  Regression test for
 * c5d93d23a260.
 */
TEST_F(perf_sigtrap_task, closed_in_handler)
{
	int i;

	trap.action = close_event;
	for (i = 1; i <= 100; i++) {
		event = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, event);
		store4(MIDDLE, 3);
		ASSERT_EQ(i, (int)signals());
	}
	ASSERT_EQ(0, wrong());
}

TEST_F(perf_sigtrap_task, closed_while_pending)
{
	int fd, i;

	for (i = 1; i <= 100; i++) {
		fd = perf_try(&self->attr, 0, -1);
		ASSERT_LE(0, fd);
		block(SIG_BLOCK);
		store4(MIDDLE, 2);
		close(fd);
		store4(MIDDLE, 2);
		ASSERT_EQ(i - 1, (int)signals());
		trap.flags = TRAP_PERF_FLAG_ASYNC;
		trap.ip = 0;
		block(SIG_UNBLOCK);
		ASSERT_EQ(i, (int)signals());
	}
	ASSERT_EQ(0, wrong());
}

static int hitter_state;

static void *hitter(void *arg)
{
	__atomic_store_n(&hitter_state, syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&hitter_state, __ATOMIC_SEQ_CST))
		store4(arg, 1);
	return NULL;
}

static void close_while_hit(void *arg)
{
	struct perf_event_attr *attr = arg;
	pthread_t thread;
	unsigned int i, n;
	int fd, tid;

	if (pthread_create(&thread, NULL, hitter, MIDDLE))
		_exit(1);
	while (!(tid = __atomic_load_n(&hitter_state, __ATOMIC_SEQ_CST)))
		let_others_run();

	for (i = 0; i < 50; i++) {
		fd = perf_try(attr, tid, -1);
		if (fd < 0)
			_exit(2);
		/* While hits and signals keep arriving */
		n = signals();
		while (signals() == n)
			let_others_run();
		close(fd);
	}
	__atomic_store_n(&hitter_state, 0, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	if (wrong())
		_exit(3);
}

TEST_F(perf_sigtrap_task, closed_while_hit)
{
	struct waiting_child child;

	skip_without_futex(_metadata);
	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	ASSERT_EQ(0, child_start(&child, close_while_hit, &self->attr));
	ASSERT_EQ(0, child_release(&child));
}

/* The new image has no handler: the event must be removed before it is hit */
static void exec_hits(void *arg)
{
	int fd;

	if (!perf_map_image_page())
		_exit(2);
	fd = perf_try(arg, 0, -1);
	if (fd < 0 || fcntl(fd, F_SETFD, 0))
		_exit(3);
	trap.addr = PERF_IMAGE_PAGE;
	store4(PERF_IMAGE_PAGE, 2);
	if (signals() != 2 || wrong())
		_exit(4);
	perf_exec(PERF_IMAGE_ENV);
	_exit(5);
}

TEST_F(perf_sigtrap_task, removed_on_exec)
{
	struct waiting_child child;

	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	self->attr.bp_addr = (unsigned long)PERF_IMAGE_PAGE;
	ASSERT_EQ(0, child_start(&child, exec_hits, &self->attr));
	ASSERT_EQ(0, child_release(&child));
}

/* Only for a task, and only with remove_on_exec */
TEST_F(perf_sigtrap_task, needs_task_and_remove_on_exec)
{
	self->attr.remove_on_exec = 0;
	EXPECT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1));
	self->attr.remove_on_exec = 1;
	self->attr.enable_on_exec = 1;
	EXPECT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1));
	self->attr.enable_on_exec = 0;
	EXPECT_EQ(-EINVAL, perf_try_close(&self->attr, -1, sched_getcpu()));
	EXPECT_EQ(0, perf_try_close(&self->attr, 0, -1));
}

TEST_HARNESS_MAIN
