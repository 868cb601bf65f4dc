// SPDX-License-Identifier: GPL-2.0
/*
 * Watched memory that the kernel accesses for the thread.
 *
 * The debug registers stay armed in the kernel, so its copies into and out of a
 * watched buffer raise #DB there.  A tracer must not see that: ptrace
 * breakpoints exclude the kernel (ptrace_breakpoint_init() in
 * include/linux/hw_breakpoint.h) and exc_debug_kernel() sends no signal.  But
 * the handler disables and restores DR7, modifies RF, DR6 and BTF, and may
 * interrupt anything.  So the tests check what follows: every trap of the
 * thread's own accesses arrives, and DR6 has no bits of the kernel's accesses.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "perf_event.h"
#include "probes.h"
#include "watched.h"

#define VALUE	0x123

/*
 * The functions below return 0, a negative errno, or -EIO if a result is wrong
 */
static int is(long seen, long want)
{
	if (seen == want)
		return 0;
	return seen < 0 ? -errno : -EIO;
}

static int is_value(const struct watched *w, unsigned int want)
{
	return *w->alias == want ? 0 : -EIO;
}

/* A pair of descriptors, and what is sent through it */
static int with_pair(int (*pair)(int fd[2]), struct watched *w,
		     int (*use)(int fd[2], struct watched *w))
{
	int fd[2], err;

	if (pair(fd))
		return -errno;
	err = use(fd, w);
	close(fd[0]);
	close(fd[1]);
	return err;
}

static int socket_pair(int fd[2])
{
	return socketpair(AF_UNIX, SOCK_DGRAM, 0, fd);
}

#define MSG(word)							\
	struct iovec iov = { .iov_base = (word), .iov_len = 4 };	\
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 }

static int put_value(int fd)
{
	unsigned int value = VALUE;

	return is(write(fd, &value, 4), 4);
}

static int take_value(int fd)
{
	unsigned int value = 0;
	int err = is(read(fd, &value, 4), 4);

	return err ? err : is(value, VALUE);
}

static int use_read(int fd[2], struct watched *w)
{
	int err = put_value(fd[1]);

	if (!err)
		err = is(read(fd[0], w->word, 4), 4);
	return err ? err : is_value(w, VALUE);
}

static int use_write(int fd[2], struct watched *w)
{
	int err;

	*w->alias = VALUE;
	err = is(write(fd[1], w->word, 4), 4);
	return err ? err : take_value(fd[0]);
}

static int use_readv(int fd[2], struct watched *w)
{
	MSG(w->word);
	int err = put_value(fd[1]);

	if (!err)
		err = is(readv(fd[0], msg.msg_iov, msg.msg_iovlen), 4);
	return err ? err : is_value(w, VALUE);
}

static int use_writev(int fd[2], struct watched *w)
{
	MSG(w->word);
	int err;

	*w->alias = VALUE;
	err = is(writev(fd[1], msg.msg_iov, msg.msg_iovlen), 4);
	return err ? err : take_value(fd[0]);
}

static int use_recvmsg(int fd[2], struct watched *w)
{
	MSG(w->word);
	int err = put_value(fd[1]);

	if (!err)
		err = is(recvmsg(fd[0], &msg, 0), 4);
	return err ? err : is_value(w, VALUE);
}

static int use_sendmsg(int fd[2], struct watched *w)
{
	MSG(w->word);
	int err;

	*w->alias = VALUE;
	err = is(sendmsg(fd[1], &msg, 0), 4);
	return err ? err : take_value(fd[0]);
}

static int use_getsockopt(int fd[2], struct watched *w)
{
	socklen_t len = 4;
	int err = is(getsockopt(fd[0], SOL_SOCKET, SO_TYPE, w->word, &len), 0);

	return err ? err : is_value(w, SOCK_DGRAM);
}

