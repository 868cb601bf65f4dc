// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoint events that are disabled and enabled: by a limit of overflows,
 * with their group, by prctl(2), and while their thread runs.  An enabled event
 * must count every hit, and a disabled one none.
 */
#include <fcntl.h>
#include <linux/time_types.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "perf_event.h"
#include "probes.h"

static unsigned int word;

/* Hit a breakpoint on the store, or on what it writes, @n times */
static void store(unsigned int n)
{
	while (n--)
		probe_store4(&word, n);
}

/* sigtimedwait() of 32-bit programs needs CONFIG_COMPAT_32BIT_TIME */
#ifdef SYS_rt_sigtimedwait_time64
#define SYS_SIGTIMEDWAIT64	SYS_rt_sigtimedwait_time64
#else
#define SYS_SIGTIMEDWAIT64	SYS_rt_sigtimedwait
#endif

/* Wait for a signal of an event; its si_code, or -1 */
static int signal_of(int sig, int fd, int seconds)
{
	const struct __kernel_timespec limit = { .tv_sec = seconds };
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	if (syscall(SYS_SIGTIMEDWAIT64, &set, &info, &limit, NSIG / 8) != sig) {
		if (seconds)
			watchdog_expired();
		return -1;
	}
	if (info.si_fd != fd)
		return -1;
	return info.si_code;
}

/* A disabled sampling event that sends @sig to this thread */
static int open_signalling(struct perf_event_attr *attr, int sig)
{
	struct f_owner_ex owner = { F_OWNER_TID, syscall(SYS_gettid) };
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_BLOCK, &set, NULL);
	attr->sample_period = 1;
	attr->disabled = 1;
	fd = perf_try(attr, 0, -1);
	if (fd >= 0 && (fcntl(fd, F_SETSIG, sig) ||
			fcntl(fd, F_SETOWN_EX, &owner) ||
			fcntl(fd, F_SETFL, O_ASYNC)))
		return -errno;
	return fd;
}

/*
 * PERF_EVENT_IOC_REFRESH enables an event for a number of overflows: each sends
 * POLL_IN, the last one POLL_HUP and disables the event (perf_event_open(2),
 * "Overflow handling").
 */
FIXTURE(perf_limit) {
	struct perf_event_attr attr;
	int fd;
};

FIXTURE_VARIANT(perf_limit) {
	unsigned int type;
};

FIXTURE_VARIANT_ADD(perf_limit, write) { .type = HW_BREAKPOINT_W };
FIXTURE_VARIANT_ADD(perf_limit, execute) { .type = HW_BREAKPOINT_X };

FIXTURE_SETUP(perf_limit)
{
	skip_if_perf_refused(_metadata);
	if (variant->type == HW_BREAKPOINT_X)
		self->attr = perf_attr(HW_BREAKPOINT_X, probe_store4_at,
				       PERF_EXECUTE_LEN);
	else
		self->attr = perf_attr(HW_BREAKPOINT_W, &word, 4);
	self->fd = open_signalling(&self->attr, SIGRTMIN);
	ASSERT_LE(0, self->fd);
	skip_if_dead(_metadata, BY_PERF, perf_type_of(&self->attr));
}

FIXTURE_TEARDOWN(perf_limit)
{
	close(self->fd);
}

TEST_F(perf_limit, limits_overflows)
{
	enum { LIMIT = 5 };
	unsigned int i;

	store(1);
	ASSERT_EQ(0, perf_count(self->fd));
	ASSERT_EQ(0, ioctl(self->fd, PERF_EVENT_IOC_REFRESH, LIMIT));
	for (i = 1; i <= LIMIT; i++) {
		store(1);
		ASSERT_EQ(i, perf_count(self->fd));
		ASSERT_EQ(i < LIMIT ? POLL_IN : POLL_HUP,
			  signal_of(SIGRTMIN, self->fd, watchdog_seconds())) {
			TH_LOG("hit %u of %d", i, LIMIT);
		}
	}
	store(5);
	ASSERT_EQ(LIMIT, perf_count(self->fd));
	ASSERT_EQ(-1, signal_of(SIGRTMIN, self->fd, 0));
}

#define LIMIT_ISSUE	"a breakpoint that has reached its limit never counts again"

/* And it can be enabled again, without a limit or with a new one */
static void use_up(struct __test_metadata *_metadata, int fd)
{
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_REFRESH, 1));
	store(1);
	ASSERT_EQ(1, perf_count(fd));
	ASSERT_EQ(POLL_HUP, signal_of(SIGRTMIN, fd, watchdog_seconds()));
	store(1);
	ASSERT_EQ(1, perf_count(fd));
}

