// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoint events that are turned off and on: by a limit of overflows, with
 * the group that they are in, by prctl(2), and while their thread runs.  One
 * that is on again has to count every hit, and one that is off none.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "perf_event.h"
#include "probes.h"

static unsigned int word;

/* That many hits of a breakpoint on the store, or on what it writes */
static void store(unsigned int n)
{
	while (n--)
		probe_store4(&word, n);
}

/* Wait for a signal of an event; its si_code, or -1 */
static int signal_of(int sig, int fd, int seconds)
{
	const struct timespec limit = { .tv_sec = seconds };
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	if (sigtimedwait(&set, &info, &limit) != sig) {
		if (seconds)
			watchdog_lapsed();
		return -1;
	}
	if (info.si_fd != fd)
		return -1;
	return info.si_code;
}

/* A sampling event that is off, and sends @sig to this thread */
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
 * PERF_EVENT_IOC_REFRESH enables an event for so many overflows: each sends
 * POLL_IN, the last one POLL_HUP, and with that the event is off
 * (perf_event_open(2), "Overflow handling").
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
	if (!perf_usable(_metadata))
		return;
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

TEST_F(perf_limit, enables_for_so_many)
{
	enum { LIMIT = 5 };
	unsigned int i;

	store(1);
	ASSERT_EQ(0, perf_count(self->fd));
	ASSERT_EQ(0, ioctl(self->fd, PERF_EVENT_IOC_REFRESH, LIMIT));
	for (i = 1; i <= LIMIT; i++) {
		store(1);
		ASSERT_EQ(i < LIMIT ? POLL_IN : POLL_HUP,
			  signal_of(SIGRTMIN, self->fd, watchdog_seconds())) {
			TH_LOG("hit %u of %d", i, LIMIT);
		}
		ASSERT_EQ(i, perf_count(self->fd));
	}
	store(5);
	ASSERT_EQ(LIMIT, perf_count(self->fd));
	ASSERT_EQ(-1, signal_of(SIGRTMIN, self->fd, 0));
}

/* And it can be had again, for good or for some more */
static void use_up(struct __test_metadata *_metadata, int fd)
{
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_REFRESH, 1));
	store(1);
	ASSERT_EQ(POLL_HUP, signal_of(SIGRTMIN, fd, watchdog_seconds()));
	store(1);
	ASSERT_EQ(1, perf_count(fd));
}

TEST_F(perf_limit, enabled_again)
{
	use_up(_metadata, self->fd);
	ASSERT_EQ(0, ioctl(self->fd, PERF_EVENT_IOC_ENABLE, 0));
	store(3);
	ASSERT_EQ(4, perf_count(self->fd));
}

TEST_F(perf_limit, refreshed_again)
{
	use_up(_metadata, self->fd);
	ASSERT_EQ(0, ioctl(self->fd, PERF_EVENT_IOC_REFRESH, 2));
	store(1);
	ASSERT_EQ(2, perf_count(self->fd));
	ASSERT_EQ(POLL_IN, signal_of(SIGRTMIN, self->fd, watchdog_seconds()));
	store(1);
	ASSERT_EQ(POLL_HUP, signal_of(SIGRTMIN, self->fd, watchdog_seconds()));
	store(1);
	ASSERT_EQ(3, perf_count(self->fd));
}

/*
 * Groups: enabled and disabled, read and scheduled together, a slot each
 * (perf_event_open(2), group_fd).
 */
FIXTURE(perf_group) {
	unsigned int words[DR_SLOTS];
	struct perf_event_attr attr;
	int fd[DR_SLOTS];
};

FIXTURE_VARIANT(perf_group) {
	bool software_leader;
};

/* An event that counts nothing of interest and takes no slot leads the others */
FIXTURE_VARIANT_ADD(perf_group, of_breakpoints) { .software_leader = false };
FIXTURE_VARIANT_ADD(perf_group, under_a_software_event) {
	.software_leader = true };

/* As perf_try(), in the group of @leader, or as the first of one */
static int try_in_group(const struct perf_event_attr *attr, int leader)
{
	int fd;

	do {
		fd = syscall(SYS_perf_event_open, attr, 0, -1, leader,
			     PERF_FLAG_FD_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	} while (slots_may_come_back(fd));
	return fd;
}

/* The leader is off, and the others with it, though they are enabled */
FIXTURE_SETUP(perf_group)
{
	unsigned int i;

	if (!perf_usable(_metadata))
		return;
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
			TH_LOG("member %u", i);
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
 * Whether each member has counted @n stores, and the last one @last, as @fd
 * tells, which may be any of them
 */
static bool all_counted(int fd, bool software_leader, unsigned long long n,
			unsigned long long last)
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
		fprintf(stderr, "# member %u of the group: %llu, not %llu\n", i,
			(unsigned long long)group.value[i], want);
		ok = false;
	}
	return ok;
}