static int use_setsockopt(int fd[2], struct watched *w)
{
	socklen_t len = 4;
	int on = 0, err;

	*w->alias = 1;
	err = is(setsockopt(fd[0], SOL_SOCKET, SO_PASSCRED, w->word, 4), 0);
	if (!err)
		err = is(getsockopt(fd[0], SOL_SOCKET, SO_PASSCRED, &on, &len),
			 0);
	return err ? err : is(on, 1);
}

static int use_ioctl(int fd[2], struct watched *w)
{
	int err = put_value(fd[1]);

	if (!err)
		err = is(ioctl(fd[0], FIONREAD, w->word), 0);
	return err ? err : is_value(w, 4);
}

/* The watched word is events and revents: read and written */
static int use_poll(int fd[2], struct watched *w)
{
	struct pollfd *p = (struct pollfd *)(w->word - 1);
	struct pollfd *alias = (struct pollfd *)(w->alias - 1);
	int err;

	alias->fd = fd[1];
	alias->events = POLLOUT;
	alias->revents = 0;
	err = is(poll(p, 1, -1), 1);
	return err ? err : is(alias->revents, POLLOUT);
}

static int use_select(int fd[2], struct watched *w)
{
	fd_set *set = (fd_set *)w->word, *alias = (fd_set *)w->alias;
	int err;

	FD_ZERO(alias);
	FD_SET(fd[0], alias);
	FD_SET(fd[1], alias);
	err = is(select(fd[1] + 1, NULL, set, NULL, NULL), 1);
	return err ? err : is(FD_ISSET(fd[0], alias), 0);
}

static int use_epoll(int fd[2], struct watched *w)
{
	struct epoll_event *event = (struct epoll_event *)w->word;
	int err, ep = epoll_create1(0);

	if (ep < 0)
		return -errno;
	*w->alias = EPOLLOUT;
	err = is(epoll_ctl(ep, EPOLL_CTL_ADD, fd[1], event), 0);
	*w->alias = 0;
	if (!err)
		err = is(epoll_wait(ep, event, 1, -1), 1);
	close(ep);
	return err ? err : is_value(w, EPOLLOUT);
}

static int do_read(struct watched *w)
{
	return with_pair(pipe, w, use_read);
}

static int do_write(struct watched *w)
{
	return with_pair(pipe, w, use_write);
}

static int do_readv(struct watched *w)
{
	return with_pair(pipe, w, use_readv);
}

static int do_writev(struct watched *w)
{
	return with_pair(pipe, w, use_writev);
}

static int do_recvmsg(struct watched *w)
{
	return with_pair(socket_pair, w, use_recvmsg);
}

static int do_sendmsg(struct watched *w)
{
	return with_pair(socket_pair, w, use_sendmsg);
}

static int do_getsockopt(struct watched *w)
{
	return with_pair(socket_pair, w, use_getsockopt);
}

static int do_setsockopt(struct watched *w)
{
	return with_pair(socket_pair, w, use_setsockopt);
}

static int do_ioctl(struct watched *w)
{
	return with_pair(pipe, w, use_ioctl);
}

static int do_poll(struct watched *w)
{
	return with_pair(pipe, w, use_poll);
}

static int do_select(struct watched *w)
{
	return with_pair(pipe, w, use_select);
}

static int do_epoll(struct watched *w)
{
	return with_pair(pipe, w, use_epoll);
}

static int do_eventfd(struct watched *w)
{
	int err, fd = eventfd(VALUE, 0);

	if (fd < 0)
		return -errno;
	err = is(read(fd, w->word, 8), 8);
	close(fd);
	return err ? err : is_value(w, VALUE);
}

static int do_pipe(struct watched *w)
{
	int err;

	w->alias[0] = 0;
	w->alias[1] = 0;
	err = is(syscall(SYS_pipe2, w->word, 0), 0);
	if (err)
		return err;
	err = is(close(w->alias[0]), 0);
	return err ? err : is(close(w->alias[1]), 0);
}

