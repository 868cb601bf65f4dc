// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints as perf events that send SIGTRAP to the task that hits them
 * (perf_event_attr.sigtrap, since 5.13).
 *
 * The #DB handler runs where no signal can be sent, so the signal is a piece
 * of work for later, on the way back to user space; five times that was wrong
 * (97ba62b27867, since mended by those named below): signals were lost, came
 * without an address, killed who had SIGTRAP blocked, or hung who closed the
 * event meanwhile.  So every hit is followed by a look whether its signal has
 * been handled already, and what it said.
 *
 * Nothing here ever sleeps or is stopped: throttling, which is undone at each
 * schedule-in, can only be seen that way.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

#include "perf_event.h"
#include "probes.h"

/* uapi asm-generic/siginfo.h, where the C library is older */
#ifndef TRAP_PERF
#define TRAP_PERF	6
#endif
#ifndef TRAP_PERF_FLAG_ASYNC
#define TRAP_PERF_FLAG_ASYNC	1
#endif

#ifdef __x86_64__
#define DATA	0x123456789abcdef0UL
#else
#define DATA	0x9abcdef0UL
#endif

/* siginfo_t as the kernel fills it in for TRAP_PERF, struct _perf there */
struct perf_siginfo {
	int signo, err, code;
	void *addr;
	unsigned long data;
	unsigned int type, flags;
};

static unsigned char area[64] __attribute__((__aligned__(64)));

#define MIDDLE	(&area[24])

/* What the handler finds and what it is told to expect and to do */
static struct {
	unsigned int signals;
	unsigned int wrong;

	void *addr;
	unsigned long data;
	unsigned int flags;
	/* 0 where it may be any */
	unsigned long ip;
	void (*action)(void);
} trap;

static void on_trap(int sig, siginfo_t *siginfo, void *context)
{
	struct perf_siginfo *info = (struct perf_siginfo *)siginfo;
	ucontext_t *uc = context;
	unsigned long ip = uc->uc_mcontext.gregs[UC_IP];

	__atomic_add_fetch(&trap.signals, 1, __ATOMIC_SEQ_CST);
	if (sig != SIGTRAP || info->code != TRAP_PERF ||
	    info->addr != trap.addr || info->data != trap.data ||
	    info->type != PERF_TYPE_BREAKPOINT || info->flags != trap.flags ||
	    (trap.ip && ip != trap.ip)) {
		/* Now, as it may explain whatever fails next */
		if (!__atomic_fetch_add(&trap.wrong, 1, __ATOMIC_SEQ_CST))
			dprintf(STDERR_FILENO,
				"# wrong signal %d: code %d, addr %p, data %#lx, type %u, flags %u, ip %#lx\n",
				sig, info->code, info->addr, info->data,
				info->type, info->flags, ip);
	}
	if (trap.action)
		trap.action();
}

/* The types of the events so far */
static unsigned int event_types;

/* How many signals have come; skips the test where none can come here */
static unsigned int signals(void)
{
	if (firing_dead(BY_PERF, event_types))
		skip_running_test();
	return __atomic_load_n(&trap.signals, __ATOMIC_SEQ_CST);
}

/* How many signals were not as they should be; the first one has been told */
static unsigned int wrong(void)
{
	return __atomic_load_n(&trap.wrong, __ATOMIC_SEQ_CST);
}

static int handle(int flags)
{
	struct sigaction action = {
		.sa_sigaction = on_trap,
		.sa_flags = SA_SIGINFO | flags,
	};

	return sigaction(SIGTRAP, &action, NULL);
}

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

static void store4(void *addr, unsigned int n)
{
	while (n--)
		probe_store4(addr, n);
}

static struct perf_event_attr sigtrap_attr(unsigned int type, const void *addr,
					   unsigned int len)
{
	struct perf_event_attr attr = perf_attr(type, addr, len);

	attr.sample_period = 1;
	attr.sigtrap = 1;
	attr.remove_on_exec = 1;
	attr.sig_data = DATA;
	event_types |= perf_type_of(&attr);
	return attr;
}

/* Executed anew, the program stores where its former self had a breakpoint */
#define IMAGE_PAGE	((void *)0x20000000UL)

static int map_image_page(void)
{
	return mmap(IMAGE_PAGE, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		    0) != IMAGE_PAGE;
}

static void __attribute__((constructor(101)))
image_main(int argc, char **argv)
{
	if (argc != 2 || strcmp(argv[1], "--perf-image"))
		return;
	if (map_image_page())
		_exit(2);
	store4(IMAGE_PAGE, 5);
	_exit(0);
}