#define COUNTED(n, last)						\
	all_counted(self->fd[1], variant->software_leader, n, last)

TEST_F(perf_group, on_and_off_with_the_leader)
{
	unsigned int i;

	store_to_each(self->words);
	ASSERT_TRUE(COUNTED(0, 0));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, ioctl(self->fd[0], PERF_EVENT_IOC_ENABLE, 0));
		store_to_each(self->words);
		ASSERT_TRUE(COUNTED(i + 1, i + 1)) {
			TH_LOG("on for the %uth time", i + 1);
		}
		ASSERT_EQ(0, ioctl(self->fd[0], PERF_EVENT_IOC_DISABLE, 0));
		store_to_each(self->words);
		ASSERT_TRUE(COUNTED(i + 1, i + 1)) {
			TH_LOG("off for the %uth time", i + 1);
		}
	}
}

TEST_F(perf_group, on_off_and_reset_as_a_whole)
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
	ASSERT_TRUE(COUNTED(1, 1));
}

/* The last member, while the others are on */
TEST_F(perf_group, member_on_and_off_alone)
{
	int fd = self->fd[DR_SLOTS - 1];
	unsigned int i;

	ASSERT_EQ(0, ioctl(self->fd[0], PERF_EVENT_IOC_ENABLE, 0));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
		store_to_each(self->words);
		ASSERT_TRUE(COUNTED(2 * i + 1, i)) {
			TH_LOG("off for the %uth time", i + 1);
		}
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
		store_to_each(self->words);
		ASSERT_TRUE(COUNTED(2 * i + 2, i + 1)) {
			TH_LOG("on for the %uth time", i + 1);
		}
	}
}

/* A new last member, for others that are on */
TEST_F(perf_group, member_that_joins)
{
	int *fd = &self->fd[DR_SLOTS - 1];
	unsigned int i;

	ASSERT_EQ(0, ioctl(self->fd[0], PERF_EVENT_IOC_ENABLE, 0));
	for (i = 0; i < 20; i++) {
		close(*fd);
		*fd = try_in_group(&self->attr, self->fd[0]);
		ASSERT_LE(0, *fd);
		store_to_each(self->words);
		ASSERT_TRUE(COUNTED(i + 1, 1)) {
			TH_LOG("as the %uth", i + 1);
		}
	}
}

/* Those that are left go on alone (perf_group_detach()) */
TEST_F(perf_group, outlived_by_its_members)
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
			TH_LOG("member %u", i);
		}
	}
}

/*
 * prctl(2) turns off and on what the caller has opened, for whomever; what
 * ptrace has armed is nobody's event.
 */
FIXTURE(perf_prctl) {
	struct perf_event_attr attr;
	struct tracee t;
	unsigned int *word;
};

FIXTURE_SETUP(perf_prctl)
{
	if (!perf_usable(_metadata))
		return;
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

TEST_F(perf_prctl, not_what_ptrace_has_armed)
{
	struct tracee *t = &self->t;

	t->body = disable_and_store;
	t->arg = self->word;
	if (!start(_metadata, t, TRACEE_TRACEME))
		return;
	ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 4, self->word));
	ASSERT_EQ(0, prctl(PR_TASK_PERF_EVENTS_DISABLE, 0, 0, 0, 0));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 2));
	ASSERT_EQ(0, tracee_expect_sync(t, 3));
	ASSERT_EQ(0, tracee_expect_exit(t));
}

/*
 * Events of a thread that does not stand still for it: where it runs at that
 * moment, its registers are changed by an interrupt to its CPU
 * (event_function_call() and perf_install_in_context() in
 * kernel/events/core.c).  Which store was the last before a change cannot be
 * known, but those well before and well behind it can.
 */
#define BUSY_STORES	50	/* that must be made on either side */
#define BUSY_ROUNDS	12

struct busy {
	unsigned long n;	/* of the store that is made, or about to be */
	int told;
	unsigned int word;
	unsigned int other;
};

FIXTURE(perf_busy) {
	struct perf_event_attr attr;
	struct busy *busy;
	pid_t child;
};

FIXTURE_VARIANT(perf_busy) {
	bool own_cpu;
	bool moves;
};

FIXTURE_VARIANT_ADD(perf_busy, on_another_cpu) { .own_cpu = true };
FIXTURE_VARIANT_ADD(perf_busy, on_this_cpu) { .own_cpu = false };
FIXTURE_VARIANT_ADD(perf_busy, on_the_move) { .moves = true };

/* To the next of @n CPUs every now and then; 0 where it is to stay */
static void be_busy(struct busy *b, const int *cpus, int n)
{
	while (!__atomic_load_n(&b->told, __ATOMIC_ACQUIRE)) {
		__atomic_add_fetch(&b->n, 1, __ATOMIC_SEQ_CST);
		probe_store4(&b->word, 1);
		if (n && !(b->n % 16))
			pin_to_cpu(0, cpus[b->n / 16 % n]);
	}
}