static int do_futex_wait(struct watched *w)
{
	*w->alias = 1;
	if (!syscall(SYS_futex, w->word, FUTEX_WAIT, 2, NULL, NULL, 0))
		return -EIO;
	return errno == EAGAIN ? 0 : -errno;
}

static int do_futex_wake_op(struct watched *w)
{
	int op = FUTEX_OP(FUTEX_OP_SET, VALUE, FUTEX_OP_CMP_EQ, 0);
	unsigned int other = 0;
	int err = is(syscall(SYS_futex, &other, FUTEX_WAKE_OP, 0, NULL, w->word,
			     op), 0);

	return err ? err : is_value(w, VALUE);
}

static int do_futex_lock_pi(struct watched *w)
{
	int err = is(syscall(SYS_futex, w->word, FUTEX_LOCK_PI, 0, NULL, NULL,
			     0), 0);

	if (!err)
		err = is_value(w, syscall(SYS_gettid));
	if (!err)
		err = is(syscall(SYS_futex, w->word, FUTEX_UNLOCK_PI, 0, NULL,
				 NULL, 0), 0);
	return err ? err : is_value(w, 0);
}

static int do_getcwd(struct watched *w)
{
	int err;

	if (chdir("/"))
		return -errno;
	err = is(syscall(SYS_getcwd, w->word, 64), 2);
	return err ? err : is(*(char *)w->alias, '/');
}

static int do_open(struct watched *w)
{
	int fd;

	*w->alias = '/';
	fd = syscall(SYS_openat, AT_FDCWD, w->word, O_RDONLY | O_DIRECTORY, 0);
	return fd < 0 ? -errno : is(close(fd), 0);
}

static int do_uname(struct watched *w)
{
	int err = is(syscall(SYS_uname, w->word), 0);

	return err ? err : is(strncmp((char *)w->alias, "Linu", 4), 0);
}

static int do_clock_gettime(struct watched *w)
{
	*w->alias = -1U;
	if (syscall(SYS_clock_gettime, CLOCK_MONOTONIC, w->word))
		return -errno;
	return *w->alias != -1U ? 0 : -EIO;
}

static int do_nanosleep(struct watched *w)
{
	memset(w->alias, 0, sizeof(struct timespec));
	return is(syscall(SYS_nanosleep, w->word, NULL), 0);
}

static int do_prctl(struct watched *w)
{
	int err;

	*w->alias = 'x';
	err = is(prctl(PR_SET_NAME, w->word), 0);
	*w->alias = 0;
	if (!err)
		err = is(prctl(PR_GET_NAME, w->word), 0);
	return err ? err : is_value(w, 'x');
}

static int do_sigprocmask(struct watched *w)
{
	int err = is(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, w->word, 8),
		     0);

	if (!err)
		err = is(syscall(SYS_rt_sigprocmask, SIG_SETMASK, w->word, NULL,
				 8), 0);
	return err;
}

static int do_getaffinity(struct watched *w)
{
	return syscall(SYS_sched_getaffinity, 0, 1024, w->word) > 0 ? 0 : -errno;
}

static int do_getrandom(struct watched *w)
{
	return is(syscall(SYS_getrandom, w->word, 4, 0), 4);
}

/* No SIGCHLD at its exit, which would be one more stop for the tracer */
static pid_t child_that_exits(unsigned int *parent_tid)
{
	pid_t pid = syscall(SYS_clone, parent_tid ? CLONE_PARENT_SETTID : 0, 0,
			    parent_tid, 0, 0);

	if (!pid)
		_exit(5);
	return pid;
}

static int do_wait(struct watched *w)
{
	pid_t pid = child_that_exits(NULL);
	int err;

	if (pid < 0)
		return -errno;
	err = is(syscall(SYS_wait4, pid, w->word, __WALL, NULL), pid);
	return err ? err : is_value(w, 0x500);
}