TEST_F(perf_limit, enabled_again)
{
	use_up(_metadata, self->fd);
	ASSERT_EQ(0, ioctl(self->fd, PERF_EVENT_IOC_ENABLE, 0));
	store(3);
	if (perf_count(self->fd) == 1)
		KNOWN_ISSUE(return, LIMIT_ISSUE);
	ASSERT_EQ(4, perf_count(self->fd));
}

TEST_F(perf_limit, refreshed_again)
{
	use_up(_metadata, self->fd);
	ASSERT_EQ(0, ioctl(self->fd, PERF_EVENT_IOC_REFRESH, 2));
	store(1);
	if (perf_count(self->fd) == 1)
		KNOWN_ISSUE(return, LIMIT_ISSUE);
	ASSERT_EQ(2, perf_count(self->fd));
	ASSERT_EQ(POLL_IN, signal_of(SIGRTMIN, self->fd, watchdog_seconds()));
	store(1);
	ASSERT_EQ(POLL_HUP, signal_of(SIGRTMIN, self->fd, watchdog_seconds()));
	store(1);
	ASSERT_EQ(3, perf_count(self->fd));
}

/*
 * Groups: enabled and disabled, read and scheduled together, a slot for each
 * event (perf_event_open(2), group_fd).
 */
FIXTURE(perf_group) {
	unsigned int words[DR_SLOTS];
	struct perf_event_attr attr;
	int fd[DR_SLOTS];
};

FIXTURE_VARIANT(perf_group) {
	bool software_leader;
};

/* The leader is an event that takes no slot and whose count is not used */
FIXTURE_VARIANT_ADD(perf_group, of_breakpoints) { .software_leader = false };
FIXTURE_VARIANT_ADD(perf_group, under_software_event) {
	.software_leader = true };

/* perf_try() in the group of @leader, or as the leader of a new one */
static int try_in_group(const struct perf_event_attr *attr, int leader)
{
	int fd;

	do {
		fd = syscall(SYS_perf_event_open, attr, 0, -1, leader,
			     PERF_FLAG_FD_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	} while (retry_on_enospc(fd));
	return fd;
}

/*
 * The leader is disabled, so the members do not count although they are enabled
 */
FIXTURE_SETUP(perf_group)
{
	unsigned int i;

	skip_if_perf_refused(_metadata);
	for (i = 0; i < DR_SLOTS; i++) {
		self->attr = perf_attr(HW_BREAKPOINT_W, &self->words[i], 4);
		self->attr.read_format = PERF_FORMAT_GROUP;
		if (!i && variant->software_leader) {
			self->attr.type = PERF_TYPE_SOFTWARE;
			self->attr.config = PERF_COUNT_SW_EMULATION_FAULTS;
			self->attr.bp_type = 0;
			self->attr.bp_addr = 0;
			self->attr.bp_len = 0;
		}
		self->attr.disabled = !i;
		self->fd[i] = try_in_group(&self->attr, i ? self->fd[0] : -1);
		ASSERT_LE(0, self->fd[i]) {
			TH_LOG("event %u", i);
		}
	}
	skip_if_dead(_metadata, BY_PERF, NEEDS_WRITE);
}

FIXTURE_TEARDOWN(perf_group)
{
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++)
		if (self->fd[i] >= 0)
			close(self->fd[i]);
}

/* One store to each word of the group; a software leader counts none */
static void store_to_each(unsigned int *words)
{
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++)
		probe_store4(&words[i], i);
}

/*
 * Whether each member has counted @n stores, and the last one @last; read
 * through @fd, which may be any of them
 */
static bool all_counted(int fd, bool software_leader, unsigned long long n,
			unsigned long long last, bool report)
{
	struct {
		__u64 nr, value[DR_SLOTS];
	} group;
	unsigned int i;
	bool ok;

	ok = read(fd, &group, sizeof(group)) == sizeof(group) &&
	     group.nr == DR_SLOTS;
	for (i = 0; ok && i < DR_SLOTS; i++) {
		unsigned long long want = i == DR_SLOTS - 1 ? last : n;

		if (!i && software_leader)
			want = 0;
		if (group.value[i] == want)
			continue;
		if (report)
			test_err("event %u of the group: %llu, not %llu",
				 i, (unsigned long long)group.value[i], want);
		ok = false;
	}
	return ok;
}