FIXTURE_SETUP(perf_busy)
{
	int cpus[64], n = allowed_cpus(cpus, 64);

	if (!perf_usable(_metadata))
		return;
	self->busy = shared_alloc(sizeof(*self->busy));
	self->attr = perf_attr(HW_BREAKPOINT_W, &self->busy->word, 4);
	ASSERT_EQ(0, pin_to_cpu(0, cpus[0]));
	self->child = fork();
	ASSERT_LE(0, self->child);
	if (!self->child) {
		if (variant->moves || variant->own_cpu)
			pin_to_cpu(0, cpus[n - 1]);
		/* Asked for here, they would be the one that it is on */
		be_busy(self->busy, cpus, variant->moves ? n : 0);
		_exit(0);
	}
}

FIXTURE_TEARDOWN(perf_busy)
{
	__atomic_store_n(&self->busy->told, 1, __ATOMIC_RELEASE);
	waitpid(self->child, NULL, 0);
}

static unsigned long stores(struct busy *b)
{
	return __atomic_load_n(&b->n, __ATOMIC_SEQ_CST);
}

/* Wait for some more stores; false if there are none, since it has died */
static bool some_more(struct busy *b, pid_t child)
{
	unsigned long n = stores(b);

	while (stores(b) < n + BUSY_STORES) {
		if (waitpid(child, NULL, WNOHANG))
			return false;
		sched_yield();
	}
	return true;
}

/*
 * Between two changes, that came between two readings each: at least the
 * stores that were begun behind the first and ended before the second must
 * have been counted, and at most those that may have been.
 */
struct change {
	unsigned long before, behind;
};

static bool fits(unsigned long long count, const struct change *on,
		 const struct change *off)
{
	unsigned long least = off->before - on->behind - 1;
	unsigned long most = off->behind - on->before + 1;

	if (count >= least && count <= most)
		return true;
	fprintf(stderr, "# counted %llu of %lu to %lu stores\n", count, least,
		most);
	return false;
}

#define CHANGE(c, what)							\
	do {								\
		struct change *c_ = (c);				\
									\
		c_->before = stores(self->busy);			\
		ASSERT_EQ(0, what);					\
		c_->behind = stores(self->busy);			\
	} while (0)

TEST_F(perf_busy, opened)
{
	struct change open, read;
	unsigned long long count;
	unsigned int i;
	int fd;

	for (i = 0; i < BUSY_ROUNDS; i++) {
		open.before = stores(self->busy);
		fd = perf_try(&self->attr, self->child, -1);
		open.behind = stores(self->busy);
		ASSERT_LE(0, fd);
		ASSERT_TRUE(some_more(self->busy, self->child));
		read.before = stores(self->busy);
		count = perf_count(fd);
		read.behind = stores(self->busy);
		ASSERT_TRUE(fits(count, &open, &read)) {
			TH_LOG("opened for the %uth time", i + 1);
		}
		close(fd);
	}
}

TEST_F(perf_busy, enabled_and_disabled)
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
		ASSERT_TRUE(some_more(self->busy, self->child));
		CHANGE(&off, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
		count = perf_count(fd);
		ASSERT_TRUE(fits(count - before, &on, &off)) {
			TH_LOG("enabled for the %uth time", i + 1);
		}
		ASSERT_TRUE(some_more(self->busy, self->child));
		ASSERT_EQ(count, perf_count(fd)) {
			TH_LOG("disabled for the %uth time", i + 1);
		}
		before = count;
	}
	close(fd);
}

/* From what it stores to something else, and back */
TEST_F(perf_busy, moved_to_another_address)
{
	unsigned long long before = 0, count;
	struct change on, off;
	unsigned int i;
	int fd;

	CHANGE(&on, ((fd = perf_try(&self->attr, self->child, -1)) < 0));
	for (i = 0; i < BUSY_ROUNDS; i++) {
		ASSERT_TRUE(some_more(self->busy, self->child));
		self->attr.bp_addr = (unsigned long)&self->busy->other;
		CHANGE(&off, ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES,
				   &self->attr));
		count = perf_count(fd);
		ASSERT_TRUE(fits(count - before, &on, &off)) {
			TH_LOG("there for the %uth time", i + 1);
		}
		ASSERT_TRUE(some_more(self->busy, self->child));
		ASSERT_EQ(count, perf_count(fd)) {
			TH_LOG("gone for the %uth time", i + 1);
		}
		before = count;
		self->attr.bp_addr = (unsigned long)&self->busy->word;
		CHANGE(&on, ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES,
				  &self->attr));
	}
	close(fd);
}

TEST_HARNESS_MAIN