/* One signal for each hit, at once, and it says where and why */
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
	if (!perf_usable(_metadata))
		return;
	if (!kernel_is(5, 13))
		SKIP(return, "no sigtrap before 5.13");
	ASSERT_EQ(0, handle(0));
	if (variant->type == HW_BREAKPOINT_X) {
		self->attr = sigtrap_attr(variant->type, probe_store4_at,
					  PERF_EXECUTE_LEN);
		trap.ip = (unsigned long)probe_store4_at;
	} else {
		self->attr = sigtrap_attr(variant->type, MIDDLE, 4);
		trap.ip = (unsigned long)probe_store4_next;
	}
	trap.addr = (void *)(unsigned long)self->attr.bp_addr;
	trap.data = DATA;
}

FIXTURE_TEARDOWN(perf_sigtrap)
{
}

/*
 * si_addr is the watched address (af169b7759a9: it was 0), si_perf_data what
 * the event was given, ip the place of the trap; and an execute breakpoint
 * does not trap again when the handler returns to it (RF through sigreturn).
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

/* One for each 3 hits, where that is the period */
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
 * Blocked, the signal must wait, and must not kill as one that the kernel
 * forces does; it says that it is late, and there is but one (it is not a
 * real-time signal).  Regression test for 78ed93d72ded.
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

		/* And no longer than that */
		trap.flags = 0;
		trap.ip = ip;
		store4(MIDDLE, 1);
		ASSERT_EQ(2 * i + 2, signals());
		ASSERT_EQ(0, wrong());
	}
}

/* Ignored, it is no more than a count */
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

/* And neither handled nor ignored, it is the end */
TEST_F(perf_sigtrap, by_default_fatal)
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

/* The rest needs no variants */
FIXTURE(perf_sigtrap_for) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(perf_sigtrap_for)
{
	if (!perf_usable(_metadata))
		return;
	if (!kernel_is(5, 13))
		SKIP(return, "no sigtrap before 5.13");
	ASSERT_EQ(0, handle(0));
	self->attr = sigtrap_attr(HW_BREAKPOINT_W, MIDDLE, 4);
	trap.ip = (unsigned long)probe_store4_next;
	trap.addr = MIDDLE;
	trap.data = DATA;
}

FIXTURE_TEARDOWN(perf_sigtrap_for)
{
}

/*
 * A burst far faster than kernel.perf_event_max_sample_rate lets samples come:
 * breakpoints are not throttled ("perf: remove stub unthrottle callback",
 * 2010).  Where a trap is slow, as in most guests, this cannot fail.
 */
TEST_F(perf_sigtrap_for, bursts)
{
	int fd;

	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	store4(MIDDLE, 8000);
	ASSERT_EQ(8000, signals());
	ASSERT_EQ(8000, perf_count(fd));
	ASSERT_EQ(0, wrong());
}

/*
 * Threads on one CPU and on two: the signal must come from the thread that
 * hit, before it hits again, even if it is scheduled out in between.
 * Regression test for ca6c21327c6a.
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

TEST_F(perf_sigtrap_for, threads)
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

/* A thread that has none of its own is not signalled */
TEST_F(perf_sigtrap_for, one_thread_only)
{
	int fd;

	skip_without_futex(_metadata);
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	trap.action = count_own;
	/* Every hit there is missed, as is meant */
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
TEST_F(perf_sigtrap_for, children)
{
	struct held child;
	int fd;

	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	self->attr.inherit = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	store4(MIDDLE, 2);
	ASSERT_EQ(0, held_start(&child, hit_and_check, MIDDLE));
	ASSERT_EQ(0, held_release(&child));
	ASSERT_EQ(2, signals());
	ASSERT_EQ(22, perf_count(fd));
}

/* Opened on another task, it is that task which gets the signals */
TEST_F(perf_sigtrap_for, another_task)
{
	struct held child;
	int fd;

	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	ASSERT_EQ(0, held_start(&child, hit_and_check, MIDDLE));
	fd = perf_open(_metadata, &self->attr, child.pid, -1);
	if (fd < 0)
		return;
	ASSERT_EQ(0, held_release(&child));
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

TEST_F(perf_sigtrap_for, disabled_in_handler)
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

/* The handler moves it on, and what it says goes with it */
TEST_F(perf_sigtrap_for, modified_in_handler)
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

/* A refused modify leaves the signal's data alone too */
TEST_F(perf_sigtrap_for, refused_modify_keeps_sig_data)
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
	ASSERT_EQ(0, wrong());
}

/* A modify reaches the events that children have inherited, sig_data and all */
TEST_F(perf_sigtrap_for, modify_reaches_children)
{
	struct held child;
	int fd;

	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	self->attr.inherit = 1;
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	/* What the child is to expect */
	trap.addr = area;
	trap.data = 1;
	ASSERT_EQ(0, held_start(&child, hit_and_check, area));
	self->attr.bp_addr = (unsigned long)area;
	self->attr.sig_data = 1;
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &self->attr));
	ASSERT_EQ(0, held_release(&child));
	ASSERT_EQ(20, perf_count(fd));
	close(fd);
}