#define COUNTED(n, last)						\
	all_counted(self->fd[1], variant->software_leader, n, last, true)

/*
 * Whether some members have not counted their one store.  Each is scheduled by the
 * first context switch after it was enabled, if that comes before its store.
 */
static bool counted_late(int fd)
{
	struct {
		__u64 nr, value[DR_SLOTS];
	} group;
	unsigned int i;
	bool late = false;

	if (read(fd, &group, sizeof(group)) != sizeof(group))
		return false;
	for (i = 1; i < DR_SLOTS; i++) {
		if (group.value[i] > 1)
			return false;
		late |= !group.value[i];
	}
	return late;
}

/* The last event has not counted its last store: no context switch came before it */
#define GROUP_ISSUE	"the group is not rescheduled if its leader is of another PMU"
#define HAS_GROUP_ISSUE(n, last)						\
	(variant->software_leader &&					\
	 all_counted(self->fd[1], true, n, last, false))

TEST_F(perf_group, enabled_and_disabled_with_leader)
{
	unsigned int i;

	store_to_each(self->words);
	ASSERT_TRUE(COUNTED(0, 0));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, ioctl(self->fd[0], PERF_EVENT_IOC_ENABLE, 0));
		store_to_each(self->words);
		ASSERT_TRUE(COUNTED(i + 1, i + 1)) {
			TH_LOG("enabled, iteration %u", i + 1);
		}
		ASSERT_EQ(0, ioctl(self->fd[0], PERF_EVENT_IOC_DISABLE, 0));
		store_to_each(self->words);
		ASSERT_TRUE(COUNTED(i + 1, i + 1)) {
			TH_LOG("disabled, iteration %u", i + 1);
		}
	}
}

TEST_F(perf_group, group_ioctls)
{
	int flag = PERF_IOC_FLAG_GROUP;

	ASSERT_EQ(0, ioctl(self->fd[1], PERF_EVENT_IOC_ENABLE, flag));
	store_to_each(self->words);
	ASSERT_TRUE(COUNTED(1, 1));
	ASSERT_EQ(0, ioctl(self->fd[2], PERF_EVENT_IOC_DISABLE, flag));
	store_to_each(self->words);
	ASSERT_TRUE(COUNTED(1, 1));
	ASSERT_EQ(0, ioctl(self->fd[3], PERF_EVENT_IOC_RESET, flag));
	ASSERT_TRUE(COUNTED(0, 0));
	ASSERT_EQ(0, ioctl(self->fd[3], PERF_EVENT_IOC_ENABLE, flag));
	store_to_each(self->words);
	if (variant->software_leader && counted_late(self->fd[1]))
		KNOWN_ISSUE(return, GROUP_ISSUE);
	ASSERT_TRUE(COUNTED(1, 1));
}

/* The last member, while the others are enabled */
TEST_F(perf_group, member_enabled_and_disabled)
{
	int fd = self->fd[DR_SLOTS - 1];
	unsigned int i;

	ASSERT_EQ(0, ioctl(self->fd[0], PERF_EVENT_IOC_ENABLE, 0));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
		store_to_each(self->words);
		ASSERT_TRUE(COUNTED(2 * i + 1, i)) {
			TH_LOG("disabled, iteration %u", i + 1);
		}
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
		store_to_each(self->words);
		if (HAS_GROUP_ISSUE(2 * i + 2, i))
			KNOWN_ISSUE(return, GROUP_ISSUE);
		ASSERT_TRUE(COUNTED(2 * i + 2, i + 1)) {
			TH_LOG("enabled, iteration %u", i + 1);
		}
	}
}

/* A new last member for a group that is enabled */
TEST_F(perf_group, member_joins)
{
	int *fd = &self->fd[DR_SLOTS - 1];
	unsigned int i;

	ASSERT_EQ(0, ioctl(self->fd[0], PERF_EVENT_IOC_ENABLE, 0));
	for (i = 0; i < 20; i++) {
		close(*fd);
		*fd = try_in_group(&self->attr, self->fd[0]);
		ASSERT_LE(0, *fd);
		store_to_each(self->words);
		if (HAS_GROUP_ISSUE(i + 1, 0))
			KNOWN_ISSUE(return, GROUP_ISSUE);
		ASSERT_TRUE(COUNTED(i + 1, 1)) {
			TH_LOG("iteration %u", i + 1);
		}
	}
}