static int do_clone(struct watched *w)
{
	pid_t pid = child_that_exits(w->word);
	int err;

	if (pid < 0)
		return -errno;
	err = is_value(w, pid);
	return is(waitpid(pid, NULL, __WALL), pid) ? -EIO : err;
}

/* The remote side is read through a kernel mapping, the local one directly */
static int do_process_vm_readv(struct watched *w)
{
	unsigned int value = VALUE;
	struct iovec local = { w->word, 4 }, remote = { &value, 4 };
	int err = is(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), 4);

	if (!err)
		err = is_value(w, VALUE);
	*w->alias = 0;
	if (!err)
		err = is(process_vm_writev(getpid(), &remote, 1, &local, 1, 0),
			 4);
	return err ? err : is_value(w, VALUE);
}

/*
 * Kernel text is patched by this thread, see open_patching_event().  It is written
 * through a temporary mm, for which breakpoints are disabled and restored.
 *
 * Regression test for 9020d3956317.
 */
static int do_patch_text(struct watched *w)
{
	int fd = open_patching_event();
	unsigned long long count = 0;
	int err;

	if (fd < 0)
		return fd == -ENOENT ? -ENOSYS : fd;
	w->alias[1] = -1U;
	/* The upper half of the count: another access while text is patched */
	err = is(read(fd, &count, 8), 8);
	if (!err)
		err = is(read(fd, w->word, 8), 8);
	close(fd);
	return err ? err : is(w->alias[1], 0);
}

struct access {
	struct watched user, kernel;
	int (*access)(struct watched *w);
	int err;
	unsigned long sink;
};

static void user_and_kernel(struct tracee *t)
{
	struct access *a = t->arg;

	for (;;) {
		*a->user.alias = 0;
		*a->kernel.alias = 0;
		*t->progress = 1;
		probe_store4(a->user.word, 0);
		*t->progress = 2;
		a->err = a->access(&a->kernel);
		tracee_sync();
		*t->progress = 3;
		a->err = a->access(&a->user);
		*t->progress = 4;
		probe_load4(a->user.word, 0);
		*t->progress = 5;
		probe_store4(a->kernel.word, 0);
		*t->progress = 6;
		if (!a->err)
			a->err = a->access(&a->kernel);
		*t->progress = 7;
		probe_call_target(0, &a->sink, 1);
		*t->progress = 8;
		tracee_sync();
	}
}

static void describe(struct tracee *t, unsigned long n, char *buf, size_t size)
{
	static const char * const what[] = {
		"", "store to the first word", "the kernel, second word",
		"the kernel, first word", "load of the first word",
		"store to the second word", "the kernel, second word",
		"execute target", "nothing",
	};

	(void)t;
	if (n < sizeof(what) / sizeof(*what))
		snprintf(buf, size, "%s", what[n]);
}

FIXTURE(kernel_access) {
	struct tracee t;
	struct access *a;
};

FIXTURE_VARIANT(kernel_access) {
	int (*access)(struct watched *w);
};

#define BY(call)	{ .access = do_##call }