static void hit_other(void)
{
	if (signals() % 2)
		store4(MIDDLE, 1);
}

/* The handler hits the event itself: at once where SIGTRAP is not blocked */
TEST_F(perf_sigtrap_for, hits_in_handler)
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

/* The kernel's own accesses: none where it is excluded */
TEST_F(perf_sigtrap_for, kernel_accesses_excluded)
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

/* Where it is not: one at the end of the system call, however many hits */
TEST_F(perf_sigtrap_for, kernel_accesses)
{
	int fd, p[2], i;

	ASSERT_EQ(0, pipe(p));
	self->attr.exclude_kernel = 0;
	fd = perf_open(_metadata, &self->attr, 0, -1);
	if (fd < 0)
		return;
	trap.ip = 0;
	for (i = 1; i <= 50; i++) {
		ASSERT_EQ(4, write(p[1], area, 4));
		ASSERT_EQ(4, read(p[0], MIDDLE, 4));
		ASSERT_EQ(i, (int)signals());
	}
	ASSERT_EQ(0, wrong());
	ASSERT_LE(50, perf_count(fd));
}

/*
 * Closed in the handler, while a signal of it is pending, and while another
 * thread hits it all the time: no hang, no signal thereafter.
 * Regression test for c5d93d23a260.
 */
TEST_F(perf_sigtrap_for, closed_in_handler)
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

TEST_F(perf_sigtrap_for, closed_while_pending)
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
	do {
		tid = __atomic_load_n(&hitter_state, __ATOMIC_SEQ_CST);
	} while (!tid && !sched_yield());

	for (i = 0; i < 50; i++) {
		fd = perf_try(attr, tid, -1);
		if (fd < 0)
			_exit(2);
		/* In full swing: hits and signals come all the time */
		n = signals();
		while (signals() == n)
			sched_yield();
		close(fd);
	}
	__atomic_store_n(&hitter_state, 0, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	if (wrong())
		_exit(3);
}

TEST_F(perf_sigtrap_for, closed_while_hit)
{
	struct held child;

	skip_without_futex(_metadata);
	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	ASSERT_EQ(0, held_start(&child, close_while_hit, &self->attr));
	ASSERT_EQ(0, held_release(&child));
}

/*
 * execve() reads its arguments from watched memory, so that a signal is due,
 * and then closes the event, all on one way through the kernel.
 * Regression test for 56799bc03565, before which that way had no end.
 */
static void exec_closes(void *arg)
{
	const char *const args[] = { (char *)area, NULL };

	/* The new image is not to die of what was due to the old one */
	signal(SIGTRAP, SIG_IGN);
	memcpy(area, "--perf-image", sizeof("--perf-image"));
	if (perf_try(arg, 0, -1) < 0)
		_exit(3);
	perf_exec(args);
	_exit(4);
}

TEST_F(perf_sigtrap_for, closed_by_exec_with_one_due)
{
	struct held child;

	self->attr.exclude_kernel = 0;
	self->attr.bp_type = HW_BREAKPOINT_RW;
	self->attr.bp_addr = (unsigned long)area;
	self->attr.bp_len = 1;
	if (!may_go_on(_metadata, perf_try_close(&self->attr, 0, -1),
		       "breakpoint on the kernel's accesses"))
		return;
	ASSERT_EQ(0, held_start(&child, exec_closes, &self->attr));
	ASSERT_EQ(0, held_release(&child));
}

/* The new image knows no handler: the event is gone before it can kill it */
static void exec_hits(void *arg)
{
	const char *const args[] = { "--perf-image", NULL };
	int fd;

	if (map_image_page())
		_exit(2);
	fd = perf_try(arg, 0, -1);
	if (fd < 0 || fcntl(fd, F_SETFD, 0))
		_exit(3);
	trap.addr = IMAGE_PAGE;
	store4(IMAGE_PAGE, 2);
	if (signals() != 2 || wrong())
		_exit(4);
	perf_exec(args);
	_exit(5);
}

TEST_F(perf_sigtrap_for, removed_on_exec)
{
	struct held child;

	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
	self->attr.bp_addr = (unsigned long)IMAGE_PAGE;
	ASSERT_EQ(0, held_start(&child, exec_hits, &self->attr));
	ASSERT_EQ(0, held_release(&child));
}

/* Only for a task, and only until it executes another program */
TEST_F(perf_sigtrap_for, nobody_else_is_refused)
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