/* The remaining ones continue without their leader (perf_group_detach()) */
TEST_F(perf_group, members_outlive_leader)
{
	__u64 group[2];
	unsigned int i;

	ASSERT_EQ(0, ioctl(self->fd[0], PERF_EVENT_IOC_ENABLE, 0));
	store_to_each(self->words);
	close(self->fd[0]);
	self->fd[0] = -1;
	store_to_each(self->words);
	for (i = 1; i < DR_SLOTS; i++) {
		ASSERT_EQ(sizeof(group), read(self->fd[i], group, sizeof(group)));
		EXPECT_EQ(1, group[0]);
		EXPECT_EQ(2, group[1]) {
			TH_LOG("event %u", i);
		}
	}
}

/*
 * prctl(2) disables and enables what the caller has opened, on any task; slots
 * armed by ptrace are not events of the caller.
 */
FIXTURE(perf_prctl) {
	struct perf_event_attr attr;
	struct tracee t;
	unsigned int *word;
};

FIXTURE_SETUP(perf_prctl)
{
	skip_if_perf_refused(_metadata);
	self->word = shared_alloc(sizeof(*self->word));
	self->attr = perf_attr(HW_BREAKPOINT_W, self->word, 4);
}

FIXTURE_TEARDOWN(perf_prctl)
{
	tracee_stop(&self->t);
}

TEST_F(perf_prctl, own_events)
{
	unsigned int i;
	int fd;

	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, prctl(PR_TASK_PERF_EVENTS_DISABLE, 0, 0, 0, 0));
		probe_store4(self->word, i);
		ASSERT_EQ(i, perf_count(fd));
		ASSERT_EQ(0, prctl(PR_TASK_PERF_EVENTS_ENABLE, 0, 0, 0, 0));
		probe_store4(self->word, i);
		ASSERT_EQ(i + 1, perf_count(fd));
	}
	close(fd);
}

static void disable_and_store(struct tracee *t)
{
	unsigned int *word = t->arg;

	*t->progress = 1;
	probe_store4(word, 1);
	*t->progress = 2;
	if (prctl(PR_TASK_PERF_EVENTS_DISABLE, 0, 0, 0, 0))
		return;
	probe_store4(word, 2);
	*t->progress = 3;
	tracee_sync();
}

TEST_F(perf_prctl, ptrace_slots_not_affected)
{
	struct tracee *t = &self->t;

	t->body = disable_and_store;
	t->arg = self->word;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 4, self->word));
	ASSERT_EQ(0, prctl(PR_TASK_PERF_EVENTS_DISABLE, 0, 0, 0, 0));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 2));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/*
 * Events of a thread that keeps running: the registers of its CPU are changed
 * by an interrupt (event_function_call() and perf_install_in_context() in
 * kernel/events/core.c).  Which store was the last before a change is not
 * known, but those well before and well after it are.
 */
#define BUSY_STORES	50	/* that must be made on either side */
#define BUSY_ROUNDS	6

struct running {
	unsigned long n;	/* of the store that is made, or about to be */
	int stop;
	unsigned int word;
	unsigned int other;
};

FIXTURE(perf_running) {
	struct perf_event_attr attr;
	struct running *running;
	pid_t child;
};

FIXTURE_VARIANT(perf_running) {
	bool own_cpu;
	bool moves;
};

FIXTURE_VARIANT_ADD(perf_running, on_another_cpu) { .own_cpu = true };
FIXTURE_VARIANT_ADD(perf_running, on_this_cpu) { .own_cpu = false };
FIXTURE_VARIANT_ADD(perf_running, migrating) { .moves = true };

/* Move to the next of @n CPUs now and then; 0: do not move */
static void run_stores(struct running *b, const int *cpus, int n)
{
	while (!__atomic_load_n(&b->stop, __ATOMIC_ACQUIRE)) {
		__atomic_add_fetch(&b->n, 1, __ATOMIC_SEQ_CST);
		probe_store4(&b->word, 1);
		if (n && !(b->n % 16))
			pin_to_cpu(0, cpus[b->n / 16 % n]);
	}
}

FIXTURE_SETUP(perf_running)
{
	int cpus[64], n = allowed_cpus(cpus, 64);

	skip_if_perf_refused(_metadata);
	self->running = shared_alloc(sizeof(*self->running));
	self->attr = perf_attr(HW_BREAKPOINT_W, &self->running->word, 4);
	ASSERT_EQ(0, pin_to_cpu(0, cpus[0]));
	self->child = fork();
	ASSERT_LE(0, self->child);
	if (!self->child) {
		if (variant->moves || variant->own_cpu)
			pin_to_cpu(0, cpus[n - 1]);
		/*
		 * Called in the thread it would return only the CPU that it is
		 * pinned to
		 */
		run_stores(self->running, cpus, variant->moves ? n : 0);
		_exit(0);
	}
}