FIXTURE_VARIANT_ADD(kernel_access, read) BY(read);
FIXTURE_VARIANT_ADD(kernel_access, write) BY(write);
FIXTURE_VARIANT_ADD(kernel_access, readv) BY(readv);
FIXTURE_VARIANT_ADD(kernel_access, writev) BY(writev);
FIXTURE_VARIANT_ADD(kernel_access, recvmsg) BY(recvmsg);
FIXTURE_VARIANT_ADD(kernel_access, sendmsg) BY(sendmsg);
FIXTURE_VARIANT_ADD(kernel_access, getsockopt) BY(getsockopt);
FIXTURE_VARIANT_ADD(kernel_access, setsockopt) BY(setsockopt);
FIXTURE_VARIANT_ADD(kernel_access, ioctl) BY(ioctl);
FIXTURE_VARIANT_ADD(kernel_access, poll) BY(poll);
FIXTURE_VARIANT_ADD(kernel_access, select) BY(select);
FIXTURE_VARIANT_ADD(kernel_access, epoll) BY(epoll);
FIXTURE_VARIANT_ADD(kernel_access, eventfd) BY(eventfd);
FIXTURE_VARIANT_ADD(kernel_access, pipe) BY(pipe);
FIXTURE_VARIANT_ADD(kernel_access, futex_wait) BY(futex_wait);
FIXTURE_VARIANT_ADD(kernel_access, futex_wake_op) BY(futex_wake_op);
FIXTURE_VARIANT_ADD(kernel_access, futex_lock_pi) BY(futex_lock_pi);
FIXTURE_VARIANT_ADD(kernel_access, getcwd) BY(getcwd);
FIXTURE_VARIANT_ADD(kernel_access, open) BY(open);
FIXTURE_VARIANT_ADD(kernel_access, uname) BY(uname);
FIXTURE_VARIANT_ADD(kernel_access, clock_gettime) BY(clock_gettime);
FIXTURE_VARIANT_ADD(kernel_access, nanosleep) BY(nanosleep);
FIXTURE_VARIANT_ADD(kernel_access, prctl) BY(prctl);
FIXTURE_VARIANT_ADD(kernel_access, sigprocmask) BY(sigprocmask);
FIXTURE_VARIANT_ADD(kernel_access, getaffinity) BY(getaffinity);
FIXTURE_VARIANT_ADD(kernel_access, getrandom) BY(getrandom);
FIXTURE_VARIANT_ADD(kernel_access, wait) BY(wait);
FIXTURE_VARIANT_ADD(kernel_access, clone) BY(clone);
FIXTURE_VARIANT_ADD(kernel_access, process_vm_readv) BY(process_vm_readv);
FIXTURE_VARIANT_ADD(kernel_access, patch_text) BY(patch_text);

FIXTURE_SETUP(kernel_access)
{
	self->a = shared_alloc(sizeof(*self->a));
	watched_alloc(&self->a->user);
	watched_alloc(&self->a->kernel);
	self->a->access = variant->access;
	self->t.body = user_and_kernel;
	self->t.arg = self->a;
	self->t.describe = describe;
	start_tracee(_metadata, &self->t, TRACEE_TRACEME);
}

FIXTURE_TEARDOWN(kernel_access)
{
	tracee_stop(&self->t);
}

static void expect_no_trap_added_or_lost(struct __test_metadata *_metadata,
					 struct tracee *t, struct access *a)
{
	unsigned long dr6, want;
	int round;

	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
		/*
		 * No bit is added to DR6 and, in every other iteration, none is
		 * cleared
		 */
		want = round & 1 ? dr6_encode(1, false) : DR6_NONE;
		ASSERT_EQ(0, tracee_poke(t, 6, want));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
		skip_if_refused(_metadata, a->err, "system call");
		ASSERT_EQ(0, tracee_peek(t, 6, &dr6));
		EXPECT_EQ(want, dr6) {
			TH_LOG("DR6 has bits of the kernel's accesses");
		}
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_load4_next, 4));
		ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, 5));
		ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_target(0), 7));
		ASSERT_EQ(0, tracee_expect_sync(t, 8));
		ASSERT_EQ(0, a->err);
		ASSERT_EQ(0, tracee_peek(t, 6, &dr6));
		EXPECT_EQ(dr6_encode(4, false), dr6);
	}
}

/* One word is accessed by both, the other by the kernel first */
TEST_F(kernel_access, no_trap_added_or_lost)
{
	struct tracee *t = &self->t;

	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, self->a->user.word));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 4, self->a->kernel.word));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_EXECUTE, 1, probe_target(0)));
	expect_no_trap_added_or_lost(_metadata, t, self->a);
}

TEST_HARNESS_MAIN