FIXTURE_TEARDOWN(perf_running)
{
	__atomic_store_n(&self->running->stop, 1, __ATOMIC_RELEASE);
	waitpid(self->child, NULL, 0);
}

static unsigned long stores(struct running *b)
{
	return __atomic_load_n(&b->n, __ATOMIC_SEQ_CST);
}

/* Wait for some more stores; false if the thread has died */
static bool some_more(struct running *b, pid_t child)
{
	unsigned long n = stores(b);

	while (stores(b) < n + BUSY_STORES) {
		if (waitpid(child, NULL, WNOHANG))
			return false;
		let_others_run();
	}
	return true;
}

/*
 * Between two changes, each of them between two readings: at least the stores
 * that began after the first and ended before the second must have been
 * counted, and at most those that may have been.
 */
struct change {
	unsigned long before, after;
};

static bool fits(unsigned long long count, const struct change *on,
		 const struct change *off)
{
	unsigned long least = off->before - on->after - 1;
	unsigned long most = off->after - on->before + 1;

	if (count >= least && count <= most)
		return true;
	test_err("counted %llu of %lu to %lu stores", count, least,
		 most);
	return false;
}

#define CHANGE(c, what)							\
	do {								\
		struct change *c_ = (c);				\
									\
		c_->before = stores(self->running);			\
		ASSERT_EQ(0, what);					\
		c_->after = stores(self->running);			\
	} while (0)

TEST_F(perf_running, opened)
{
	struct change open, read;
	unsigned long long count;
	unsigned int i;
	int fd;

	for (i = 0; i < BUSY_ROUNDS; i++) {
		open.before = stores(self->running);
		fd = perf_try(&self->attr, self->child, -1);
		open.after = stores(self->running);
		ASSERT_LE(0, fd);
		ASSERT_TRUE(some_more(self->running, self->child));
		read.before = stores(self->running);
		count = perf_count(fd);
		read.after = stores(self->running);
		ASSERT_TRUE(fits(count, &open, &read)) {
			TH_LOG("opened, iteration %u", i + 1);
		}
		close(fd);
	}
}

TEST_F(perf_running, enabled_and_disabled)
{
	unsigned long long before = 0, count;
	struct change on, off;
	unsigned int i;
	int fd;

	self->attr.disabled = 1;
	fd = perf_try(&self->attr, self->child, -1);
	ASSERT_LE(0, fd);
	for (i = 0; i < BUSY_ROUNDS; i++) {
		CHANGE(&on, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
		ASSERT_TRUE(some_more(self->running, self->child));
		CHANGE(&off, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
		count = perf_count(fd);
		ASSERT_TRUE(fits(count - before, &on, &off)) {
			TH_LOG("enabled, iteration %u", i + 1);
		}
		ASSERT_TRUE(some_more(self->running, self->child));
		ASSERT_EQ(count, perf_count(fd)) {
			TH_LOG("disabled, iteration %u", i + 1);
		}
		before = count;
	}
	close(fd);
}

/* From the address that it stores to, to another one, and back */
TEST_F(perf_running, address_changed)
{
	unsigned long long before = 0, count;
	struct change on, off;
	unsigned int i;
	int fd;

	CHANGE(&on, ((fd = perf_try(&self->attr, self->child, -1)) < 0));
	for (i = 0; i < BUSY_ROUNDS; i++) {
		ASSERT_TRUE(some_more(self->running, self->child));
		self->attr.bp_addr = (unsigned long)&self->running->other;
		CHANGE(&off, ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES,
				   &self->attr));
		count = perf_count(fd);
		ASSERT_TRUE(fits(count - before, &on, &off)) {
			TH_LOG("second address, iteration %u", i + 1);
		}
		ASSERT_TRUE(some_more(self->running, self->child));
		ASSERT_EQ(count, perf_count(fd)) {
			TH_LOG("first address, iteration %u", i + 1);
		}
		before = count;
		self->attr.bp_addr = (unsigned long)&self->running->word;
		CHANGE(&on, ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES,
				  &self->attr));
	}
	close(fd);
}

TEST_HARNESS_MAIN
